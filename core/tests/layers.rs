//! Arrows run one way: no file of the core imports from a layer above its own.

use std::fs;
use std::path::Path;

/// From the ground up. Within a layer, imports may go either way only below each other's folder.
const LAYERS: [&[&str]; 9] = [
    &["record"],
    &["error"],
    &["wire", "strict"],
    &["minor", "api"],
    &["key", "decide"],
    &["settings"],
    &["drive"],
    &["client", "binding", "fuzzing"],
    &["diagnosis", "lib"],
];

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| panic!("{module} stands in no layer: give it a place in core/tests/layers.rs"))
}

fn look(folder: &Path, top: Option<&str>, climbing: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        let module = top.unwrap_or(name.trim_end_matches(".rs"));
        if path.is_dir() {
            look(&path, Some(module), climbing);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let imports = code.match_indices("crate::").filter(|(at, _)| !code[..*at].ends_with('$'));
            for (at, _) in imports {
                let line = code[..at].rsplit('\n').next().unwrap().trim_start();
                let target: String = code[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let is_module = target.chars().next().is_some_and(char::is_lowercase) && !line.starts_with("//");
                if is_module && name != "tests.rs" && module != "lib" && layer(&target) > layer(module) {
                    climbing.push(format!("{}: crate::{target}", path.display()));
                }
            }
        }
    }
}

#[test]
fn no_import_climbs() {
    let mut climbing = Vec::new();
    look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut climbing);
    assert!(climbing.is_empty(), "imports from a layer above: {climbing:#?}");
}
