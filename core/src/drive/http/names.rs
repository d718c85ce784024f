//! Looks up host names.

use std::net::ToSocketAddrs as _;
use std::thread;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

/// Looks each name up in a thread of its own: a look-up can block for half a minute, and cannot be interrupted.
///
/// Where no thread can be started, that is an error. tokio's own blocking threads would panic.
pub(super) struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (sender, found) = oneshot::channel();
        let look_up = move || {
            // The call may have reached its deadline, so that nobody receives.
            let _ = sender.send((name.as_str(), 0).to_socket_addrs());
        };
        let started = thread::Builder::new().name("takings names".into()).spawn(look_up);
        Box::pin(async {
            started.map_err(|error| format!("no thread could be started to look its name up ({error})"))?;
            let addresses: Addrs = Box::new(found.await??);
            Ok(addresses)
        })
    }
}
