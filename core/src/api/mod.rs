//! Klarna in data: operations, requests, replies.

pub(crate) mod lines;
pub(crate) mod request;
