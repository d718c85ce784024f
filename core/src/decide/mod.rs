//! The pure half: every decision, without clock, randomness or I/O.

pub(crate) mod doubt;
pub(crate) mod ending;
pub(crate) mod find;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod plan;
pub(crate) mod retry;
pub(crate) mod settle;
#[cfg(test)]
mod tests;
