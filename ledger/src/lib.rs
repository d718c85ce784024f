//! Captures and refunds that survive their process.
//!
//! A shop says *capture this parcel* with one `INSERT` into a table, in its own transaction. A worker sends each row
//! once, through crashes, outages and restored backups, and a person sees the rows that need one.
//!
//! [`policy`] decides and does nothing else; [`store`] names what an engine does; [`sqlite`] and
//! [`postgres`] are engines. [`worker`] does the work, and [`office`] has what people ask a ledger.

#![forbid(unsafe_code)]

mod due;
pub mod office;
pub mod policy;
pub mod postgres;
pub mod sqlite;
pub mod store;
pub mod worker;
