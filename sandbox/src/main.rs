//! `takings-sandbox`: the sandbox as a program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    if takings_sandbox::program(std::env::args_os().skip(1)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
