//! Where requests go: Klarna's hosts, and rules for other ones.

use reqwest::Url;

use crate::error::Error;
use crate::strict::words;

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

/// The URL that all paths begin with.
pub(super) fn base_url(
    given: Option<&str>,
    region: Option<Region>,
    environment: Option<Environment>,
) -> Result<Url, Error> {
    match (given, region, environment) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            Err(Error::invalid("base_url is given together with region or environment; it must be one or the other"))
        }
        (Some(url), None, None) => check_base_url(url),
        (None, _, None) => Err(Error::invalid(
            "environment is missing; it must be live (captures move money) or playground (Klarna's test \
             system), or give base_url",
        )),
        (None, region, Some(environment)) => {
            Ok(klarna_host(region.unwrap_or(Region::Eu), environment).parse().expect("Klarna's hosts are URLs"))
        }
    }
}

/// The environment of one of Klarna's hosts, or of a host that is called after one.
pub(super) fn environment_of(base_url: &Url) -> Option<Environment> {
    // a name may end with the dot of the root
    let host = base_url.host_str().unwrap_or_default().trim_end_matches('.');
    if host.contains("playground") {
        Some(Environment::Playground)
    } else if host.ends_with(".klarna.com") || host.ends_with(".kustom.co") {
        Some(Environment::Live)
    } else {
        None
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
    use crate::settings::config::{Config, Credentials};

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
}
