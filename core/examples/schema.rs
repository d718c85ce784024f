//! Prints the description of everything that crosses a language boundary, as JSON: the source of all generated files.
#![allow(clippy::print_stdout, reason = "that is its purpose")]

fn main() {
    println!("{}", takings::binding::schema());
}
