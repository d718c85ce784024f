//! Chooses the proxy: the one in the settings, else the one that curl would use for HTTPS.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::settings::config::{Config, is_loopback};
use crate::text::strange;
use crate::wire::Endpoint;

/// A proxy that https requests take.
#[derive(Clone)]
pub(super) struct Proxy {
    pub host: Host,
    pub port: u16,
    /// The proxy itself is spoken to in TLS.
    pub is_tls: bool,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Arc<Zeroizing<String>>>,
    shown: Arc<str>,
}

impl Proxy {
    fn of(url: &Url) -> Option<Proxy> {
        let (host, port) = (url.host()?.to_owned(), url.port_or_known_default()?);
        let decoded = |text: &str| Zeroizing::new(percent_decode_str(text).collect::<Vec<u8>>());
        let authorization = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
            let both = Zeroizing::new([&user[..], b":", &password[..]].concat());
            Arc::new(Zeroizing::new(format!("Basic {}", *Zeroizing::new(BASE64_STANDARD.encode(&both[..])))))
        });
        let shown = format!("{host}:{port}").into();
        Some(Proxy { host, port, is_tls: url.scheme() == "https", authorization, shown })
    }

    /// Its host and port for people, without its password.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The request for a tunnel.
    pub fn connect(&self, host: &Host, port: u16) -> Zeroizing<Vec<u8>> {
        let to = format!("{host}:{port}");
        let authorization = self.authorization.as_ref().map_or("", |value| value.as_str());
        let name = if authorization.is_empty() { "" } else { "\r\nProxy-Authorization: " };
        let parts = ["CONNECT ", &to, " HTTP/1.1\r\nHost: ", &to, name, authorization, "\r\n\r\n"];
        Zeroizing::new(parts.map(str::as_bytes).concat())
    }
}

/// Whether a list of hosts that take no proxy has this one, by curl's rules: names with what is below them, addresses
/// and networks.
fn is_excepted(list: &str, host: &Host<&str>) -> bool {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let is_in = |address: IpAddr| {
            entry.parse().is_ok_and(|network: IpNet| network.contains(&address))
                || entry.trim_matches(['[', ']']).parse() == Ok(address)
        };
        match host {
            _ if entry == "*" => true,
            Host::Ipv4(address) => is_in((*address).into()),
            Host::Ipv6(address) => is_in((*address).into()),
            Host::Domain(name) => {
                let (name, entry) = (name.trim_end_matches('.'), entry.trim_start_matches('.').trim_end_matches('.'));
                let above = name.len().checked_sub(entry.len()).and_then(|at| name.split_at_checked(at));
                above.is_some_and(|(below, same)| {
                    same.eq_ignore_ascii_case(entry) && (below.is_empty() || below.ends_with('.'))
                })
            }
        }
    })
}

/// A proxy as somebody asked for it, not yet checked.
struct ProxyChoice {
    /// The setting or the environment variable that asks for it.
    asked_by: String,
    url: String,
    /// The variable with the hosts that take no proxy, and its value.
    exceptions: Option<(String, String)>,
}

impl ProxyChoice {
    fn of(config: &Config) -> Result<Option<ProxyChoice>, Error> {
        if let Some(url) = &config.proxy {
            return Ok(Some(ProxyChoice { asked_by: "proxy".to_owned(), url: url.clone(), exceptions: None }));
        }
        let Some((asked_by, url)) = variable(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])? else {
            return Ok(None);
        };
        Ok(Some(ProxyChoice { asked_by, url, exceptions: variable(&["no_proxy", "NO_PROXY"])? }))
    }

    fn checked(&self) -> Result<Proxy, Error> {
        // No message repeats the value: a proxy's URL may hold a password.
        let refuse = |is: &str| {
            let must = "it must be like http://proxy.example:3128, with http or https";
            Error::invalid(format!("{} {is}; {must}", self.asked_by))
        };
        if let Some(oddity) = strange(&self.url) {
            return Err(refuse(&oddity));
        }
        for (is_odd, end) in [(self.url.starts_with(' '), "begins"), (self.url.ends_with(' '), "ends")] {
            if is_odd {
                return Err(refuse(&format!("{end} with a blank")));
            }
        }
        let url = if self.url.contains("://") { self.url.clone() } else { format!("http://{}", self.url) };
        let no_url = || refuse("is not the URL of a proxy that can be used");
        let url = Url::parse(&url).map_err(|_| no_url())?;
        if url.scheme().starts_with("socks") {
            return Err(refuse(
                "names a SOCKS proxy, which takings does not speak to (a proxy in HTTPS_PROXY goes before ALL_PROXY, and \
                 hosts in NO_PROXY take none)",
            ));
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(no_url());
        }
        for (is_there, part) in [
            (!matches!(url.path(), "" | "/"), "a path"),
            (url.query().is_some(), "a query"),
            (url.fragment().is_some(), "a fragment"),
            (url.port() == Some(0), "port 0"),
        ] {
            if is_there {
                return Err(refuse(&format!(
                    "is a URL with {part}, which a proxy's cannot have (in a password, / ? # @ are written %2F %3F %23 %40)"
                )));
            }
        }
        Proxy::of(&url).ok_or_else(no_url)
    }
}

/// The first of these environment variables that is set and not empty: its name and its value.
fn variable(names: &[&str]) -> Result<Option<(String, String)>, Error> {
    let set = names.iter().find_map(|name| Some((*name, std::env::var_os(name).filter(|value| !value.is_empty())?)));
    set.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name.to_owned(), value)),
        Err(_) => Err(Error::invalid_argument(name, "not UTF-8", "text in UTF-8")),
    })
    .transpose()
}

/// The proxy that requests take.
pub(super) fn proxy(config: &Config, endpoint: &Endpoint) -> Result<Option<Proxy>, Error> {
    if is_loopback(endpoint.base_url()) {
        return Ok(None);
    }
    let Some(choice) = ProxyChoice::of(config)? else { return Ok(None) };
    let url = endpoint.base_url();
    let is_excepted = |host| choice.exceptions.as_ref().is_some_and(|(_, list)| is_excepted(list, &host));
    if url.scheme() != "https" || url.host().is_some_and(is_excepted) {
        return Ok(None);
    }
    choice.checked().map(Some)
}

/// The proxy that a configuration takes, in words.
pub(crate) fn proxy_in_words(config: &Config, endpoint: &Endpoint) -> String {
    match (proxy(config, endpoint), ProxyChoice::of(config)) {
        (Err(error), _) | (_, Err(error)) => error.message().to_owned(),
        (Ok(None), Ok(Some(ProxyChoice { asked_by, .. }))) => {
            format!("none for {}, though {asked_by} is set", endpoint.base_url().host_str().unwrap_or_default())
        }
        (Ok(Some(proxy)), Ok(Some(ProxyChoice { asked_by, exceptions, .. }))) => match exceptions {
            Some((variable, list)) => {
                format!("{}, by {asked_by}, but for the hosts in {variable}: {list:?}", proxy.shown())
            }
            None => format!("{}, by {asked_by}", proxy.shown()),
        },
        (Ok(_), Ok(None)) => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_take_no_proxy() {
        for (list, host, is_in) in [
            ("klarna.com", "api.klarna.com", true),
            (".klarna.com", "api.KLARNA.com", true),
            ("klarna.com", "klarna.com.", true),
            ("api.klarna.com", "klarna.com", false),
            ("larna.com", "klarna.com", false),
            ("x.example, klarna.com ,", "api.klarna.com", true),
            (" * ", "api.klarna.com", true),
            ("", "api.klarna.com", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("1.2.3", "10.1.2.3", false),
            ("[::1]", "[::1]", true),
            ("fd00::/8", "[fd12::1]", true),
            ("fd00::/8", "[fe80::1]", false),
        ] {
            let url: Url = format!("https://{host}/").parse().unwrap();
            assert_eq!(is_excepted(list, &url.host().unwrap()), is_in, "{list:?} {host}");
        }
    }

    #[test]
    fn a_tunnel_is_asked_for_with_the_password_of_the_url() {
        let proxy = |url: &str| Proxy::of(&url.parse().unwrap()).unwrap();
        let asked = |url: &str| {
            let asked = proxy(url).connect(&Host::parse("api.klarna.com").unwrap(), 443);
            String::from_utf8(asked.to_vec()).unwrap()
        };
        let bare = "CONNECT api.klarna.com:443 HTTP/1.1\r\nHost: api.klarna.com:443\r\n\r\n";
        assert_eq!(asked("http://proxy:3128"), bare);
        assert_eq!(
            asked("https://us%40er:p%2Fw@proxy:3128"),
            bare.replace("443\r\n\r\n", "443\r\nProxy-Authorization: Basic dXNAZXI6cC93\r\n\r\n")
        );
        assert_eq!(proxy("https://u:p@proxy").shown(), "proxy:443");
    }
}
