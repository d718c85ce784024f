//! Settings: read, checked, and made into where requests go and what bounds them.

pub(crate) mod config;
mod credentials;
mod place;
