//! Failures of the network and of this machine, in words.

use std::error::Error;
use std::io;
use std::iter;

/// An error and its causes, the innermost last.
pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| {
        // `source` passes over the error that an I/O error wraps.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// The innermost cause in words; outer ones only say that something failed.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    match causes(error).skip(1).last() {
        Some(cause) => cause.downcast_ref().map_or_else(|| cause.to_string(), of_system),
        // The text of reqwest's own error would repeat the URL.
        None => "the HTTP client failed".to_owned(),
    }
}

/// An error of the operating system.
pub(super) fn of_system(error: &io::Error) -> String {
    if is_shortage(error) { no_descriptor(error) } else { error.to_string() }
}

/// hyper's words for a connection that its peer closed within an answer or before it. Its type says no more, and reqwest
/// does not show that type.
const CLOSED: [&str; 2] = ["connection closed before message completed", "unexpected end of file"];

/// The reason why an answer did not come, or did not come whole.
pub(super) fn lost(error: &(dyn Error + 'static)) -> String {
    let io = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last().map(io::Error::kind);
    let is_closed = io == Some(io::ErrorKind::UnexpectedEof)
        || causes(error).any(|cause| CLOSED.contains(&cause.to_string().as_str()));
    match io {
        _ if is_closed => "the connection was closed before an answer came".to_owned(),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe) => {
            format!("the connection was broken off before an answer came ({})", innermost(error))
        }
        _ => format!("the answer was lost ({})", innermost(error)),
    }
}

/// A failure of hyper's to make a tunnel through a proxy. Its words do not have the status.
pub(super) fn tunnel(error: &(dyn Error + 'static)) -> Option<&'static str> {
    causes(error).find_map(|cause| match cause.to_string().as_str() {
        "tunnel error: proxy authorization required" => {
            Some("answered 407 to CONNECT: it asks for a user and password, or takes others than those in its URL")
        }
        "tunnel error: unsuccessful" => Some("answered CONNECT with a refusal, or with something that is not HTTP"),
        "tunnel error: proxy response headers too long" => Some("answered CONNECT with a head that does not end"),
        "tunnel error: unexpected end of file" => Some("closed the connection before it answered CONNECT"),
        "tunnel error: io error establishing tunnel" => Some("broke off before it answered CONNECT"),
        _ => None,
    })
}

/// No thread could be started for a purpose.
pub(super) fn no_thread(purpose: &str, error: &io::Error) -> String {
    format!("no thread could be started {purpose} ({error}); the limits of this process or of its container are met")
}

fn no_descriptor(error: &io::Error) -> String {
    format!("no file descriptor was left ({error}); close files or connections, or raise the limit (ulimit -n)")
}

#[cfg(unix)]
fn is_shortage(error: &io::Error) -> bool {
    use nix::errno::Errno;
    [Errno::EMFILE, Errno::ENFILE].iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

#[cfg(not(unix))]
fn is_shortage(_: &io::Error) -> bool {
    false
}

/// A shortage of file descriptors, which libraries report as something else: a name that is not known, a trust store
/// that is empty.
pub(super) fn shortage() -> Option<String> {
    // Those libraries have one file or socket open while they open the next.
    let opened: io::Result<Vec<std::fs::File>> = (0..2).map(|_| std::fs::File::open("/dev/null")).collect();
    opened.err().filter(is_shortage).map(|error| no_descriptor(&error))
}
