//! Failures of the network and of this machine, in words.

use std::io;

/// An error of the operating system.
pub(super) fn of_system(error: &io::Error) -> String {
    if is_shortage(error) { no_descriptor(error) } else { error.to_string() }
}

/// The reason why an answer did not come, or did not come whole.
pub(super) fn lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection was closed before an answer came".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            format!("the connection was broken off before an answer came ({error})")
        }
        _ => format!("the answer was lost ({})", of_system(error)),
    }
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
