//! Chooses the proxy: the one in the settings, else the one that curl would use for HTTPS.

use std::sync::Arc;

use reqwest::Url;

use crate::error::Error;
use crate::settings::config::{Config, is_loopback};
use crate::text::strange;
use crate::wire::Endpoint;

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

    /// The proxy, and its host and port for people.
    fn checked(&self) -> Result<(reqwest::Proxy, String), Error> {
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
        let (host, port) = url.host_str().zip(url.port_or_known_default()).ok_or_else(no_url)?;
        let shown = format!("{host}:{port}");
        Ok((reqwest::Proxy::https(url).map_err(|_| no_url())?, shown))
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

/// The proxy that requests take, and its host and port for people.
pub(super) fn proxy(config: &Config, endpoint: &Endpoint) -> Result<Option<(reqwest::Proxy, Arc<str>)>, Error> {
    if is_loopback(endpoint.base_url()) {
        return Ok(None);
    }
    let Some(choice) = ProxyChoice::of(config)? else { return Ok(None) };
    // For curl "*" means every host. For reqwest it leaves out hosts that are written as addresses.
    if choice.exceptions.as_ref().is_some_and(|(_, list)| list.trim() == "*") {
        return Ok(None);
    }
    let (proxy, shown) = choice.checked()?;
    let proxy = proxy.no_proxy(choice.exceptions.and_then(|(_, list)| reqwest::NoProxy::from_string(&list)));
    Ok(Some((proxy, shown.into())))
}

/// The proxy that a configuration takes, in words.
pub(crate) fn proxy_in_words(config: &Config, endpoint: &Endpoint) -> String {
    match (proxy(config, endpoint), ProxyChoice::of(config)) {
        (Err(error), _) | (_, Err(error)) => error.message().to_owned(),
        (Ok(None), Ok(Some(ProxyChoice { asked_by, .. }))) => {
            format!("none for {}, though {asked_by} is set", endpoint.base_url().host_str().unwrap_or_default())
        }
        (Ok(Some((_, shown))), Ok(Some(ProxyChoice { asked_by, exceptions, .. }))) => match exceptions {
            Some((variable, list)) => format!("{shown}, by {asked_by}, but for the hosts in {variable}: {list:?}"),
            None => format!("{shown}, by {asked_by}"),
        },
        (Ok(_), Ok(None)) => "none".to_owned(),
    }
}
