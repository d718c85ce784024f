//! Arrows run one way: no file of the core imports from a layer above its own, and no files import each other in a
//! circle.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The layers, the lowest first.
const LAYERS: [&[&str]; 9] = [
    &["record", "text"],
    &["error"],
    &["wire", "strict"],
    &["minor", "api"],
    &["key", "intent", "decide"],
    &["settings"],
    &["drive"],
    &["client", "calls", "binding", "fuzzing"],
    &["diagnosis", "lib"],
];

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| panic!("{module} stands in no layer: give it a place in core/tests/layers.rs"))
}

/// The code of each module by its path, such as `decide::machine`, without its tests.
fn modules(folder: &Path, above: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let stem = name.trim_end_matches(".rs");
        let path = if above.is_empty() { stem.to_owned() } else { format!("{above}::{stem}") };
        if entry.path().is_dir() {
            modules(&entry.path(), &path, found);
        } else if stem != "tests" && stem != "lib" {
            let text = fs::read_to_string(entry.path()).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            found.insert(path.trim_end_matches("::mod").to_owned(), lines.join("\n"));
        }
    }
}

/// The modules that a module names by `crate::` or `super::`, or as its own parts.
fn imports(path: &str, code: &str, all: &BTreeMap<String, String>) -> Vec<String> {
    assert!(!code.contains("crate::{"), "{path}: import each module of the core by itself, which this test can read");
    let parent = path.rsplit_once("::").map_or("", |(parent, _)| parent);
    let named = |word: &str, prefix: String| {
        let word = word.to_owned();
        code.match_indices(&word)
            .filter(|(at, _)| !code[..*at].ends_with('$'))
            .map(|(at, _)| {
                let rest = code[at + word.len()..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
                format!("{prefix}{}", rest.into_iter().next().unwrap())
            })
            .collect::<Vec<_>>()
    };
    let above = if parent.is_empty() { String::new() } else { format!("{parent}::") };
    let mut targets = named("crate::", String::new());
    targets.extend(named("super::", above));
    let parts = all.keys().filter_map(|module| module.strip_prefix(path)?.strip_prefix("::"));
    let is_named = |part: &&str| code.contains(&format!("use {part}::")) || code.contains(&format!(" {part}::"));
    targets.extend(parts.filter(is_named).map(|part| format!("{path}::{part}")));
    let module_of = |target: &String| {
        let mut rest = target.trim_end_matches("::");
        loop {
            if all.contains_key(rest) {
                return Some(rest.to_owned());
            }
            rest = rest.rsplit_once("::")?.0;
        }
    };
    targets.iter().filter_map(module_of).filter(|module| module != path).collect()
}

fn graph() -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut all);
    all.iter().map(|(path, code)| (path.clone(), imports(path, code, &all))).collect()
}

#[test]
fn no_import_climbs() {
    let top = |path: &str| layer(path.split("::").next().unwrap());
    let graph = graph();
    assert!(graph.len() > 30, "the sources were not understood: {graph:?}");
    let arrows = graph.iter().flat_map(|(path, targets)| targets.iter().map(move |target| (path, target)));
    let climbing: Vec<_> = arrows.filter(|(path, target)| top(target) > top(path)).collect();
    assert!(climbing.is_empty(), "imports from a layer above: {climbing:#?}");
}

#[test]
fn no_circle() {
    let mut graph = graph();
    // A module without imports is in no circle; nor is a module that imports only such modules.
    while let Some(leaf) = graph.iter().find(|(_, targets)| targets.is_empty()).map(|(path, _)| path.clone()) {
        graph.remove(&leaf);
        graph.values_mut().for_each(|targets| targets.retain(|target| *target != leaf));
    }
    assert!(graph.is_empty(), "these import each other in a circle, or import one: {graph:#?}");
}
