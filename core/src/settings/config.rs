//! Settings: what the shop says about itself, checked once into an [`Endpoint`] and
//! [`Limits`].

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Url;
use serde::Deserializer;
use zeroize::Zeroizing;

use crate::api::lines::CheckLines;
use crate::decide::machine::Limits;
use crate::error::Error;
use crate::strict::{Field, Item, Reader, Rule, object, shown_word, words};
use crate::wire::Endpoint;

words! {
    /// Where the merchant's account lives. It follows the account, not the shopper.
    #[derive(Hash)]
    pub enum Region: closed {
        /// Europe
        Eu = "eu",
        /// North America
        Na = "na",
        /// Oceania
        Oc = "oc",
        /// Kustom, which took over Klarna's checkout merchants: same calls, other hosts
        Kustom = "kustom",
    }
}

words! {
    /// Real money or not.
    #[derive(Hash)]
    pub enum Environment: closed {
        /// Captures move money.
        Live = "live",
        /// Klarna's test system.
        Playground = "playground",
    }
}

words! {
    /// How an API key goes into the `Authorization` header.
    pub(crate) enum Auth: closed {
        /// `Basic base64(username:key)`, the standard scheme.
        Basic = "basic",
        /// `Basic key`, as Klarna's and Kustom's pages on API keys write it.
        Raw = "raw",
    }
}

/// What authenticates the shop. Wiped from memory when the last copy is dropped; absent from
/// `Debug`, errors and every host but the configured one.
#[derive(Clone, Default)]
pub struct Credentials {
    username: Option<String>,
    secret: Zeroizing<String>,
    raw: bool,
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

    /// The value of the `Authorization` header.
    fn header(&self) -> Result<Zeroizing<String>, Error> {
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
    fn environment(&self) -> Option<Environment> {
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
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where the account lives; `eu` when only the environment is given. Not together with
    /// `base_url`.
    pub region: Option<Region>,
    /// Live or playground. There is no default: one of them moves money.
    pub environment: Option<Environment>,
    /// Another host than Klarna's own, with an optional path prefix:
    /// `https://gateway.example/klarna`. Plain `http` only for a loopback address.
    pub base_url: Option<String>,
    /// Who captures.
    pub credentials: Credentials,
    /// Time to connect: name look-up, every address, TLS. 5 s; at most half of what one
    /// attempt may take, so that an unreachable host is told from a lost answer.
    pub connect_timeout: Duration,
    /// Time for one attempt, from the first name look-up to the last byte. 10 s.
    pub attempt_timeout: Duration,
    /// Time for the whole call with all attempts and pauses. 25 s.
    pub timeout: Duration,
    /// Requests one call may make, 1 to 20. 3.
    pub max_attempts: u32,
    /// The first pause is drawn from 0 to this, each later one from twice as much. 0.5 s.
    pub backoff: Duration,
    /// No pause is drawn from more than this. 8 s.
    pub max_backoff: Duration,
    /// A proxy for HTTPS, such as `http://user:password@proxy.example:3128`. Without it,
    /// `HTTPS_PROXY` and `NO_PROXY` are read as curl reads them. Never used for a loopback
    /// address.
    pub proxy: Option<String>,
    /// A PEM file of certificate authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What your program calls itself, appended to the `User-Agent`: `acme-shop/2.1`.
    pub user_agent_suffix: Option<String>,
    /// What to do about order lines that do not add up: warn by default.
    pub check_lines: CheckLines,
    /// Let values pass that takings does not know, for the line `type` and `shipping_method`
    /// of requests read from JSON or a script's values.
    pub accept_unknown_values: bool,
    /// When a capture with a `reference` ends unclear, look into the order's captures for the
    /// one with this reference and amount, and take it for the answer. Only sound when each
    /// capture of an order has a reference of its own.
    pub reconcile: bool,
    pub(crate) surface: &'static str,
}

const MILLISECONDS: Rule = Rule::Integer { min: 1, max: 86_400_000, unit: "milliseconds" };
const BACKOFF: Rule = Rule::Integer { min: 0, max: 86_400_000, unit: "milliseconds" };
const TEXT: Rule = Rule::Text { min: 1, max: 1024 };

object! {
    /// The settings as scripts and C give them.
    #[derive(Default)]
    pub(crate) struct Settings: "a setting" {
        optional region "region": Region, Region::RULE;
        optional environment "environment": Environment, Environment::RULE;
        optional base_url "base_url": String, TEXT;
        optional username "username": String, Rule::Secret;
        optional password "password": Zeroizing<String>, Rule::Secret;
        optional api_key "api_key": Zeroizing<String>, Rule::Secret;
        optional auth "auth": Auth, Auth::RULE;
        optional connect_timeout_ms "connect_timeout_ms": i64, MILLISECONDS;
        optional attempt_timeout_ms "attempt_timeout_ms": i64, MILLISECONDS;
        optional timeout_ms "timeout_ms": i64, MILLISECONDS;
        optional max_attempts "max_attempts": i64, MAX_ATTEMPTS;
        optional backoff_ms "backoff_ms": i64, BACKOFF;
        optional max_backoff_ms "max_backoff_ms": i64, BACKOFF;
        optional proxy "proxy": String, Rule::Secret;
        optional ca_file "ca_file": String, TEXT;
        optional user_agent_suffix "user_agent_suffix": String, TEXT;
        optional check_lines "check_lines": CheckLines, CheckLines::RULE;
        optional accept_unknown_values "accept_unknown_values": bool, Rule::Bool;
        optional reconcile "reconcile": bool, Rule::Bool;
    }
}

const MAX_ATTEMPTS: Rule = Rule::Integer { min: 1, max: 20, unit: "requests" };
const WHOLE: &str = "the configuration";

/// What [`Config::from_env`] reads.
pub(crate) const VARIABLES: [&str; 6] =
    ["KLARNA_USERNAME", "KLARNA_PASSWORD", "KLARNA_API_KEY", "KLARNA_REGION", "KLARNA_ENVIRONMENT", "KLARNA_BASE_URL"];

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
        Config {
            region: None,
            environment: None,
            base_url: None,
            credentials,
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(10),
            // below the 30 s after which gunicorn kills a worker
            timeout: Duration::from_secs(25),
            max_attempts: 3,
            backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(8),
            proxy: None,
            ca_file: None,
            user_agent_suffix: None,
            check_lines: CheckLines::Warn,
            accept_unknown_values: false,
            reconcile: false,
            surface: "rust",
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
        Config::from_settings(Reader::new(WHOLE, false).json(text, &Settings::RULE)?)
    }

    /// The same from any serde source.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Config::from_json).
    pub fn from_deserializer<'de, D: Deserializer<'de>>(source: D) -> Result<Config, Error> {
        Config::from_settings(Reader::new(WHOLE, false).read(source, &Settings::RULE)?)
    }

    /// Reads `KLARNA_USERNAME` and `KLARNA_PASSWORD` or `KLARNA_API_KEY`, and `KLARNA_REGION`
    /// with `KLARNA_ENVIRONMENT` or `KLARNA_BASE_URL`. An empty variable counts as absent.
    /// Nothing else in takings reads them, but for [`diagnosis`](crate::diagnosis).
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the variable.
    pub fn from_env() -> Result<Config, Error> {
        Config::from_variables(|name| std::env::var_os(name))
    }

    pub(crate) fn from_variables(get: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<Config, Error> {
        let text = |name: &str| match get(name).filter(|value| !value.is_empty()).map(|value| value.into_string()) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(Error::invalid_argument(name, "not UTF-8", "a text")),
        };
        let word = |name: &str, known: &[&str]| match text(name)? {
            Some(value) if !known.contains(&value.as_str()) => {
                Err(Error::invalid_argument(name, &shown_word(&value), &format!("one of {}", known.join(", "))))
            }
            other => Ok(other),
        };
        let region = word("KLARNA_REGION", Region::KNOWN)?;
        let environment = word("KLARNA_ENVIRONMENT", Environment::KNOWN)?;
        Config::from_settings(Settings {
            region: region.as_deref().and_then(Region::from_word),
            environment: environment.as_deref().and_then(Environment::from_word),
            base_url: text("KLARNA_BASE_URL")?,
            username: text("KLARNA_USERNAME")?,
            password: text("KLARNA_PASSWORD")?.map(Zeroizing::new),
            api_key: text("KLARNA_API_KEY")?.map(Zeroizing::new),
            ..Settings::default()
        })
    }

    fn from_settings(mut settings: Settings) -> Result<Config, Error> {
        let (password, api_key) = (settings.password.take(), settings.api_key.take());
        Field::check(&settings, &Reader::new(WHOLE, false).root(), &Settings::RULE)?;
        let credentials = match (password, api_key) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("password and api_key are both given; it must be one of them"));
            }
            (None, None) => {
                return Err(Error::invalid(
                    "credentials are missing; give username and password, or api_key (in the environment: \
                     KLARNA_USERNAME and KLARNA_PASSWORD, or KLARNA_API_KEY)",
                ));
            }
            (Some(_), None) if settings.username.is_none() => {
                return Err(Error::invalid(
                    "username is missing; it belongs to password (in the environment: KLARNA_USERNAME to KLARNA_PASSWORD)",
                ));
            }
            (Some(_), None) if settings.auth == Some(Auth::Raw) => {
                return Err(Error::invalid("auth is raw with a password; it must be basic, or give api_key"));
            }
            (Some(secret), None) => Credentials { username: settings.username, secret, raw: false },
            (None, Some(secret)) => {
                Credentials { username: settings.username, secret, raw: settings.auth == Some(Auth::Raw) }
            }
        };
        let defaults = Config::new(credentials);
        let duration = |milliseconds: Option<i64>, default: Duration| {
            milliseconds.map_or(default, |n| Duration::from_millis(n.unsigned_abs()))
        };
        Ok(Config {
            region: settings.region,
            environment: settings.environment,
            base_url: settings.base_url,
            connect_timeout: duration(settings.connect_timeout_ms, defaults.connect_timeout),
            attempt_timeout: duration(settings.attempt_timeout_ms, defaults.attempt_timeout),
            timeout: duration(settings.timeout_ms, defaults.timeout),
            max_attempts: settings.max_attempts.map_or(defaults.max_attempts, |n| n as u32),
            backoff: duration(settings.backoff_ms, defaults.backoff),
            max_backoff: duration(settings.max_backoff_ms, defaults.max_backoff),
            proxy: settings.proxy,
            ca_file: settings.ca_file.map(PathBuf::from),
            user_agent_suffix: settings.user_agent_suffix,
            check_lines: settings.check_lines.unwrap_or(defaults.check_lines),
            accept_unknown_values: settings.accept_unknown_values.unwrap_or(false),
            reconcile: settings.reconcile.unwrap_or(false),
            ..defaults
        })
    }

    /// For bindings: the name in the `User-Agent`, `takings/VERSION (name)`.
    #[doc(hidden)]
    pub fn surface(mut self, name: &'static str) -> Config {
        self.surface = name;
        self
    }

    /// What every attempt of every call is bound by.
    pub(crate) fn limits(&self) -> Result<Limits, Error> {
        let duration = |name: &str, value: Duration, least: Duration| {
            if value < least || value > Duration::from_secs(86_400) {
                let got = format!("{value:?}");
                return Err(Error::invalid_argument(name, &got, "from a millisecond to a day"));
            }
            Ok(value)
        };
        let shortest = Duration::from_millis(1);
        let total = duration("timeout", self.timeout, shortest)?;
        let attempt = duration("attempt_timeout", self.attempt_timeout, shortest)?.min(total);
        let connect = duration("connect_timeout", self.connect_timeout, shortest)?.min(attempt / 2);
        i64::from(self.max_attempts).check(&Reader::new(WHOLE, false).root().key("max_attempts"), &MAX_ATTEMPTS)?;
        Ok(Limits {
            total,
            attempt,
            connect,
            attempts: self.max_attempts,
            backoff: duration("backoff", self.backoff, Duration::ZERO)?,
            max_backoff: duration("max_backoff", self.max_backoff, Duration::ZERO)?,
        })
    }

    /// Where requests go and what they carry.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Error> {
        let base_url = match (&self.base_url, self.region, self.environment) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                return Err(Error::invalid(
                    "base_url is given together with region or environment; it must be one or the other",
                ));
            }
            (Some(url), None, None) => check_base_url(url)?,
            (None, _, None) => {
                return Err(Error::invalid(
                    "environment is missing; it must be live (captures move money) or playground (Klarna's test \
                     system), or give base_url",
                ));
            }
            (None, region, Some(environment)) => {
                klarna_host(region.unwrap_or(Region::Eu), environment).parse().expect("Klarna's hosts are URLs")
            }
        };
        // a name may end with the dot of the root
        let host = base_url.host_str().unwrap_or_default().trim_end_matches('.');
        let called = if host.contains("playground") {
            Some(Environment::Playground)
        } else if host.ends_with(".klarna.com") || host.ends_with(".kustom.co") {
            Some(Environment::Live)
        } else {
            None
        };
        if let (Some(called), Some(named)) = (called, self.credentials.environment())
            && called != named
        {
            return Err(Error::invalid(format!(
                "the credentials are made for {named}, the configured host is {called}; use the pair that belongs \
                     together"
            )));
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
        let authorization = self.credentials.header()?;
        let mut secrets = vec![self.credentials.secret.clone()];
        if let Some((_, token)) = authorization.split_once(' ') {
            secrets.push(Zeroizing::new(token.to_owned()));
        }
        Ok(Endpoint::new(base_url, authorization, user_agent, secrets))
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("region", &self.region)
            .field("environment", &self.environment)
            .field("base_url", &self.base_url.as_deref().map(|url| if url.contains('@') { "hidden" } else { url }))
            .field("credentials", &self.credentials)
            .field("connect_timeout", &self.connect_timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("timeout", &self.timeout)
            .field("max_attempts", &self.max_attempts)
            .field("backoff", &self.backoff)
            .field("max_backoff", &self.max_backoff)
            // its URL may hold a password
            .field("proxy", &self.proxy.as_ref().map(|_| "hidden"))
            .field("ca_file", &self.ca_file)
            .field("user_agent_suffix", &self.user_agent_suffix)
            .field("check_lines", &self.check_lines)
            .field("accept_unknown_values", &self.accept_unknown_values)
            .field("reconcile", &self.reconcile)
            .finish_non_exhaustive()
    }
}

/// Klarna's hosts (docs.klarna.com, "API URLs"; docs.kustom.co for Kustom).
fn klarna_host(region: Region, environment: Environment) -> &'static str {
    match (region, environment) {
        (Region::Eu, Environment::Live) => "https://api.klarna.com",
        (Region::Eu, Environment::Playground) => "https://api.playground.klarna.com",
        (Region::Na, Environment::Live) => "https://api-na.klarna.com",
        (Region::Na, Environment::Playground) => "https://api-na.playground.klarna.com",
        (Region::Oc, Environment::Live) => "https://api-oc.klarna.com",
        (Region::Oc, Environment::Playground) => "https://api-oc.playground.klarna.com",
        (Region::Kustom, Environment::Live) => "https://api.kustom.co",
        (Region::Kustom, Environment::Playground) => "https://api.playground.kustom.co",
    }
}

fn check_base_url(text: &str) -> Result<Url, Error> {
    const ALLOWED: &str = "an https URL without user, query or fragment, such as https://api.klarna.com \
                           (plain http only for a loopback address)";
    let refuse = |got: &str| Err(Error::invalid_argument("base_url", got, ALLOWED));
    // URL parsers fold these away silently
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return refuse("a text with spaces, control characters or backslashes");
    }
    let Ok(url) = Url::parse(text) else { return refuse("not a URL") };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return refuse("a URL of another kind");
    }
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return refuse("a URL with a user or password in it");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("a URL with a query or fragment");
    }
    if format!("{}/", url.path()).contains("/ordermanagement/v1/") {
        return refuse("a URL with the path of the API in it, which takings adds");
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return refuse("plain http to another host, which would show the credentials to the network");
    }
    Ok(url)
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(config: Config) -> String {
        config.endpoint().err().map(|error| error.message().to_owned()).expect("it should be refused")
    }

    fn pair() -> Credentials {
        Credentials::basic("user", "password")
    }

    #[test]
    fn klarnas_hosts() {
        for (region, environment, host) in [
            (Region::Eu, Environment::Live, "https://api.klarna.com/"),
            (Region::Oc, Environment::Playground, "https://api-oc.playground.klarna.com/"),
            (Region::Kustom, Environment::Live, "https://api.kustom.co/"),
        ] {
            let mut config = Config::live(region, pair());
            config.environment = Some(environment);
            assert_eq!(config.endpoint().unwrap().base_url().as_str(), host);
        }
        let mut config = Config::live(Region::Eu, pair());
        config.environment = None;
        assert!(refusal(config).contains("live"), "the environment has no default");
    }

    #[test]
    fn base_urls() {
        for good in [
            "https://gw.example/klarna",
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://[::1]:1/p/",
            "http://localhost:1",
            "HTTPS://API.klarna.com",
        ] {
            assert!(Config::at(good, pair()).endpoint().is_ok(), "{good}");
        }
        for bad in [
            "",
            "api.klarna.com",
            "ftp://127.0.0.1",
            "http://api.klarna.com",
            "http://127.0.0.1.evil.example",
            "http://localhost.evil.example",
            "https://u:p@api.klarna.com",
            "https://u@api.klarna.com",
            "https://@api.klarna.com",
            "https://api.klarna.com?x=1",
            "https://api.klarna.com/ordermanagement/v1",
            "https://gateway.example/klarna/ordermanagement/v1/",
            "https://api.klarna.com#x",
            "https://api.kl arna.com",
            "https://api.klarna.com\\x",
            "https://api.klarna.com\n",
            "https://",
            "file:///etc/passwd",
        ] {
            assert!(Config::at(bad, pair()).endpoint().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_belongs_to_its_environment() {
        for key in ["klarna_live_api_x", "kco_live_api_x"] {
            assert!(refusal(Config::playground(Region::Eu, Credentials::basic("u", key))).contains("live"));
            assert!(Config::live(Region::Eu, Credentials::basic("u", key)).endpoint().is_ok());
            assert!(Config::at("http://127.0.0.1:1", Credentials::raw_api_key(key)).endpoint().is_ok());
        }
        let test = Credentials::raw_api_key("klarna_test_api_x");
        assert!(refusal(Config::live(Region::Na, test.clone())).contains("playground"));
        assert!(refusal(Config::at("https://api.klarna.com", test.clone())).contains("playground"));
        assert!(refusal(Config::at("https://api.klarna.com.", test)).contains("playground"));
        assert!(
            refusal(Config::at("https://api.klarna.com", Credentials::raw_api_key(" klarna_test_api_x")))
                .contains("playground")
        );
    }

    #[test]
    fn authorization_headers() {
        let header = |credentials: Credentials| credentials.header().map(|header| header.to_string());
        assert_eq!(header(pair()).unwrap(), "Basic dXNlcjpwYXNzd29yZA==");
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
        assert!(with(r#""region": "EU""#).contains("did you mean \"eu\"?"));
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
        assert_eq!(error.message(), "KLARNA_REGION is \"us\"; it must be one of eu, na, oc, kustom");
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
}
