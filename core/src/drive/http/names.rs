//! Looks up host names.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::thread;
use std::vec;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

use super::failure;

/// Looks each name up in a thread of its own: a look-up can block for half a minute, and cannot be interrupted.
///
/// Where no thread can be started, that is an error. tokio's own blocking threads would panic.
pub(super) struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (sender, found) = oneshot::channel();
        let look_up = move || {
            // The call may have reached its deadline, so that nobody receives.
            let _ = sender.send(look_up(name.as_str()));
        };
        let started = thread::Builder::new().name("takings names".into()).spawn(look_up);
        Box::pin(async {
            started.map_err(|error| failure::no_thread("to look its name up", &error))?;
            let addresses: Addrs = Box::new(found.await??);
            Ok(addresses)
        })
    }
}

fn look_up(name: &str) -> Result<vec::IntoIter<SocketAddr>, String> {
    (name, 0).to_socket_addrs().map_err(|error| {
        // A system's resolver that cannot open its files says that there is no such name.
        failure::shortage().unwrap_or_else(|| failure::of_system(&error))
    })
}
