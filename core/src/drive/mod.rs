//! The half that does things: clock, sockets, processes.

pub(crate) mod call;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod sending;
pub(crate) mod session;
