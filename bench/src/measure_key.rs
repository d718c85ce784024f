//! `bench-key` prints how many bytes of the process a remembered key takes.

#![forbid(unsafe_code)]

use std::io::Write as _;

use bench::{Failure, halves};

/// As many decided keys as a process remembers: `core/src/decide/memory.rs`.
const KEYS: usize = 10_000;
/// Calls that bring along all that is not for one key.
const FIRST: usize = 100;

/// The bytes of this process that are in memory.
fn resident() -> Result<usize, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the system tells no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<usize>()? * 1024)
}

fn main() -> Result<(), Failure> {
    // Each call makes a key of its own.
    let mut call = halves::call()?;
    (0..FIRST).for_each(|_| call());
    let before = resident()?;
    (FIRST..KEYS).for_each(|_| call());
    let grown = resident()?.saturating_sub(before);
    Ok(writeln!(std::io::stdout(), "{}", grown / (KEYS - FIRST))?)
}
