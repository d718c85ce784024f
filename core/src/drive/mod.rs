//! The half that does things: clock, sockets, processes.

pub(crate) mod call;
pub(crate) mod http;
mod in_process;
pub(crate) mod log;
pub(crate) mod sending;
pub(crate) mod session;
