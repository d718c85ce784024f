//! The pure half: every decision, without clock, randomness or I/O.

pub(crate) mod machine;
