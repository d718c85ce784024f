//! Captures and refunds that survive their process.
//!
//! A shop says *capture this parcel* with one `INSERT` into a table, in its own transaction. A worker sends each row
//! once, through crashes, outages and restored backups, and a person sees the rows that need one.
//!
//! [`policy`] decides and does nothing else.

#![forbid(unsafe_code)]

pub mod policy;
