//! Where requests go: Klarna's hosts, and rules for other ones.

use url::Url;

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
    insecure_host: Option<&str>,
    region: Option<Region>,
    environment: Option<Environment>,
) -> Result<Url, Error> {
    match (given, region, environment) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            Err(Error::invalid("base_url is given together with region or environment; it must be one or the other"))
        }
        (Some(url), None, None) => check_base_url(url, insecure_host),
        _ if insecure_host.is_some() => Err(Error::invalid(
            "insecure_http_host is given without base_url; Klarna's own hosts are reached over https alone",
        )),
        (None, _, None) => Err(Error::invalid(
            "environment is missing; it must be live (captures move money) or playground (Klarna's test \
             system), or give base_url",
        )),
        (None, region, Some(environment)) => {
            Ok(klarna_host(region.unwrap_or(Region::Eu), environment).parse().expect("Klarna's hosts are URLs"))
        }
    }
}

/// The company that makes credentials and answers at a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Issuer {
    Klarna,
    Kustom,
}

/// The company and the environment of one of Klarna's or Kustom's hosts; each alone where a host is only called after
/// one.
pub(super) fn origin_of(base_url: &Url) -> (Option<Issuer>, Option<Environment>) {
    // a name may end with the dot of the root
    let host = base_url.host_str().unwrap_or_default().trim_end_matches('.');
    let issuer = if host.ends_with(".klarna.com") {
        Some(Issuer::Klarna)
    } else if host.ends_with(".kustom.co") {
        Some(Issuer::Kustom)
    } else {
        None
    };
    let environment =
        if host.contains("playground") { Some(Environment::Playground) } else { issuer.map(|_| Environment::Live) };
    (issuer, environment)
}

/// Refuses credentials at a host of another company, or of another environment.
pub(super) fn check_origin(
    host: (Option<Issuer>, Option<Environment>),
    credentials: (Issuer, Environment),
) -> Result<(), Error> {
    let refuse = |made: &dyn std::fmt::Display, called: &dyn std::fmt::Display| {
        Err(Error::invalid(format!(
            "the credentials are made for {made}, the configured host is {called}; use the pair that belongs together"
        )))
    };
    match (host, credentials) {
        ((Some(Issuer::Klarna), _), (Issuer::Kustom, _)) => {
            refuse(&"Kustom", &"Klarna's (for Kustom, region is kustom)")
        }
        ((Some(Issuer::Kustom), _), (Issuer::Klarna, _)) => {
            refuse(&"Klarna", &"Kustom's (for Klarna, region is eu, na or oc)")
        }
        ((_, Some(called)), (_, made)) if called != made => refuse(&made, &called),
        _ => Ok(()),
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

/// The host that is asked, and which accounts it has: "api-na.klarna.com (region na, live)".
pub(super) fn in_words(base_url: &Url) -> String {
    let host = base_url.authority();
    let all = [Region::Eu, Region::Na, Region::Oc, Region::Kustom]
        .into_iter()
        .flat_map(|region| [Environment::Live, Environment::Playground].map(|environment| (region, environment)));
    let mut known =
        all.filter(|&(region, environment)| klarna_host(region, environment).ends_with(&format!("//{host}")));
    match known.next() {
        Some((region, environment)) => format!("{host} (region {region}, {environment})"),
        None => format!("{host} (the setting base_url)"),
    }
}

fn check_base_url(text: &str, insecure_host: Option<&str>) -> Result<Url, Error> {
    const ALLOWED: &str = "an https URL without user, query or fragment, such as https://api.klarna.com \
                           (plain http only for a loopback address, or the host that insecure_http_host names)";
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
    if let Some(start) = api_path(url.path()) {
        let mut right = url.clone();
        right.set_path(&url.path()[..start]);
        let right = right.as_str().trim_end_matches('/');
        return Err(Error::invalid_argument(
            "base_url",
            "a URL with the path of an API in it, which takings adds",
            &format!("the URL before that path: {right}"),
        ));
    }
    if url.port() == Some(0) {
        return refuse("a URL with port 0, where nothing listens");
    }
    let is_named =
        insecure_host.is_some_and(|host| url.host_str().is_some_and(|called| called.eq_ignore_ascii_case(host)));
    let may_be_plain = is_loopback(&url) || (is_named && origin_of(&url).0.is_none());
    if url.scheme() == "http" && !may_be_plain {
        return refuse("plain http to another host, which would show the credentials to the network");
    }
    Ok(url)
}

/// Where the path of one of Klarna's APIs begins in the path of a URL.
fn api_path(path: &str) -> Option<usize> {
    const APIS: [&str; 8] = [
        "ordermanagement",
        "checkout",
        "payments",
        "customer-token",
        "settlements",
        "instantshopping",
        "merchantcard",
        "hpp",
    ];
    let mut start = 0;
    let segments: Vec<&str> = path.split('/').collect();
    for (index, segment) in segments.iter().enumerate() {
        let next = segments.get(index + 1).copied().unwrap_or_default();
        let is_version = next.len() > 1 && next.starts_with('v') && next[1..].bytes().all(|b| b.is_ascii_digit());
        let is_api = APIS.iter().any(|api| segment.eq_ignore_ascii_case(api));
        // A gateway's prefix may be called after an API; only this one is never a prefix without a version.
        if is_api && (is_version || segment.eq_ignore_ascii_case(APIS[0])) {
            return Some(start - 1);
        }
        start += segment.len() + 1;
    }
    None
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
    fn a_host_says_whose_accounts_it_has() {
        for (url, words) in [
            ("https://api.klarna.com", "api.klarna.com (region eu, live)"),
            ("https://API-NA.playground.klarna.com/", "api-na.playground.klarna.com (region na, playground)"),
            ("https://api.playground.kustom.co", "api.playground.kustom.co (region kustom, playground)"),
            ("https://gw.example:8443/klarna", "gw.example:8443 (the setting base_url)"),
        ] {
            assert_eq!(in_words(&url.parse().unwrap()), words);
        }
    }

    #[test]
    fn plain_http_goes_to_the_host_that_was_named() {
        let config = |host: &str, url: &str| {
            let mut config = Config::at(url, pair());
            config.insecure_http_host = Some(host.into());
            config
        };
        for url in ["http://sandbox:8181", "http://Sandbox/gw", "https://gw.example", "http://127.0.0.1:1"] {
            assert!(config("sandbox", url).endpoint().is_ok(), "{url}");
        }
        for (host, url) in [
            ("sandbox", "http://sandbox.example"),
            ("sandbox", "http://other"),
            ("api.klarna.com", "http://api.klarna.com"),
            ("api.klarna.com", "http://API.klarna.com."),
            ("api.klarna.com.", "http://api.klarna.com."),
            ("api.kustom.co", "http://api.kustom.co"),
            ("sandbox:8181", "http://sandbox:8181"),
        ] {
            assert!(refusal(config(host, url)).contains("plain http"), "{host} {url}");
        }
        let mut config = Config::playground(Region::Eu, pair());
        config.insecure_http_host = Some("sandbox".into());
        assert!(refusal(config).contains("without base_url"));
    }

    #[test]
    fn base_urls() {
        for good in [
            "https://gw.example/klarna",
            "https://gw.example/payments",
            "https://gw.example/v1/checkout/",
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
            "https://api.klarna.com/ordermanagement",
            "https://api.klarna.com/checkout/v3/orders",
            "https://gw.example/klarna/payments/v1",
            "https://api.klarna.com:0",
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
    fn a_base_url_that_holds_the_path_of_an_api_is_corrected() {
        let message = refusal(Config::at("https://gw.example/klarna/Checkout/v3/orders", pair()));
        assert!(message.ends_with("it must be the URL before that path: https://gw.example/klarna"), "{message}");
    }

    #[test]
    fn a_key_belongs_to_its_issuer_and_environment() {
        for (region, key) in [(Region::Eu, "klarna_live_api_x"), (Region::Kustom, "kco_live_api_x")] {
            assert!(refusal(Config::playground(region, Credentials::basic("u", key))).contains("live"));
            assert!(Config::live(region, Credentials::basic("u", key)).endpoint().is_ok());
            assert!(Config::at("http://127.0.0.1:1", Credentials::raw_api_key(key)).endpoint().is_ok());
        }
        let test = Credentials::raw_api_key("klarna_test_api_x");
        assert!(refusal(Config::live(Region::Na, test.clone())).contains("playground"));
        assert!(refusal(Config::at("https://api.klarna.com", test.clone())).contains("playground"));
        assert!(refusal(Config::at("https://api.klarna.com.", test.clone())).contains("playground"));
        assert!(refusal(Config::playground(Region::Kustom, test)).contains("made for Klarna"));
        let kustom = Credentials::raw_api_key("kco_live_api_x");
        assert!(refusal(Config::live(Region::Eu, kustom)).contains("region is kustom"));
    }
}
