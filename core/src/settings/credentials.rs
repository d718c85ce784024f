//! Credentials: how they stand in a configuration, and the `Authorization` header they make.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::place::Environment;
use crate::error::Error;
use crate::strict::words;

words! {
    /// How an API key goes into the `Authorization` header.
    pub(crate) enum Auth: closed {
        /// `Basic base64(username:key)`, the standard scheme.
        Basic = "basic",
        /// `Basic key`, as Klarna's and Kustom's pages on API keys write it.
        Raw = "raw",
    }
}

/// The shop's proof that it is itself. Wiped from memory when the last copy is dropped; absent from
/// `Debug`, errors and every host but the configured one.
#[derive(Clone, Default)]
pub struct Credentials {
    pub(super) username: Option<String>,
    pub(super) secret: Zeroizing<String>,
    pub(super) raw: bool,
}

impl Credentials {
    /// A username with its password, or with the API key that was made together with it.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Credentials {
        Credentials { username: Some(username.into()), secret: Zeroizing::new(password.into()), raw: false }
    }

    /// An API key alone, sent as it is behind `Basic`.
    pub fn raw_api_key(key: impl Into<String>) -> Credentials {
        Credentials { username: None, secret: Zeroizing::new(key.into()), raw: true }
    }

    /// The secret, and the part of the header that shows it in another form.
    pub(super) fn secrets(&self, header: &str) -> Vec<Zeroizing<String>> {
        let token = header.split_once(' ').map(|(_, token)| Zeroizing::new(token.to_owned()));
        [Some(self.secret.clone()), token].into_iter().flatten().collect()
    }

    /// The value of the `Authorization` header.
    pub(super) fn header(&self) -> Result<Zeroizing<String>, Error> {
        let username = self.username.as_deref().unwrap_or_default();
        let refuse = |field: &str, got: &str, allowed: &str| Err(Error::invalid_argument(field, got, allowed));
        if self.secret.is_empty() {
            return refuse(
                "password",
                "missing or empty",
                "the password or API key of the merchant account (password, or api_key)",
            );
        }
        if self.raw {
            if !self.secret.bytes().all(|b| b.is_ascii_graphic()) {
                return refuse("api_key", "a text with spaces or unprintable characters", "the key as Klarna shows it");
            }
            return Ok(Zeroizing::new(format!("Basic {}", *self.secret)));
        }
        if username.contains(':') || username.chars().chain(self.secret.chars()).any(char::is_control) {
            return refuse(
                "username or password",
                "a text with control characters, or a username with ':'",
                "the pair as Klarna shows it",
            );
        }
        let pair = Zeroizing::new(format!("{username}:{}", *self.secret));
        let mut header = Zeroizing::new(String::with_capacity(8 + pair.len() * 4 / 3 + 4));
        header.push_str("Basic ");
        BASE64.encode_string(pair.as_bytes(), &mut header);
        Ok(header)
    }

    /// The environment the secret names, if it does.
    pub(super) fn environment(&self) -> Option<Environment> {
        ["klarna", "kco"].iter().find_map(|issuer| {
            let rest = self.secret.trim_start().strip_prefix(issuer)?;
            if rest.starts_with("_live_") {
                Some(Environment::Live)
            } else if rest.starts_with("_test_") {
                Some(Environment::Playground)
            } else {
                None
            }
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::*;

    #[test]
    fn authorization_headers() {
        let header = |credentials: Credentials| credentials.header().map(|header| header.to_string());
        assert_eq!(header(Credentials::basic("user", "password")).unwrap(), "Basic dXNlcjpwYXNzd29yZA==");
        assert_eq!(header(Credentials::raw_api_key("klarna_test_api_x")).unwrap(), "Basic klarna_test_api_x");
        for bad in [
            Credentials::basic("u", ""),
            Credentials::basic("u:v", "p"),
            Credentials::basic("u", "p\r\nX: y"),
            Credentials::raw_api_key("a b"),
            Credentials::raw_api_key("a\nb"),
        ] {
            assert!(bad.header().is_err());
        }
    }

    #[test]
    fn fields_of_a_configuration_say_the_same() {
        for credentials in [Credentials::basic("user", "password"), Credentials::raw_api_key("key")] {
            let header = credentials.header().unwrap();
            let config = Config::at("http://127.0.0.1:1", credentials);
            config.check_credentials().unwrap();
            assert_eq!(config.credentials().header().unwrap(), header);
        }
        let config = Config::from_json(r#"{"api_key": "key", "username": "user"}"#).unwrap();
        assert_eq!(config.credentials().header(), Credentials::basic("user", "key").header());
    }
}
