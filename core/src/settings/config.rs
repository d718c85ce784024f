//! The settings, each declared once, and what follows from them: an [`Endpoint`] and [`Limits`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserializer;
use serde_json::{Map, Number, Value};
use zeroize::Zeroizing;

use super::credentials::Auth;
use super::place;
use crate::api::lines::CheckLines;
use crate::api::options::{BACKOFF, MAX_ATTEMPTS, Options, TIME};
use crate::decide::retry::Limits;
use crate::error::Error;
use crate::strict::schema::Kind;
use crate::strict::{Field, Item, Object, Reader, Rule, Unit, Voice, Written, object};
use crate::wire::Endpoint;

pub use super::credentials::Credentials;
pub(crate) use super::place::is_loopback;
pub use super::place::{Environment, Region};

const TEXT: Rule = Rule::Text { min: 1, max: 1024 };

object! {
    /// The settings of a [`Client`](crate::Client). Start from [`live`](Config::live),
    /// [`playground`](Config::playground), [`at`](Config::at) or
    /// [`from_env`](Config::from_env), then change fields.
    ///
    /// ```
    /// use std::time::Duration;
    /// use takings::{Config, Credentials, Region};
    ///
    /// let mut config = Config::playground(Region::Eu, Credentials::basic("PK0000_0a1b2c", "secret"));
    /// config.timeout = Duration::from_secs(15);
    /// ```
    pub struct Config: "a setting" {
        /// Where the account lives; `eu` when only the environment is given. Not together with
        /// `base_url`.
        optional region "region": Region, Region::RULE;
        /// Live or playground. There is no default: one of them moves money.
        optional environment "environment": Environment, Environment::RULE;
        /// Another host than Klarna's own, with an optional path prefix:
        /// `https://gateway.example/klarna`. Plain `http` only for a loopback address,
        /// or the `insecure_http_host`.
        optional base_url "base_url": String, Rule::Url { min: 1, max: 1024 };
        /// Allows plain `http` in `base_url` to this one host, which must not be Klarna's. Everybody on
        /// the way reads the credentials and all data then, and can change answers: for a stand-in
        /// Klarna in another container, with made-up data.
        optional insecure_http_host "insecure_http_host": String, TEXT;
        /// The user of the pair that Klarna's portal shows.
        optional(crate) username "username": String, Rule::Secret;
        /// The password that belongs to `username`. Not together with `api_key`.
        optional(crate) password "password": Zeroizing<String>, Rule::Secret;
        /// An API key, with the `username` it was made together with, or alone.
        optional(crate) api_key "api_key": Zeroizing<String>, Rule::Secret;
        /// How an `api_key` is sent: as the password of a pair, or as it is. `basic`.
        optional(crate) auth "auth": Auth, Auth::RULE;
        /// Time to connect: name look-up, every address, TLS. 5 s; at most half of what one
        /// attempt may take, so that an unreachable host is not taken for a lost answer.
        default connect_timeout "connect_timeout_ms": Duration, TIME, Duration::from_secs(5);
        /// Time for one attempt, from the first name look-up to the last byte. 10 s.
        default attempt_timeout "attempt_timeout_ms": Duration, TIME, Duration::from_secs(10);
        /// Time for the whole call with all attempts and pauses. 25 s, below the 30 s after which
        /// gunicorn kills a worker.
        default timeout "timeout_ms": Duration, TIME, Duration::from_secs(25);
        /// Requests one call may make, 1 to 20. 3.
        default max_attempts "max_attempts": u32, MAX_ATTEMPTS, 3;
        /// The first pause is drawn from 0 to this, each later one from twice as much. 0.5 s.
        default backoff "backoff_ms": Duration, BACKOFF, Duration::from_millis(500);
        /// No pause is drawn from more than this. 8 s.
        default max_backoff "max_backoff_ms": Duration, BACKOFF, Duration::from_secs(8);
        /// A proxy for HTTPS, such as `http://user:password@proxy.example:3128`. Without it,
        /// `HTTPS_PROXY` and `NO_PROXY` are read as curl reads them. Never used for a loopback
        /// address.
        optional proxy "proxy": String, Rule::Secret;
        /// A PEM file of certificate authorities to trust instead of the system's.
        optional ca_file "ca_file": PathBuf, TEXT;
        /// Your program's name for itself, appended to the `User-Agent`: `acme-shop/2.1`.
        optional user_agent_suffix "user_agent_suffix": String, TEXT;
        /// How order lines that do not add up are taken: warn by default.
        default check_lines "check_lines": CheckLines, CheckLines::RULE, CheckLines::Warn;
        /// Let values pass that takings does not know, for the line `type` and `shipping_method`
        /// of requests read from JSON or a script's values.
        default accept_unknown_values "accept_unknown_values": bool, Rule::Bool, false;
        /// When a capture with a `reference` ends unclear, search the order's captures for the
        /// one with this reference and amount, and take it for the answer. Only sound when each
        /// capture of an order has a reference of its own.
        default reconcile "reconcile": bool, Rule::Bool, false;
    }
    beside {
        pub(crate) surface: &'static str = "rust";
    }
}

const WHOLE: &str = "the configuration";

/// The variables that [`Config::from_env`] reads, those that every program needs first.
pub(crate) fn variables() -> Vec<String> {
    const FIRST: [&str; 6] = ["username", "password", "api_key", "region", "environment", "base_url"];
    let others = Config::FIELDS.iter().copied().filter(|name| !FIRST.contains(name));
    FIRST.into_iter().chain(others).map(variable).collect()
}

/// The variable of a setting: `KLARNA_TIMEOUT` for `timeout_ms`.
fn variable(declared: &str) -> String {
    format!("KLARNA_{}", Unit::Seconds.name_of(declared).to_ascii_uppercase())
}

/// The value that a variable's text says. A text that says none of the kind stays one, and is refused when it is read.
fn said(kind: &Kind, text: String) -> Value {
    let word = text.trim().to_ascii_lowercase();
    let value = match kind {
        Kind::Duration => word.parse().ok().and_then(Number::from_f64).map(Value::Number),
        Kind::Integer => word.parse::<i64>().ok().map(Value::from),
        Kind::Boolean => ["false", "true"].iter().position(|known| *known == word).map(|place| Value::Bool(place == 1)),
        _ => None,
    };
    value.unwrap_or(Value::String(text))
}

impl Config {
    /// Klarna's live system of a region: captures move money.
    pub fn live(region: Region, credentials: Credentials) -> Config {
        Config { region: Some(region), environment: Some(Environment::Live), ..Config::new(credentials) }
    }

    /// Klarna's test system of a region.
    pub fn playground(region: Region, credentials: Credentials) -> Config {
        Config { region: Some(region), environment: Some(Environment::Playground), ..Config::new(credentials) }
    }

    /// Another host: the sandbox, or a gateway in front of Klarna.
    pub fn at(base_url: impl Into<String>, credentials: Credentials) -> Config {
        Config { base_url: Some(base_url.into()), ..Config::new(credentials) }
    }

    fn new(credentials: Credentials) -> Config {
        let mut config = Config::blank();
        let Credentials { username, secret, raw, .. } = credentials;
        config.username = username;
        (config.password, config.api_key) = if raw { (None, Some(secret)) } else { (Some(secret), None) };
        config.auth = raw.then_some(Auth::Raw);
        config
    }

    /// A name of the merchant that holds no secret, by which a ledger tells one merchant's credentials from another's.
    /// With a user name that is its first part (`PK0000` of `PK0000_0a1b2c`), which a new password keeps. An API key that
    /// stands alone has a short digest in its place, and a new key another one.
    #[doc(hidden)]
    pub fn merchant(&self) -> String {
        match (self.username.as_deref().filter(|name| !name.is_empty()), &self.api_key) {
            (Some(username), _) => username.split_once('_').map_or(username, |(merchant, _)| merchant).to_owned(),
            (None, Some(key)) => format!("API key {}", crate::key::digest("merchant", key)),
            (None, None) => String::new(),
        }
    }

    /// The credentials that the fields say.
    pub(super) fn credentials(&self) -> Credentials {
        let secret = self.password.as_ref().or(self.api_key.as_ref());
        Credentials {
            username: self.username.clone(),
            secret: secret.cloned().unwrap_or_default(),
            raw: self.auth == Some(Auth::Raw),
            is_api_key: self.password.is_none(),
        }
    }

    /// Reads settings from JSON text, as strictly as a request. The fields are those of
    /// [`Config`], with `username` and `password` or `api_key` (and `auth`: `basic` or `raw`)
    /// for the credentials, and durations in milliseconds: `timeout_ms`,
    /// `attempt_timeout_ms`, `connect_timeout_ms`, `backoff_ms`, `max_backoff_ms`.
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the field.
    pub fn from_json(text: &str) -> Result<Config, Error> {
        Config::checked(Reader::new(WHOLE, false).json(text, &Config::RULE)?)
    }

    /// The same from any serde source.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Config::from_json).
    pub fn from_deserializer<'de, D: Deserializer<'de>>(source: D) -> Result<Config, Error> {
        Config::checked(Reader::new(WHOLE, false).read(source, &Config::RULE)?)
    }

    /// For bindings whose language gives times in seconds: as
    /// [`from_deserializer`](Config::from_deserializer), with `timeout` for `timeout_ms` and so on,
    /// whole or with a fraction.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Config::from_json), in seconds.
    #[doc(hidden)]
    pub fn from_deserializer_in_seconds<'de, D: Deserializer<'de>>(source: D) -> Result<Config, Error> {
        Config::checked(Reader::in_seconds(WHOLE).in_words_of(Voice::Python).read_by_unit(source)?)
    }

    /// For Lua: as [`from_deserializer`](Config::from_deserializer), in Lua's words.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Config::from_json).
    #[doc(hidden)]
    pub fn from_deserializer_of_lua<'de, D: Deserializer<'de>>(source: D) -> Result<Config, Error> {
        Config::checked(Reader::new(WHOLE, false).in_words_of(Voice::Lua).read(source, &Config::RULE)?)
    }

    /// The settings that differ from their defaults, as [`from_json`](Config::from_json) reads them.
    /// The text holds the credentials in clear: keep it out of logs and files.
    ///
    /// # Errors
    ///
    /// `invalid_input`, where `ca_file` is no UTF-8 and so has no JSON.
    #[doc(hidden)]
    pub fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(&Written(self))
            .map_err(|_| Error::invalid_argument("ca_file", "not UTF-8", "a path that JSON can hold"))
    }

    /// Reads `KLARNA_USERNAME` and `KLARNA_PASSWORD` or `KLARNA_API_KEY`, and `KLARNA_REGION`
    /// with `KLARNA_ENVIRONMENT` or `KLARNA_BASE_URL`. Every other setting has its variable too:
    /// `KLARNA_TIMEOUT` and other times in seconds, `KLARNA_RECONCILE` as `true` or `false`. An empty
    /// variable counts as absent. Beside this function only [`diagnosis`](crate::diagnosis) reads these
    /// variables.
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the variable.
    pub fn from_env() -> Result<Config, Error> {
        Config::from_variables(|name| std::env::var_os(name))
    }

    /// For Lua: the environment, with these settings in place of it, named as
    /// [`from_json`](Config::from_json) names them.
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the variable or the setting.
    #[doc(hidden)]
    pub fn from_env_of_lua<'de, D: Deserializer<'de>>(settings: D) -> Result<Config, Error> {
        Config::over_env(&Reader::new(WHOLE, false).in_words_of(Voice::Lua), settings)
    }

    /// The same for bindings whose language gives times in seconds.
    ///
    /// # Errors
    ///
    /// As [`from_env_of_lua`](Config::from_env_of_lua).
    #[doc(hidden)]
    pub fn from_env_with_in_seconds<'de, D: Deserializer<'de>>(settings: D) -> Result<Config, Error> {
        Config::over_env(&Reader::in_seconds(WHOLE).in_words_of(Voice::Python), settings)
    }

    /// The same with the settings as JSON text, or without settings.
    ///
    /// # Errors
    ///
    /// As [`from_env_of_lua`](Config::from_env_of_lua).
    #[doc(hidden)]
    pub fn from_env_with_json(settings: Option<&str>) -> Result<Config, Error> {
        let environment = Config::said_by(|name| std::env::var_os(name))?;
        let below = Written(&environment).to_json();
        Config::checked(Reader::new(WHOLE, false).json_over(settings.unwrap_or("{}"), below)?)
    }

    fn over_env<'de, D: Deserializer<'de>>(reader: &Reader, settings: D) -> Result<Config, Error> {
        let environment = Config::said_by(|name| std::env::var_os(name))?;
        Config::checked(reader.read_over(settings, Written(&environment).to_json())?)
    }

    pub(crate) fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Result<Config, Error> {
        Config::checked(Config::said_by(get)?)
    }

    /// The settings of the variables. Each is read by itself first, so that a refusal can name the variable.
    fn said_by(get: impl Fn(&str) -> Option<OsString>) -> Result<Config, Error> {
        let read =
            |settings: Map<String, Value>| Reader::in_seconds(WHOLE).read_by_unit::<Config, _>(Value::Object(settings));
        let mut all = Map::new();
        for field in Config::SCHEMA.fields {
            let (name, variable) = (Unit::Seconds.name_of(field.name), variable(field.name));
            let text = match get(&variable).filter(|value| !value.is_empty()).map(OsString::into_string) {
                None => continue,
                Some(Ok(text)) => text,
                Some(Err(_)) => return Err(Error::invalid_argument(&variable, "not UTF-8", "a text")),
            };
            let value = said(&field.kind, text);
            let checked = read(Map::from_iter([(name.to_owned(), value.clone())]));
            checked.map_err(|error| match error.message().strip_prefix(name) {
                Some(rest) => Error::invalid(format!("{variable}{rest}")),
                None => error,
            })?;
            all.insert(name.to_owned(), value);
        }
        read(all)
    }

    /// A configuration that was read, if it holds together.
    fn checked(self) -> Result<Config, Error> {
        self.check(&Reader::new(WHOLE, false).root(), &Config::RULE)?;
        self.check_credentials()?;
        Ok(self)
    }

    /// Checks that the fields of a configuration that was read say who captures, and say it once.
    pub(super) fn check_credentials(&self) -> Result<(), Error> {
        match (&self.password, &self.api_key) {
            (Some(_), Some(_)) => Err(Error::invalid("password and api_key are both given; it must be one of them")),
            (None, None) => Err(Error::invalid(
                "credentials are missing; give username and password, or api_key (in the environment: \
                 KLARNA_USERNAME and KLARNA_PASSWORD, or KLARNA_API_KEY)",
            )),
            (Some(_), None) if self.username.is_none() => Err(Error::invalid(
                "username is missing; it belongs to password (in the environment: KLARNA_USERNAME to KLARNA_PASSWORD)",
            )),
            (Some(_), None) if self.auth == Some(Auth::Raw) => {
                Err(Error::invalid("auth is raw with a password; it must be basic, or give api_key"))
            }
            _ => Ok(()),
        }
    }

    /// For bindings: the name in the `User-Agent`, `takings/VERSION (name)`.
    #[doc(hidden)]
    pub fn surface(mut self, name: &'static str) -> Config {
        self.surface = name;
        self
    }

    /// The limits of every attempt of every call.
    pub(crate) fn limits(&self) -> Result<Limits, Error> {
        // A program may have changed any field since the settings were read.
        self.check(&Reader::in_seconds(WHOLE).root(), &Config::RULE)?;
        Ok(self.limits_with(Options::default()))
    }

    /// The limits of a call with these options, of settings that were checked.
    pub(crate) fn limits_with(&self, options: Options) -> Limits {
        let total = options.timeout.unwrap_or(self.timeout);
        let attempt = self.attempt_timeout.min(total);
        Limits {
            total,
            attempt,
            connect: self.connect_timeout.min(attempt / 2),
            attempts: options.max_attempts.unwrap_or(self.max_attempts),
            backoff: self.backoff,
            max_backoff: self.max_backoff,
        }
    }

    /// Where requests go and what they carry.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Error> {
        let (given, insecure) = (self.base_url.as_deref(), self.insecure_http_host.as_deref());
        let base_url = place::base_url(given, insecure, self.region, self.environment)?;
        let place = place::in_words(&base_url);
        let credentials = self.credentials();
        if let Some(origin) = credentials.origin() {
            place::check_origin(place::origin_of(&base_url), origin)?;
        }
        let mut user_agent = format!("takings/{} ({})", crate::VERSION, self.surface);
        if let Some(suffix) = &self.user_agent_suffix {
            if suffix.is_empty() || suffix.len() > 200 || !suffix.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
                return Err(Error::invalid_argument(
                    "user_agent_suffix",
                    "empty, too long or not printable ASCII",
                    "1 to 200 printable ASCII characters, such as acme-shop/2.1",
                ));
            }
            user_agent.push(' ');
            user_agent.push_str(suffix);
        }
        let authorization = credentials.header()?;
        let secrets = credentials.secrets(&authorization);
        let endpoint = Endpoint::new(base_url, authorization, user_agent, secrets);
        Ok(endpoint.with_credential_hint(credentials.hint()).with_place(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Credentials {
        Credentials::basic("user", "password")
    }

    #[test]
    fn nothing_shows_the_secret() {
        let mut config = Config::live(Region::Eu, Credentials::basic("user", "s3cret"));
        config.proxy = Some("http://u:hunter2@proxy.example".into());
        let debug = format!("{config:?}");
        assert!(!debug.contains("s3cret") && !debug.contains("hunter2"), "{debug}");
        for text in
            [r#"{"password": 123456}"#, r#"{"password": ["s3cret"]}"#, r#"{"proxy": 123456, "password": "s3cret"}"#]
        {
            let message = Config::from_json(text).unwrap_err().to_string();
            assert!(!message.contains("123456") && !message.contains("s3cret"), "{message}");
        }
    }

    #[test]
    fn settings_are_read_strictly() {
        let message = |text: &str| Config::from_json(text).unwrap_err().to_string();
        let with = |rest: &str| message(&format!(r#"{{"username": "u", "password": "p", {rest}}}"#));
        assert_eq!(message("{}").split(';').next(), Some("credentials are missing"));
        assert!(message(r#"{"password": "p"}"#).starts_with("username is missing"));
        assert!(with(r#""api_key": "k""#).starts_with("password and api_key are both given"));
        assert_eq!(with(r#""time_out_ms": 1"#), "time_out_ms is not a field of a setting; did you mean timeout_ms?");
        assert!(with(r#""timeout_ms": 1.5"#).starts_with("timeout_ms is the number 1.5"));
        assert!(with(r#""timeout_ms": 0"#).starts_with("timeout_ms is 0"));
        assert!(with(r#""max_attempts": 21"#).starts_with("max_attempts is 21"));
        assert!(with(r#""region": "us""#).contains("did you mean \"na\"?"));
        assert!(with(r#""environment": "Production""#).contains("did you mean \"live\"?"));
        let shouted = Config::from_json(r#"{"api_key": "k", "region": "EU", "environment": "Playground"}"#).unwrap();
        assert_eq!((shouted.region, shouted.environment), (Some(Region::Eu), Some(Environment::Playground)));
        assert!(message("[]").starts_with("the configuration is a list"));
        assert!(message("{").starts_with("the configuration is not valid JSON"));
    }

    #[test]
    fn the_environment_is_read_when_asked() {
        let from = |pairs: &[(&str, &str)]| {
            let pairs: std::collections::HashMap<_, _> = pairs.iter().copied().collect();
            Config::from_variables(|name| pairs.get(name).map(|value| (*value).into()))
        };
        let config = from(&[("KLARNA_API_KEY", "k"), ("KLARNA_REGION", "na"), ("KLARNA_ENVIRONMENT", "live")]).unwrap();
        assert_eq!(config.region, Some(Region::Na));
        let config = from(&[("KLARNA_USERNAME", "u"), ("KLARNA_PASSWORD", "p"), ("KLARNA_REGION", "")]).unwrap();
        assert_eq!(config.region, None);
        assert!(from(&[]).unwrap_err().message().contains("KLARNA_API_KEY"));
        let error = from(&[("KLARNA_API_KEY", "k"), ("KLARNA_REGION", "us")]).unwrap_err();
        assert_eq!(error.message(), "KLARNA_REGION is \"us\", which is not known; did you mean \"na\"?");
        let set = |name: &str, value: &str| from(&[("KLARNA_API_KEY", "k"), ("KLARNA_REGION", "EU"), (name, value)]);
        assert_eq!(set("KLARNA_TIMEOUT", "2.5").unwrap().timeout, Duration::from_millis(2500));
        assert_eq!(set("KLARNA_MAX_ATTEMPTS", "4").unwrap().max_attempts, 4);
        assert!(set("KLARNA_RECONCILE", "True").unwrap().reconcile);
        for (name, value, says) in [
            ("KLARNA_TIMEOUT", "soon", "KLARNA_TIMEOUT is a string; it must be a number of seconds"),
            ("KLARNA_TIMEOUT", "25000", "KLARNA_TIMEOUT is 25000.0; times are in seconds"),
            ("KLARNA_BACKOFF", "NaN", "KLARNA_BACKOFF is a string; it must be a number of seconds"),
            ("KLARNA_MAX_ATTEMPTS", "1.5", "KLARNA_MAX_ATTEMPTS is the string \"1.5\"; it must be a whole number"),
            ("KLARNA_MAX_ATTEMPTS", "21", "KLARNA_MAX_ATTEMPTS is 21; it must be"),
            ("KLARNA_RECONCILE", "maybe", "KLARNA_RECONCILE is a string; it must be true or false"),
            ("KLARNA_CHECK_LINES", "of", "KLARNA_CHECK_LINES is \"of\", which is not known; did you mean \"off\"?"),
        ] {
            let message = set(name, value).unwrap_err();
            assert!(message.message().starts_with(says), "{name}={value}: {message}");
        }
    }

    #[test]
    fn connecting_takes_at_most_half_of_an_attempt() {
        let mut config = Config::at("http://127.0.0.1:1", pair());
        config.timeout = Duration::from_secs(2);
        let limits = config.limits().unwrap();
        assert_eq!((limits.attempt, limits.connect), (Duration::from_secs(2), Duration::from_secs(1)));
        config.timeout = Duration::ZERO;
        assert!(config.limits().is_err());
    }

    #[test]
    fn a_call_may_have_limits_of_its_own() {
        let mut config = Config::at("http://127.0.0.1:1", pair());
        config.attempt_timeout = Duration::from_secs(4);
        let limits = |options| {
            let Limits { total, attempt, connect, attempts, .. } = config.limits_with(options);
            (total.as_secs(), attempt.as_secs(), connect.as_secs(), attempts)
        };
        let with = |timeout| Options::default().timeout(Duration::from_secs(timeout));
        assert_eq!(limits(Options::default()), (25, 4, 2, 3));
        assert_eq!(limits(with(2)), (2, 2, 1, 3));
        assert_eq!(limits(with(60)), (60, 4, 2, 3));
        assert_eq!(limits(Options::default().max_attempts(1)), (25, 4, 2, 1));
        assert_eq!(limits(Options::default().max_attempts(1).over(with(2))), (2, 2, 1, 1));
        assert_eq!(limits(with(3).over(with(2).max_attempts(5))), (3, 3, 1, 5));
    }

    #[test]
    fn times_are_read_in_the_unit_of_the_host() {
        let read = |times: serde_json::Value| {
            let mut settings = serde_json::json!({"username": "u", "password": "p"});
            settings.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
            Config::from_deserializer_in_seconds(settings)
        };
        let config =
            read(serde_json::json!({"timeout": 1.5, "backoff": 0, "connect_timeout": 3600, "max_attempts": 2}));
        let config = config.unwrap();
        assert_eq!(config.timeout, Duration::from_millis(1500));
        assert_eq!((config.backoff, config.connect_timeout), (Duration::ZERO, Duration::from_secs(3600)));
        assert_eq!((config.max_attempts, config.max_backoff), (2, Duration::from_secs(8)));

        let message = |times| read(times).unwrap_err().message().to_owned();
        const SECONDS: &str = "it must be a number of seconds, more than nothing and at most 3600";
        for (time, got) in [
            (serde_json::json!(-1), "-1.0"),
            (serde_json::json!(0), "0.0"),
            (serde_json::json!(86401), "86401.0"),
            (serde_json::json!(1e300), "1e300"),
            (serde_json::json!(1e-9), "1e-9, less than a millisecond"),
            (serde_json::json!("5"), "the string \"5\""),
            (serde_json::json!("soon"), "a string"),
            (serde_json::json!(true), "True"),
            (serde_json::json!([1]), "a list"),
            (serde_json::json!({}), "a dict"),
            (serde_json::json!(25000), "25000.0; times are in seconds here, not in milliseconds: write 25 for 25 s"),
            (
                serde_json::json!(3601),
                "3601.0; times are in seconds here, not in milliseconds: write 3.601 for 3.601 s",
            ),
        ] {
            assert_eq!(message(serde_json::json!({"timeout": time})), format!("timeout is {got}; {SECONDS}"));
        }
        assert_eq!(
            message(serde_json::json!({"backoff": -0.5})),
            "backoff is -0.5; it must be a number of seconds, 0 or more and at most 3600"
        );
        assert_eq!(
            message(serde_json::json!({"timeout_ms": 5})),
            "timeout_ms is not a setting; it must be given in seconds, under a name without _ms"
        );
        assert_eq!(
            message(serde_json::json!({"time_out": 5})),
            "time_out is not a field of a setting; did you mean timeout?"
        );
        let all = message(serde_json::json!({"zzzzzz": 5}));
        assert!(all.contains(" attempt_timeout, timeout, max_attempts, backoff,") && !all.contains("_ms"), "{all}");
        let error = Config::from_deserializer_in_seconds(serde_json::json!([])).unwrap_err();
        assert_eq!(
            error.message(),
            "the configuration is a list; it must be a dict (a setting): ._asdict() makes a dict of a namedtuple"
        );
        assert!(Config::from_json(r#"{"username": "u", "password": "p", "timeout": 5}"#).is_err());
    }

    #[test]
    fn times_in_milliseconds_have_limits() {
        let message = |time: &str| {
            let text = format!(r#"{{"username": "u", "password": "p", "timeout_ms": {time}}}"#);
            Config::from_json(&text).unwrap_err().message().to_owned()
        };
        for (time, got) in [
            ("0", "0"),
            ("-5", "-5"),
            ("86400001", "86400001"),
            ("\"5\"", "the string \"5\""),
            ("true", "true"),
            ("[]", "a list"),
        ] {
            assert_eq!(
                message(time),
                format!("timeout_ms is {got}; it must be a whole number from 1 to 86400000 (milliseconds)")
            );
        }
    }

    #[test]
    fn counts_beyond_their_type_are_refused_by_their_rule() {
        for count in [-1, 0, 21, 1_i64 << 40] {
            let text = format!(r#"{{"username": "u", "password": "p", "max_attempts": {count}}}"#);
            let error = Config::from_json(&text).unwrap_err();
            let expected = format!("max_attempts is {count}; it must be a whole number from 1 to 20 (requests)");
            assert_eq!(error.message(), expected);
        }
    }

    /// A value other than the default, for each setting that may stand beside the others.
    const EACH: &str = r#"{"region":"na","environment":"live","insecure_http_host":"h","username":"u","password":"p",
        "auth":"basic",
        "connect_timeout_ms":1,"attempt_timeout_ms":2,"timeout_ms":3,"max_attempts":4,"backoff_ms":0,
        "max_backoff_ms":6,"proxy":"http://p.example","ca_file":"/ca.pem","user_agent_suffix":"shop/1",
        "check_lines":"refuse","accept_unknown_values":true,"reconcile":true}"#;

    #[test]
    fn settings_go_out_as_they_came_in() {
        let compact = EACH.replace(['\n', ' '], "");
        let config = Config::from_json(EACH).unwrap();
        assert_eq!(config.to_json().unwrap(), compact);
        assert_eq!(Config::from_json(&compact).unwrap(), config);
        let given: serde_json::Value = serde_json::from_str(EACH).unwrap();
        for name in Config::FIELDS.iter().filter(|name| !["base_url", "api_key"].contains(name)) {
            assert!(given.get(name).is_some(), "{name}");
        }

        let config = Config::at("http://127.0.0.1:1", Credentials::raw_api_key("k"));
        let text = config.to_json().unwrap();
        assert_eq!(text, r#"{"base_url":"http://127.0.0.1:1","api_key":"k","auth":"raw"}"#);
        assert_eq!(Config::from_json(&text).unwrap(), config);
        let mut config = Config::live(Region::Eu, pair());
        config.backoff = Duration::from_micros(1);
        assert!(config.to_json().unwrap().ends_with(r#","backoff_ms":1}"#), "a short pause is one");
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_json_cannot_hold() {
        use std::os::unix::ffi::OsStringExt;
        let mut config = Config::live(Region::Eu, pair());
        config.ca_file = Some(std::ffi::OsString::from_vec(vec![b'/', 0xff]).into());
        assert!(config.to_json().unwrap_err().message().starts_with("ca_file is not UTF-8"));
    }

    #[test]
    fn a_merchant_has_a_name_without_secrets() {
        let of = |credentials| Config::at("https://klarna.example", credentials).merchant();
        assert_eq!(of(Credentials::basic("PK0000_0a1b2c", "a-long-password")), "PK0000");
        assert_eq!(of(Credentials::basic("shop", "a-long-password")), "shop");
        let (first, second) =
            (of(Credentials::raw_api_key("klarna_live_1")), of(Credentials::raw_api_key("klarna_live_2")));
        assert!(first != second && first == of(Credentials::raw_api_key("klarna_live_1")), "{first} {second}");
        assert!(first.starts_with("API key ") && first.len() == 20 && !first.contains("klarna"), "{first}");
    }

    #[test]
    fn debug_shows_settings_without_secrets() {
        let debug = format!("{:?}", Config::from_json(EACH).unwrap());
        for shown in [
            "region: Some(Na)",
            "username: Some(\"hidden\"), password: Some(\"hidden\"), api_key: None",
            "timeout: 3ms",
            "proxy: Some(\"hidden\")",
            "ca_file: Some(\"/ca.pem\")",
            "reconcile: true, ..",
        ] {
            assert!(debug.contains(shown), "{shown} in {debug}");
        }
        let at = |url: &str| format!("{:?}", Config::at(url, pair()));
        assert!(at("https://gw.example/klarna").contains("https://gw.example/klarna"));
        assert!(!at("https://user:url-secret@gw.example").contains("url-secret"));
    }

    #[test]
    fn the_schema_tells_all_settings() {
        let schema: serde_json::Value = {
            let mut all = crate::strict::schema::Reachable::default();
            all.add(&<Config as crate::strict::Object>::SCHEMA);
            all.to_json()
        };
        let fields = schema["objects"]["Config"]["fields"].as_array().unwrap();
        let names: Vec<_> = fields.iter().map(|field| field["name"].as_str().unwrap()).collect();
        assert_eq!(names, Config::FIELDS);
        for field in fields {
            assert!(!field["doc"].as_str().unwrap().is_empty(), "{field}");
            assert_eq!(field["required"], false, "{field}");
        }
        let of = |name: &str| fields.iter().find(|field| field["name"] == name).unwrap();
        assert_eq!(
            of("timeout_ms")["type"],
            serde_json::json!({"kind": "duration", "min_ms": 1, "max_ms": crate::api::options::DAY_MS})
        );
        assert_eq!(of("timeout_ms")["default"], 25_000);
        assert_eq!(of("max_attempts")["default"], 3);
        assert_eq!(of("check_lines")["default"], "warn");
        assert_eq!(of("check_lines")["type"], serde_json::json!({"kind": "word", "name": "CheckLines"}));
        assert_eq!(of("password")["type"], serde_json::json!({"kind": "secret"}));
        assert_eq!(of("base_url")["type"], serde_json::json!({"kind": "text", "min": 1, "max": 1024}));
        assert_eq!(of("region").get("default"), None);
        let words: Vec<_> = schema["words"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(words, ["Auth", "CheckLines", "Environment", "Region"]);
    }
}
