//! The half that does things: clock, sockets, processes.

pub(crate) mod call;
pub(crate) mod http;
