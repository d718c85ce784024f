//! The header against the code: what it says, what the libraries export.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use support::{Run, built, root};

/// The header as the code has it now.
fn generated() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("cbindgen.toml");
    let version = env!("CARGO_PKG_VERSION");
    let numbers: Vec<&str> = version.split(['.', '-', '+']).collect();
    config.after_includes = Some(format!(
        "\n/**\n * The version of this header.\n */\n#define TAKINGS_VERSION \"{version}\"\n\
         #define TAKINGS_VERSION_MAJOR {}\n#define TAKINGS_VERSION_MINOR {}\n#define TAKINGS_VERSION_PATCH {}",
        numbers[0], numbers[1], numbers[2]
    ));
    let mut text = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(folder.join("src/lib.rs"))
        .generate()
        .expect("cbindgen reads ffi-c/src")
        .write(&mut text);
    String::from_utf8(text).expect("the header is text")
}

fn committed() -> String {
    fs::read_to_string(root().join("include/takings.h")).expect("include/takings.h")
}

/// The functions a header declares: names in front of a parenthesis, outside comments.
fn functions(header: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").expect("a comment ends").1;
    }
    code.push_str(rest);
    for (before, _) in code.match_indices('(').map(|(at, _)| code.split_at(at)) {
        let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        if name.starts_with("takings_") {
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn the_committed_header_is_the_code_s() {
    let path = root().join("include/takings.h");
    if std::env::var_os("TAKINGS_BLESS").is_some() {
        fs::write(&path, generated()).expect("include/takings.h can be written");
    }
    assert!(
        committed() == generated(),
        "include/takings.h is not what ffi-c/src makes of it; write it anew with\n    \
         TAKINGS_BLESS=1 cargo test -p takings-c --test header"
    );
}

#[test]
fn it_speaks_of_c() {
    let header = committed();
    for rust in ["Option", "Box<", "# Safety", "# Errors", "&str", "MaybeUninit", "[`", "Result", "crate"] {
        assert!(!header.contains(rust), "{rust:?} leaked into include/takings.h");
    }
}

#[test]
fn every_function_is_exported_and_nothing_else() {
    let listing = Run::new("nm").args(["-D", "--defined-only"]).arg(built().join("libtakings.so")).ok();
    let exported: BTreeSet<String> =
        listing.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect();
    let declared = functions(&committed());
    assert!(declared.len() >= 78, "the header was not understood: {declared:?}");
    assert_eq!(exported, declared);
}

#[test]
fn the_static_library_holds_every_function() {
    let listing = Run::new("nm").args(["--defined-only", "-g"]).arg(built().join("libtakings.a")).ok();
    let defined: BTreeSet<String> = listing
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .filter(|name| name.starts_with("takings_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(defined, functions(&committed()));
}

#[test]
fn the_shared_library_has_its_name_and_stays_loaded() {
    let dynamic = Run::new("readelf").args(["--wide", "--dynamic"]).arg(built().join("libtakings.so")).ok();
    assert!(dynamic.contains("Library soname: [libtakings.so.0]"), "{dynamic}");
    assert!(dynamic.lines().any(|line| line.contains("(FLAGS_1)") && line.contains("NODELETE")), "{dynamic}");
}
