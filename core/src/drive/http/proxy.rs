//! Chooses the proxy: the one in the settings, else the one that curl would use for HTTPS.

use std::sync::Arc;

use crate::error::Error;
use crate::settings::config::{Config, is_loopback};
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
    fn of(config: &Config) -> Option<ProxyChoice> {
        if let Some(url) = &config.proxy {
            return Some(ProxyChoice { asked_by: "proxy".to_owned(), url: url.clone(), exceptions: None });
        }
        let (asked_by, url) = variable(["https_proxy", "HTTPS_PROXY"])?;
        Some(ProxyChoice { asked_by, url, exceptions: variable(["no_proxy", "NO_PROXY"]) })
    }
}

/// The first of these environment variables that is set and not empty: its name and its value.
fn variable(names: [&str; 2]) -> Option<(String, String)> {
    names.iter().find_map(|name| {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
        Some((name.to_string(), value))
    })
}

/// The proxy that requests take, and its host and port for people.
pub(super) fn proxy(config: &Config, endpoint: &Endpoint) -> Result<Option<(reqwest::Proxy, Arc<str>)>, Error> {
    if is_loopback(endpoint.base_url()) {
        return Ok(None);
    }
    let Some(ProxyChoice { asked_by, url, exceptions }) = ProxyChoice::of(config) else { return Ok(None) };
    // For curl "*" means every host. For reqwest it leaves out hosts that are written as addresses.
    if exceptions.as_ref().is_some_and(|(_, list)| list.trim() == "*") {
        return Ok(None);
    }
    let with_scheme = if url.contains("://") { url } else { format!("http://{url}") };
    let known_scheme = ["http://", "https://"].iter().any(|scheme| with_scheme.starts_with(scheme));
    let (proxy, shown) = match (reqwest::Proxy::https(&with_scheme), host_and_port(&with_scheme)) {
        (Ok(proxy), Some(shown)) if known_scheme => (proxy, shown),
        // The message repeats neither the value nor reqwest's text: a proxy URL may hold a password.
        _ => {
            return Err(Error::invalid_argument(
                &asked_by,
                "not the URL of a proxy that can be used",
                "like http://proxy.example:3128, with http or https",
            ));
        }
    };
    let proxy = proxy.no_proxy(exceptions.and_then(|(_, list)| reqwest::NoProxy::from_string(&list)));
    Ok(Some((proxy, shown.into())))
}

/// The part of a proxy's URL that may be shown.
fn host_and_port(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// The proxy that a configuration takes, in words.
pub(crate) fn proxy_in_words(config: &Config, endpoint: &Endpoint) -> String {
    match (proxy(config, endpoint), ProxyChoice::of(config)) {
        (Err(error), _) => error.message().to_owned(),
        (Ok(None), Some(ProxyChoice { asked_by, .. })) => {
            format!("none for {}, though {asked_by} is set", endpoint.base_url().host_str().unwrap_or_default())
        }
        (Ok(Some((_, shown))), Some(ProxyChoice { asked_by, exceptions, .. })) => match exceptions {
            Some((variable, list)) => format!("{shown}, by {asked_by}, but for the hosts in {variable}: {list:?}"),
            None => format!("{shown}, by {asked_by}"),
        },
        (Ok(_), None) => "none".to_owned(),
    }
}
