//! Credentials: how they stand in a configuration, and the `Authorization` header they make.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::place::{Environment, Issuer};
use crate::error::Error;
use crate::strict::words;
use crate::text::{holds, strange};

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
    /// The secret is an API key, which may stand alone.
    pub(super) is_api_key: bool,
}

impl Credentials {
    /// A username with its password, or with the API key that was made together with it.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Credentials {
        Credentials {
            username: Some(username.into()),
            secret: Zeroizing::new(password.into()),
            raw: false,
            is_api_key: false,
        }
    }

    /// An API key alone, sent as it is behind `Basic`.
    pub fn raw_api_key(key: impl Into<String>) -> Credentials {
        Credentials { username: None, secret: Zeroizing::new(key.into()), raw: true, is_api_key: true }
    }

    /// The secret, and the part of the header that shows it in another form.
    pub(super) fn secrets(&self, header: &str) -> Vec<Zeroizing<String>> {
        let token = header.split_once(' ').map(|(_, token)| Zeroizing::new(token.to_owned()));
        [Some(self.secret.clone()), token].into_iter().flatten().collect()
    }

    /// The value of the `Authorization` header.
    pub(super) fn header(&self) -> Result<Zeroizing<String>, Error> {
        let secret = if self.is_api_key { "api_key" } else { "password" };
        check_credential(secret, &self.secret)?;
        if self.raw {
            if let Some(index) = self.secret.chars().position(|c| !c.is_ascii_graphic()) {
                return Err(Error::odd(secret, &holds(&self.secret, index), AS_SHOWN));
            }
            return Ok(Zeroizing::new(format!("Basic {}", *self.secret)));
        }
        let username = self.username.as_deref().unwrap_or_default();
        // An API key may be the whole credential, without a user.
        if self.username.is_some() || !self.is_api_key {
            check_credential("username", username)?;
        }
        if let Some(index) = username.chars().position(|c| c == ':') {
            return Err(Error::odd("username", &holds(username, index), AS_SHOWN));
        }
        let pair = Zeroizing::new(format!("{username}:{}", *self.secret));
        let mut header = Zeroizing::new(String::with_capacity(8 + pair.len() * 4 / 3 + 4));
        header.push_str("Basic ");
        BASE64.encode_string(pair.as_bytes(), &mut header);
        Ok(header)
    }

    /// The issuer and the environment that the secret names, if it does.
    pub(super) fn origin(&self) -> Option<(Issuer, Environment)> {
        [("klarna", Issuer::Klarna), ("kco", Issuer::Kustom)].into_iter().find_map(|(prefix, issuer)| {
            let rest = self.secret.strip_prefix(prefix)?;
            let environment = match rest {
                _ if rest.starts_with("_live_") => Environment::Live,
                _ if rest.starts_with("_test_") => Environment::Playground,
                _ => return None,
            };
            Some((issuer, environment))
        })
    }

    /// An oddity that a real credential may have, for the message of a 401. The value is not shown.
    pub(super) fn hint(&self) -> Option<String> {
        let secret = if self.is_api_key { "api_key" } else { "password" };
        let fields = [("username", self.username.as_deref().unwrap_or_default()), (secret, &self.secret)];
        fields.into_iter().find_map(|(field, text)| {
            let odd = if let Some(entity) = ENTITIES.iter().find(|entity| text.contains(*entity)) {
                format!("holds `{entity}`, which HTML shows as another character")
            } else if text.contains(' ') {
                "holds a blank".to_owned()
            } else if !text.is_ascii() {
                "holds a character beyond ASCII".to_owned()
            } else {
                return None;
            };
            Some(format!("{field} {odd}"))
        })
    }
}

const AS_SHOWN: &str = "the text that the merchant portal shows, and nothing around it";
const ENTITIES: [&str; 7] = ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#39;", "&#x27;"];

/// Refuses a credential in a shape that none has. Its value stands in no message.
fn check_credential(field: &str, text: &str) -> Result<(), Error> {
    let is_quoted = |quote: char| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    let scheme = ["Basic ", "Bearer "]
        .into_iter()
        .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let odd = if text.is_empty() {
        "is empty".to_owned()
    } else if let Some(strange) = strange(text) {
        strange
    } else if text.starts_with(' ') {
        "begins with a blank".to_owned()
    } else if text.ends_with(' ') {
        "ends with a blank".to_owned()
    } else if ['"', '\'', '`'].into_iter().any(is_quoted)
        || (text.starts_with('\u{201c}') && text.ends_with('\u{201d}'))
    {
        "is in quotation marks".to_owned()
    } else if let Some(scheme) = scheme {
        format!("begins with '{scheme}'")
    } else {
        return Ok(());
    };
    Err(Error::odd(field, &odd, AS_SHOWN))
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
    fn a_credential_that_was_copied_with_more_says_how_it_is_odd() {
        for (username, password, odd) in [
            ("u", "s3cret ", "password ends with a blank;"),
            ("u", " s3cret", "password begins with a blank;"),
            ("u", "s3cret\n", "password holds U+000A at position 7;"),
            ("u", "s3\u{200b}cret", "password holds U+200B at position 3;"),
            ("u", "\"s3cret\"", "password is in quotation marks;"),
            ("u", "Basic s3cret", "password begins with 'Basic ';"),
            ("", "s3cret", "username is empty;"),
            ("u", "", "password is empty;"),
            ("a:b", "s3cret", "username holds U+003A at position 2;"),
        ] {
            let message = Credentials::basic(username, password).header().unwrap_err().message().to_owned();
            assert!(message.starts_with(odd), "{message}");
            assert!(!message.contains("s3cret") && !message.contains("cret"), "{message}");
        }
        for (password, hint) in [
            ("a&amp;b", Some("password holds `&amp;`, which HTML shows as another character")),
            ("a b", Some("password holds a blank")),
            ("ö", Some("password holds a character beyond ASCII")),
            ("a&b", None),
        ] {
            let credentials = Credentials::basic("u", password);
            assert!(credentials.header().is_ok());
            assert_eq!(credentials.hint().as_deref(), hint);
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
