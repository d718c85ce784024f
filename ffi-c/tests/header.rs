//! The header against the code: what it says, what the libraries export, and what of it programs were built on.

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

/// A header without its comments.
fn code(header: &str) -> String {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").expect("a comment ends").1;
    }
    code + rest
}

/// The functions a header declares: names in front of a parenthesis, outside comments.
fn functions(header: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let code = code(header);
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

/// The parts of a header that a compiled program relies on, a line each and in the header's order: the numbers of
/// enums, the members of structs, the functions. Versions are not among them.
fn promises(header: &str) -> Vec<String> {
    let (mut text, mut for_cpp) = (String::new(), false);
    for line in code(header).lines() {
        if line.starts_with('#') {
            for_cpp = line == "#ifdef __cplusplus";
        } else if !for_cpp {
            text.extend([line, " "]);
        }
    }
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut lines, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, found) in text.match_indices(['{', '}', ';']) {
        match found {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 0 => {
                let statement = words(&text[start..at]);
                start = at + 1;
                if let Some((members, name)) =
                    statement.strip_prefix("typedef enum {").and_then(|rest| rest.split_once('}'))
                {
                    let members = members.split(',').map(str::trim).filter(|member| !member.is_empty());
                    lines.extend(members.map(|member| format!("{} {member}", name.trim())));
                } else if statement.contains(['(', '{']) {
                    lines.push(statement);
                }
            }
            _ => {}
        }
    }
    lines
}

fn abi() -> String {
    fs::read_to_string(root().join("ffi-c/abi.txt")).expect("ffi-c/abi.txt")
}

/// The number behind `libtakings.so.`.
fn abi_number() -> String {
    abi().lines().find_map(|line| line.strip_prefix("abi ")).expect("abi.txt says `abi NUMBER`").to_owned()
}

#[test]
fn what_programs_were_built_on_is_still_there() {
    let now = promises(&generated());
    assert!(now.len() >= 50, "the header was not understood: {now:#?}");
    let known: Vec<String> =
        abi().lines().skip_while(|line| !line.starts_with("abi ")).skip(1).map(Into::into).collect();
    let broken: Vec<&String> = known.iter().filter(|line| !now.contains(line)).collect();
    assert!(
        broken.is_empty(),
        "a program that was built on this would break, and the loader would not notice:\n{broken:#?}\nKeep what was, \
         and add the new beside it. If it has to break: raise the number in ffi-c/abi.txt, take these lines out of that \
         file by hand, and type `make bless`."
    );
    let new: Vec<&String> = now.iter().filter(|line| !known.contains(line)).collect();
    if std::env::var_os("TAKINGS_BLESS").is_some() {
        let head = abi()
            .lines()
            .take_while(|line| !line.starts_with("abi "))
            .fold(String::new(), |all, line| all + line + "\n");
        let text = now.iter().fold(format!("{head}abi {}\n", abi_number()), |all, line| all + line + "\n");
        fs::write(root().join("ffi-c/abi.txt"), text).expect("ffi-c/abi.txt can be written");
    } else {
        assert!(new.is_empty(), "once it is released this has to stay; type `make bless` to promise it:\n{new:#?}");
    }
}

#[test]
fn it_speaks_of_c() {
    let header = committed();
    for rust in ["Option<", "Box<", "# Safety", "# Errors", "&str", "MaybeUninit", "[`", "Result", "crate"] {
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
    assert!(dynamic.contains(&format!("Library soname: [libtakings.so.{}]", abi_number())), "{dynamic}");
    assert!(dynamic.lines().any(|line| line.contains("(FLAGS_1)") && line.contains("NODELETE")), "{dynamic}");
}
