//! The fuzz targets as plain functions: bytes in, a panic where a promise is broken. libFuzzer (`fuzz_targets/`) calls
//! them, and so does an ordinary test with the stored corpus (`tests/corpus.rs`). Each function describes the format of
//! its bytes: text where that is possible, so that a corpus file can be read and written by hand.

#![deny(unsafe_code)]

#[allow(unsafe_code, reason = "it calls C functions as a C program does")]
mod c_abi;
mod machine;
mod plan;
mod wire;

use std::sync::LazyLock;

use serde_json::Value;
use takings::{CaptureRequest, Client, Config, Credentials, Error, ErrorKind};

pub use c_abi::c_abi;
pub use machine::machine;
pub use plan::plan;
pub use wire::{answer, http1, reconcile};

/// A target: its name, which is that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 8] = [
    ("from_json", from_json),
    ("config", config),
    ("machine", machine),
    ("plan", plan),
    ("answer", answer),
    ("http1", http1),
    ("reconcile", reconcile),
    ("c_abi", c_abi),
];

/// A capture request as JSON text. An accepted request means the same when written again, and a refusal is one short
/// line.
pub fn from_json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read: Result<Value, _> = serde_json::from_str(text);
    let strict = CaptureRequest::from_json(text);
    match &strict {
        Ok(request) => {
            let meant = read.expect("takings took what is no JSON");
            assert_eq!(serde_json::to_value(request).unwrap(), meant, "what went in is not what comes out");
            let written = serde_json::to_string(request).unwrap();
            assert_eq!(CaptureRequest::from_json(&written).as_ref(), Ok(request), "{written}");
            assert_eq!(request.check(), Ok(()));
        }
        Err(error) => check_refusal(error),
    }
    // The way of the scripting languages: any serde source, with unknown words accepted.
    let mut source = serde_json::Deserializer::from_str(text);
    match CaptureRequest::from_deserializer(&mut source, true) {
        Ok(request) => {
            if let Ok(strict) = strict {
                assert_eq!(strict, request);
            }
            if source.end().is_ok() {
                let meant: Value = serde_json::from_str(text).expect("takings took what is no JSON");
                assert_eq!(serde_json::to_value(&request).unwrap(), meant, "what went in is not what comes out");
            }
        }
        Err(error) => {
            assert!(strict.is_err(), "only the stricter reading took it: {error}");
            check_refusal(&error);
        }
    }
}

/// The mark that stands for a secret in the corpus of `config`.
const MARK: &str = "s3cret!";

/// Settings as JSON text. A client can be made of accepted settings, and no refusal or printed text shows a secret.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let secret = is_secret(text);
    let config = match Config::from_json(text) {
        Ok(config) => config,
        Err(error) => {
            check_refusal(&error);
            assert!(!secret || !error.message().contains(MARK), "{error}");
            return;
        }
    };
    let shown = format!("{config:?}");
    assert!(!secret || !shown.contains(MARK), "{shown}");
    // The fuzzer could name any file, such as a terminal or an endless one.
    if config.ca_file.is_some() {
        return;
    }
    match Client::new(config) {
        Ok(client) => {
            let shown = format!("{client:?} {}", client.base_url());
            assert!(!secret || !shown.contains(MARK), "{shown}");
            let url = client.base_url();
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            let host = rest.expect("a URL of HTTP").split('/').next().unwrap_or_default();
            assert!(!host.is_empty() && !url.contains(['@', '?', '#', '\\']), "{url}");
            let is_loopback = ["localhost", "[::1]", "127."].iter().any(|name| host.starts_with(name));
            assert!(url.starts_with("https://") || is_loopback, "plain HTTP to {url}");
            // Every refusal that comes before sending is tried with this client.
            let request = CaptureRequest::new(1);
            let mut text = serde_json::to_vec(&request).unwrap();
            text.push(b' ');
            let mut source = serde_json::Deserializer::from_slice(&text);
            let refused = client.prepare_from("capture", Ok(""), Ok(&mut source), Ok(None)).map(drop).unwrap_err();
            check_refusal(&refused);
        }
        Err(error) => {
            check_refusal(&error);
            assert!(!secret || !error.message().contains(MARK), "{error}");
        }
    }
}

/// Whether the mark stands in values that are secret, and nowhere else.
fn is_secret(text: &str) -> bool {
    let Ok(Value::Object(mut members)) = serde_json::from_str(text) else { return false };
    let mut found = false;
    for name in ["password", "api_key", "proxy"] {
        if let Some(Value::String(value)) = members.remove(name) {
            found |= value.contains(MARK);
        }
    }
    // This reading drops doubled members, so the text is searched as well.
    found && !Value::Object(members).to_string().contains(MARK) && text.matches("s3cret").count() <= 3
}

/// A refusal of input: one readable line, nothing sent.
pub(crate) fn check_refusal(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(error.attempts(), 0);
    assert!(!error.retryable());
    check_line(error.message());
    assert!(error.message().chars().count() < 2000, "{} characters", error.message().len());
}

/// Checks that a text can go to a log or a terminal as it is.
pub(crate) fn check_line(text: &str) {
    assert!(!text.is_empty());
    assert!(!text.chars().any(|c| c.is_control() || is_invisible(c)), "{text:?} could steer a terminal");
}

/// Line ends beyond the control characters, directions, joiners, tags.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Credentials of several kinds, and the texts that must never show: as a scrubbed text would show them, without the
/// padding.
pub(crate) struct Secret {
    pub credentials: Credentials,
    hidden: [String; 2],
}

pub(crate) static SECRETS: LazyLock<Vec<Secret>> = LazyLock::new(|| {
    use base64::Engine as _;
    let passwords = ["s3cret", "p\u{e4}ss w\u{f6}rd", "with-hyphen", "&amp;", "a%20b", "\"quoted\\"];
    let basic = passwords.map(|password| {
        let token = base64::engine::general_purpose::STANDARD.encode(format!("user:{password}"));
        let seen = password.replace('\u{2028}', " ").replace(is_invisible, "");
        let bare = token.trim_end_matches('=').to_owned();
        Secret { credentials: Credentials::basic("user", password), hidden: [seen, bare] }
    });
    let hidden = ["key_s3cret"; 2].map(str::to_owned);
    let raw = Secret { credentials: Credentials::raw_api_key("key_s3cret="), hidden };
    basic.into_iter().chain([raw]).collect()
});

impl Secret {
    pub fn chosen_by(number: u64) -> &'static Secret {
        &SECRETS[(number % SECRETS.len() as u64) as usize]
    }

    /// Whether a header echoes a credential. A short one would match by accident.
    pub fn is_echoed(&self, value: &[u8]) -> bool {
        let mut long = self.hidden.iter().map(|hidden| hidden.as_bytes()).filter(|hidden| hidden.len() >= 8);
        long.any(|hidden| value.windows(hidden.len()).any(|part| part == hidden))
    }

    pub fn check_hidden(&self, text: &str) {
        for hidden in &self.hidden {
            assert!(!text.contains(hidden.as_str()), "{hidden:?} shows in {text:?}");
        }
    }
}
