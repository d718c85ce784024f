//! Requests: where they are sent, what they carry, and how server text is made safe.

pub(crate) mod answer;
pub(crate) mod http1;
pub(crate) mod stranger;

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Method};
use url::Url;
use zeroize::Zeroizing;

use crate::text::visible;

/// A request over HTTP: the same bytes on every attempt.
pub struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) body: Vec<u8>,
    pub(crate) most_answer: Most,
    key: Option<String>,
    origin: Arc<Origin>,
}

/// The parts that all requests to one endpoint share.
struct Origin {
    is_tls: bool,
    host: String,
    port: u16,
    /// The URL up to the paths of operations, without a slash at its end.
    root: String,
    /// The length of that part of it which the request line leaves out: scheme, host and port.
    above_path: usize,
    authorization: Zeroizing<String>,
    user_agent: String,
}

impl HttpRequest {
    /// `POST`, `PATCH`, or `GET` for a request that reads.
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The whole URL, ready to be sent as it is: what it names is percent-encoded already.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the scheme of the URL is `https`. It is plain http for a loopback address, or the
    /// `insecure_http_host`, alone.
    pub fn is_tls(&self) -> bool {
        self.origin.is_tls
    }

    /// The host of the URL: a name, or an address (of IPv6 in brackets).
    pub fn host(&self) -> &str {
        &self.origin.host
    }

    /// The port of the URL, or that of its scheme.
    pub fn port(&self) -> u16 {
        self.origin.port
    }

    /// The text in the request line after the method: the path of the URL, which has no query.
    pub fn target(&self) -> &str {
        &self.url[self.origin.above_path..]
    }

    /// Names in lower case and values in printable ASCII. `authorization` is among them: the
    /// credential, for the host of [`url`](HttpRequest::url) and no other. `host` and
    /// `content-length` are the HTTP client's to add.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let shared = [
            ("authorization", self.origin.authorization.as_str()),
            ("accept", "application/json"),
            ("user-agent", &self.origin.user_agent),
        ];
        let kind = (!self.body.is_empty()).then_some(("content-type", "application/json"));
        let key = self.key.as_deref().map(|key| ("klarna-idempotency-key", key));
        shared.into_iter().chain(kind).chain(key)
    }

    /// JSON in UTF-8; empty for a `GET`.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// How many bytes of the answer's body are worth reading; what is beyond may be left unread,
    /// and the connection is then closed. From an answer that is no 2xx takings reads 256 KiB at most.
    pub fn most_answer(&self) -> usize {
        self.most_answer.0
    }
}

/// Without headers and body: they hold credentials and what was bought.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest").field("method", &self.method()).field("url", &self.url()).finish_non_exhaustive()
    }
}

/// How much of an answer's body is read.
#[derive(Clone, Copy)]
pub(crate) struct Most(usize);

impl Most {
    /// For error bodies: reading more would help nobody.
    pub const ERROR: Most = Most(256 * 1024);
    /// A list of captures, or an order with everything Klarna says of it.
    pub const DOCUMENT: Most = Most(16 * 1024 * 1024);

    /// Of an answer with this status.
    pub fn of(self, status: u16) -> usize {
        if (200..300).contains(&status) { self.0 } else { self.0.min(Most::ERROR.0) }
    }
}

/// Where requests go, and the headers that are the same on each.
pub(crate) struct Endpoint {
    base_url: Url,
    origin: Arc<Origin>,
    /// The secrets as scrubbed text would show them, with the padding of base64 and without it, since a server may echo
    /// them so. The longest comes first: if a secret holds another one, replacing the shorter first would leave its rest.
    secrets: Vec<Zeroizing<String>>,
    /// An oddity of the credentials, for the message of a 401.
    credential_hint: Option<String>,
    /// The host that is asked and the account it has, for the message of a 404.
    place: String,
}

const LEAST_SECRET: usize = 8;

/// The least length of a credential that is looked for in our own words. No merchant's credential is shorter.
const LEAST_IN_REPORTS: usize = 4;

impl Endpoint {
    pub fn new(
        base_url: Url,
        authorization: Zeroizing<String>,
        user_agent: String,
        secrets: Vec<Zeroizing<String>>,
    ) -> Endpoint {
        for value in [&*authorization, &user_agent] {
            assert!(HeaderValue::from_str(value).is_ok(), "credentials and user agent were checked to be printable");
        }
        let root = base_url.as_str().trim_end_matches('/').to_owned();
        let origin = Origin {
            is_tls: base_url.scheme() == "https",
            host: base_url.host_str().unwrap_or_default().to_owned(),
            port: base_url.port_or_known_default().unwrap_or_default(),
            above_path: base_url[..url::Position::BeforePath].len(),
            root,
            authorization,
            user_agent,
        };
        let shown = secrets.iter().map(|secret| Zeroizing::new(visible(secret)));
        let shapes = |secret: Zeroizing<String>| [Zeroizing::new(secret.trim_end_matches('=').to_owned()), secret];
        let mut secrets: Vec<_> = shown.flat_map(shapes).collect();
        secrets.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        secrets.dedup();
        let place = base_url.authority().to_owned();
        Endpoint { base_url, origin: Arc::new(origin), secrets, credential_hint: None, place }
    }

    pub fn with_credential_hint(self, credential_hint: Option<String>) -> Endpoint {
        Endpoint { credential_hint, ..self }
    }

    pub fn credential_hint(&self) -> Option<&str> {
        self.credential_hint.as_deref()
    }

    pub fn with_place(self, place: String) -> Endpoint {
        Endpoint { place, ..self }
    }

    /// The host that is asked, in words.
    pub fn place(&self) -> &str {
        &self.place
    }

    pub fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// A request for `path`. One that changes something carries an idempotency key that
    /// [`check_key`](crate::key::check_key) has passed; one with a body says that it is JSON.
    pub fn request(&self, method: &Method, path: &str, key: Option<&str>, body: Vec<u8>, most: Most) -> HttpRequest {
        HttpRequest {
            method: method.clone(),
            // The path needs no escape, and has no segment that a parser would fold away (`api::ids`).
            url: [&self.origin.root, path].concat(),
            body,
            most_answer: most,
            key: key.map(str::to_owned),
            origin: self.origin.clone(),
        }
    }

    /// Whether a header holds one of our credentials. A very short credential is no secret and would match by accident.
    pub fn is_echo(&self, value: &[u8]) -> bool {
        self.secrets
            .iter()
            .map(|secret| secret.as_bytes())
            // The same without padding stands beside it, and is found wherever it is.
            .filter(|secret| secret.len() >= LEAST_SECRET && !secret.ends_with(b"="))
            // Nearly every part differs in its first byte, so that the whole is seldom compared.
            .any(|secret| value.windows(secret.len()).any(|part| part[0] == secret[0] && part == secret))
    }

    /// Text from a server, made safe for a log line: no control or direction characters, none
    /// of our credentials, at most `max` characters.
    pub fn scrub(&self, text: &str, max: usize) -> String {
        self.hidden(text, 1, max)
    }

    /// Text that we or a program's HTTP client wrote, which may quote a server. A short credential would be found in our
    /// own words.
    pub fn scrub_report(&self, text: &str, max: usize) -> String {
        self.hidden(text, LEAST_IN_REPORTS, max)
    }

    fn hidden(&self, text: &str, least: usize, max: usize) -> String {
        let mut clean = visible(text);
        for secret in self.secrets.iter().filter(|secret| secret.len() >= least) {
            // Most texts are shorter than a secret. Setting out on a search costs more than that look.
            if secret.len() <= clean.len() && clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), "[hidden]");
            }
        }
        match clean.char_indices().nth(max) {
            Some((end, _)) => format!("{}…", &clean[..end]),
            None => clean,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base: &str) -> Endpoint {
        let secret = |text: &str| Zeroizing::new(text.to_owned());
        Endpoint::new(
            base.parse().unwrap(),
            secret("Basic dTpzM2NyZXQ="),
            "takings/0 (test)".into(),
            vec![secret("s3cret"), secret("dTpzM2NyZXQ=")],
        )
    }

    #[test]
    fn the_parts_of_a_url() {
        for (base, tls, host, port) in [
            ("https://x.example", true, "x.example", 443),
            ("https://x.example:8443/gw", true, "x.example", 8443),
            ("http://127.0.0.1", false, "127.0.0.1", 80),
            ("http://[::1]:81", false, "[::1]", 81),
        ] {
            let request = endpoint(base).request(&Method::GET, "/p", None, vec![], Most::DOCUMENT);
            assert_eq!((request.is_tls(), request.host(), request.port()), (tls, host, port));
        }
    }

    #[test]
    fn debug_hides_the_credentials() {
        let request = endpoint("https://x.example").request(&Method::POST, "/p", Some("k"), vec![], Most::ERROR);
        assert!(!format!("{request:?}").contains("dTpz"));
    }

    #[test]
    fn scrubbed_text_is_safe_to_log() {
        let secret = |text: &str| Zeroizing::new(text.to_owned());
        let endpoint = endpoint("https://x.example");
        assert_eq!(endpoint.scrub("a\r\nb\u{1b}[31mc\u{202e}d", 99), "a  b [31mcd");
        assert_eq!(endpoint.scrub("you sent s3cret and Basic dTpzM2NyZXQ", 99), "you sent [hidden] and Basic [hidden]");
        assert_eq!(endpoint.scrub("s3\u{200b}cret", 99), "[hidden]");
        assert_eq!(endpoint.scrub("öööö", 3), "ööö…");
        assert_eq!(endpoint.scrub_report("s3cret answers, not dTpzM2NyZXQ=", 99), "[hidden] answers, not [hidden]");
        let short = Endpoint::new("https://x.example".parse().unwrap(), secret("x"), "x".into(), vec![secret("k")]);
        assert_eq!(short.scrub_report("token k is broken", 99), "token k is broken");
    }

    #[test]
    fn a_secret_is_hidden_as_it_would_be_shown() {
        let secret = |text: &str| Zeroizing::new(text.to_owned());
        let secrets = vec![secret("dXN"), secret("dXNlcjpk"), secret("soft\u{ad}hyphen"), secret("a\u{2028}line")];
        let endpoint = Endpoint::new("https://x.example".parse().unwrap(), secret("x"), "x".into(), secrets);
        assert_eq!(endpoint.scrub("soft\u{ad}hyphen softhyphen a\u{2028}line", 99), "[hidden] [hidden] [hidden]");
        assert_eq!(endpoint.scrub("dXNlcjpk dXN", 99), "[hidden] [hidden]", "nothing is left of the longer one");
    }
}
