//! A description of takings and its surroundings, in words, for somebody who looks for a fault.

use std::ffi::OsString;
use std::fmt::Write as _;

use crate::client::Client;
use crate::drive::http::{authorities_in_words, proxy_in_words};
use crate::settings::config::{Config, Credentials, Environment, Region, variables};

/// Describes this build of takings, what it sees in the environment, where a client of
/// [`Config::from_env`] would send, through which proxy, and whose certificates it would trust: one
/// fact a line, for people. The function sends nothing.
///
/// The text holds no credential, nor the length of one: of a secret it says whether it is set.
///
/// ```
/// println!("{}", takings::diagnosis());
/// ```
pub fn diagnosis() -> String {
    from(|name| std::env::var_os(name))
}

fn from(get: impl Fn(&str) -> Option<OsString>) -> String {
    let mut text = format!("takings {}\n", crate::VERSION);
    let mut say = |what: &str, found: &str| {
        // writing to a String cannot fail
        let _ = writeln!(text, "  {what:19}  {found}");
    };
    let profile = if cfg!(debug_assertions) { "unoptimised" } else { "release" };
    let system = if cfg!(target_env = "musl") { "linux-musl" } else { std::env::consts::OS };
    say("build", &format!("{profile}, {} {system}, TLS by rustls with ring", std::env::consts::ARCH));
    for (place, name) in variables().iter().enumerate() {
        let value = get(name);
        // The first six say who captures, and where; the others have defaults.
        if place < 6 || value.is_some() {
            say(name, &seen(name, value));
        }
    }
    let config = Config::from_variables(&get);
    match config.clone().and_then(Client::new) {
        Ok(client) => say("calls go to", client.base_url()),
        Err(error) => say("calls go to", &format!("nowhere yet: {}", error.message())),
    }
    // Where the environment's settings are no good, the trust of a call to Klarna's own address is described.
    let klarna = || Config::live(Region::Eu, Credentials::basic("nobody", "nothing"));
    let endpoint = config.and_then(|config| Ok((config.endpoint()?, config)));
    let met = endpoint.or_else(|_| klarna().endpoint().map(|endpoint| (endpoint, klarna())));
    if let Ok((endpoint, config)) = met {
        say("proxy", &proxy_in_words(&config, &endpoint));
    }
    say("trusted authorities", &authorities_in_words());
    text
}

/// A variable in words. Its value is shown only where it is one of our known words.
fn seen(name: &str, value: Option<OsString>) -> String {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return "not set".to_owned() };
    let Some(value) = value.to_str() else { return "set, but not UTF-8".to_owned() };
    match name {
        "KLARNA_REGION" if Region::KNOWN.contains(&value) => value.to_owned(),
        "KLARNA_ENVIRONMENT" if Environment::KNOWN.contains(&value) => value.to_owned(),
        // A line of a settings file easily leaves these behind.
        _ if value.trim() != value => "set, and begins or ends with white space".to_owned(),
        _ if value.starts_with(['"', '\'']) => "set, and begins with a quotation mark".to_owned(),
        _ => "set".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(text: &'a str, what: &str) -> &'a str {
        let found = text.lines().find_map(|line| line.trim_start().strip_prefix(what));
        found.unwrap_or_else(|| panic!("no line {what} in\n{text}")).trim()
    }

    fn with(variables: &[(&str, &str)]) -> String {
        let text = from(|name| Some(variables.iter().find(|(known, _)| *known == name)?.1.into()));
        for (name, value) in variables {
            assert!(!name.ends_with("D") && !name.ends_with("Y") || !text.contains(value), "{name} shows in {text}");
        }
        text
    }

    #[test]
    fn where_calls_go() {
        let pair = [("KLARNA_USERNAME", "PK0000_0a1b2c"), ("KLARNA_PASSWORD", "pass-secret")];
        let text = with(&[pair[0], pair[1], ("KLARNA_REGION", "oc"), ("KLARNA_ENVIRONMENT", "playground")]);
        assert_eq!(line(&text, "calls go to"), "https://api-oc.playground.klarna.com/");
        assert_eq!(line(&text, "KLARNA_USERNAME"), "set");
        assert_eq!(line(&text, "KLARNA_API_KEY"), "not set");
        assert_eq!(line(&text, "KLARNA_REGION"), "oc");
        assert!(!text.contains("PK0000"));
        let text = with(&[pair[0], pair[1], ("KLARNA_BASE_URL", "https://user:url-secret@gw.example")]);
        assert!(line(&text, "calls go to").starts_with("nowhere yet: base_url is a URL with a user"));
        assert!(!text.contains("url-secret"));
    }

    #[test]
    fn every_variable_is_one_that_is_read() {
        use std::cell::RefCell;
        let asked = RefCell::new(Vec::new());
        let _ = Config::from_variables(|name| {
            asked.borrow_mut().push(name.to_owned());
            None
        });
        let mut asked = asked.into_inner();
        asked.sort();
        let mut listed = variables();
        listed.sort();
        assert_eq!(asked, listed);
    }

    #[test]
    fn what_a_settings_file_leaves_behind() {
        let text = with(&[("KLARNA_PASSWORD", "pass-secret\r"), ("KLARNA_API_KEY", "\"key-secret\"")]);
        assert!(line(&text, "KLARNA_PASSWORD").contains("white space"));
        assert!(line(&text, "KLARNA_API_KEY").contains("quotation mark"));
    }
}
