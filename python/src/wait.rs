//! Waiting for the outcome without holding the interpreter, Ctrl-C while waiting, and the hubs of gevent and eventlet.

use std::thread;
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use takings::binding::{News, Sending};
use takings::{Attempt, Error, Reply};

use crate::gate::Inside;
use crate::modules::{self, SENDING, is_loaded};

/// Most calls end before the first look at the signals, and so cost nothing for it.
const FIRST_LOOK: Duration = Duration::from_millis(30);
const NEXT_LOOK: Duration = Duration::from_millis(50);

/// A reason to hold the interpreter again.
enum Woken {
    Look,
    Retry(Attempt),
    Ended(Result<Reply, Error>),
}

/// Waits for such a reason; the last attempt of a call is no reason.
fn wake(sending: &mut Sending, patience: Option<Duration>, attempts: &mut usize) -> Woken {
    loop {
        match sending.wait(patience) {
            News::Nothing => return Woken::Look,
            News::Ended(result) => return Woken::Ended(result),
            News::Attempt(attempt) => {
                *attempts += 1;
                if attempt.wait().is_some() {
                    return Woken::Retry(attempt.clone());
                }
            }
        }
    }
}

/// A call being sent, and how many of its attempts have ended.
pub type Underway = (Sending, usize);

/// Sends a call and waits for its outcome; where it must not block, it goes as far as it can and gives the call back.
/// `retry` is called with each attempt that another follows, and its number.
///
/// Python handles signals in its main thread, and only while that thread runs Python. The main thread therefore breaks
/// off its wait to look for signals. When a handler raises (KeyboardInterrupt), its exception goes on, and another thread
/// waits for the outcome. That thread never runs Python code.
pub fn until(
    py: Python<'_>,
    inside: &Inside,
    abandoned: &Error,
    (mut sending, mut attempts): Underway,
    blocks: bool,
    retry: impl Fn(usize, &Attempt) -> PyResult<()>,
) -> PyResult<Result<Result<Reply, Error>, Underway>> {
    let hub = if blocks { hub(py)? } else { None };
    let mut patience = Some(FIRST_LOOK);
    loop {
        let woken = match &hub {
            #[cfg(unix)]
            Some(hub) => {
                let woken;
                (sending, attempts, woken) = wake_apart(py, inside, (hub, abandoned), sending, attempts, patience)?;
                woken
            }
            _ if blocks => inside.detach(py, || wake(&mut sending, patience, &mut attempts)),
            // The interpreter is held: a step takes less time than to get it back.
            _ => wake(&mut sending, Some(Duration::ZERO), &mut attempts),
        };
        let looked = match woken {
            Woken::Ended(result) => return Ok(Ok(result)),
            Woken::Look if !blocks => return Ok(Err((sending, attempts))),
            Woken::Retry(attempt) => retry(attempts, &attempt),
            Woken::Look => py.check_signals(),
        };
        // the question runs Python, and may so raise an interrupt in the main thread
        let (is_main, raised) = match (in_main_thread(py), looked) {
            // a greenlet's time-out may strike in a handler of the program's log
            (Ok(is_main), looked) => (is_main || hub.is_some(), looked.err()),
            (Err(raised), _) => (true, Some(raised)),
        };
        match raised {
            Some(raised) if is_main => {
                // where no thread can be had, the call is given up
                let _ = on_a_thread(move || to_its_end(sending));
                return Err(raised);
            }
            // the exception is of a handler of the program's log: a Ctrl-C belongs to another thread
            Some(raised) => raised.write_unraisable(py, None),
            None => {}
        }
        patience = is_main.then_some(NEXT_LOOK);
    }
}

/// Waits for an outcome that no caller gets any more.
fn to_its_end(mut sending: Sending) {
    while !matches!(sending.wait(None), News::Ended(_)) {}
}

fn on_a_thread(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name("takings capture".into()).spawn(work).map(drop)
}

/// The wait for a file descriptor, in a process that gevent or eventlet has patched; see `takings._sending`.
fn hub(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    if cfg!(not(unix))
        || !(is_loaded(py, intern!(py, "gevent.monkey"))? || is_loaded(py, intern!(py, "eventlet.patcher"))?)
    {
        return Ok(None);
    }
    let hub = SENDING.get(py)?.call_method0("hub")?;
    Ok((!hub.is_none()).then_some(hub))
}

/// As `wake` does, on a thread of Rust's, while the hub runs the other greenlets of this thread. If the hub raises, such as
/// a time-out of the program's, that thread goes on to the outcome. Where no thread can be had, this thread waits itself.
///
/// The socket is not read from: a forked child has a copy of it, and of the greenlet that waits. There the thread is not,
/// and that greenlet has no news.
#[cfg(unix)]
fn wake_apart(
    py: Python<'_>,
    inside: &Inside,
    (hub, abandoned): (&Bound<'_, PyAny>, &Error),
    mut sending: Sending,
    mut attempts: usize,
    patience: Option<Duration>,
) -> PyResult<(Sending, usize, Woken)> {
    use std::{io::Write as _, os::fd::AsRawFd as _, os::unix::net::UnixStream, sync::mpsc};

    let (job, begin) = mpsc::channel::<(Sending, usize)>();
    let (give, take) = mpsc::channel();
    let work = move |mut wakes: UnixStream| {
        let Ok((mut sending, mut attempts)) = begin.recv() else { return };
        let news = wake(&mut sending, None, &mut attempts);
        if let Err(mpsc::SendError((sending, ..))) = give.send((sending, attempts, news)) {
            to_its_end(sending);
        }
        let _ = wakes.write(&[0]);
    };
    let begun = UnixStream::pair().and_then(|(wakes, woken)| on_a_thread(move || work(wakes)).map(|()| woken));
    let Ok(woken) = begun else {
        let news = inside.detach(py, || wake(&mut sending, patience, &mut attempts));
        return Ok((sending, attempts, news));
    };
    let _ = job.send((sending, attempts));
    if let Err(raised) = crate::gate::apart(py, || hub.call1((woken.as_raw_fd(),))) {
        // The news may be there already. Then the other thread has ended, and a further one goes on.
        if let Ok((sending, ..)) = take.try_recv() {
            let _ = on_a_thread(move || to_its_end(sending));
        }
        return Err(raised);
    }
    take.try_recv().map_err(|_| crate::outcome::exception_of(py, abandoned))
}

/// Whether this thread is the main thread, whose Python code signals interrupt. In a program that has not loaded
/// `threading` every thread is taken for it: looking for signals elsewhere costs a little and finds none.
fn in_main_thread(py: Python<'_>) -> PyResult<bool> {
    let Some(threading) = modules::threading(py)? else { return Ok(true) };
    let main = threading.call_method0(intern!(py, "main_thread"))?.getattr(intern!(py, "ident"))?;
    threading.call_method0(intern!(py, "get_ident"))?.eq(main)
}
