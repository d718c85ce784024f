//! Klarna in data: operations, requests, replies.

pub(crate) mod arguments;
pub(crate) mod check;
pub(crate) mod documents;
pub(crate) mod ids;
pub(crate) mod lines;
pub(crate) mod operation;
pub(crate) mod operations;
pub(crate) mod options;
pub(crate) mod order_requests;
pub(crate) mod planned_requests;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod state;
pub(crate) mod tree;
