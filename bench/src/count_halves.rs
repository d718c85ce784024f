//! `bench-halves` prints the names of the pure halves, `bench-halves NAME TIMES` runs one: under callgrind the
//! difference between two runs is the cost of a further run, without the program's start.

#![forbid(unsafe_code)]

use std::io::Write as _;

use bench::{Failure, halves};

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let halves = halves::all()?;
    let Some(wanted) = arguments.next() else {
        let mut out = std::io::stdout();
        return Ok(halves.iter().try_for_each(|(name, _)| writeln!(out, "{name}"))?);
    };
    let times: usize = arguments.next().ok_or("usage: bench-halves [NAME TIMES]")?.parse()?;
    let (_, mut half) = halves.into_iter().find(|(name, _)| *name == wanted).ok_or("there is no such half")?;
    (0..times).for_each(|_| half());
    Ok(())
}
