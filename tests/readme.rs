//! Every snippet of the README, and of that of the examples, is run as it stands, against the sandbox: a snippet that does
//! not capture, or does not say so, fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use takings_sandbox::{Fault, NewOrder, Options, Sandbox};

/// The order that the snippets capture.
const ORDER_ID: &str = "f3392f8b-6116-4073-ab96-e330819e2c07";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// The folder in which this test and the libraries were built.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.ancestors().nth(2).expect("target/<profile>/deps/<test>").to_owned()
}

fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect("a page")
}

/// The page with a sample in each language.
const SAMPLES: &str = "examples/README.md";
const README: &str = "README.md";

/// The blocks of one language.
fn snippets(path: &str, language: &str) -> Vec<String> {
    let text = page(path);
    let opening = format!("```{language}\n");
    let blocks = text.match_indices(&opening).map(|(at, _)| {
        let block = &text[at + opening.len()..];
        block[..block.find("```").expect("a closing fence")].to_owned()
    });
    let blocks: Vec<String> = blocks.collect();
    assert!(!blocks.is_empty(), "no {language} snippet");
    blocks
}

/// Runs the only snippet of a language twice: once as usual, once with every answer lost.
fn run(language: &str, file: &str, command: impl Fn(&Path) -> Command) {
    let [snippet] = &snippets(SAMPLES, language)[..] else { panic!("one {language} snippet is expected") };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join(file);
    std::fs::write(&source, snippet).expect("the snippet's file");
    let sandbox = Sandbox::start(Options::default()).expect("the sandbox");
    sandbox.create_order(NewOrder { order_id: Some(ORDER_ID.into()), order_amount: 6000, ..NewOrder::default() });

    for _ in 0..3 {
        sandbox.fault(ORDER_ID, Fault::LostAnswer);
    }
    let mut program = command(&source);
    program
        .env("KLARNA_BASE_URL", sandbox.url())
        .env("KLARNA_USERNAME", "sandbox")
        .env("KLARNA_PASSWORD", "sandbox")
        .env_remove("KLARNA_API_KEY")
        .env_remove("KLARNA_REGION")
        .env_remove("KLARNA_ENVIRONMENT");
    let lost = said(program.output());
    assert!(lost.starts_with("ask again with the same key: "), "{lost}");
    let captured = said(program.output());
    let [capture] = &sandbox.ledger()[..] else { panic!("one capture is expected: {:?}", sandbox.ledger()) };
    assert_eq!(captured.trim_end(), format!("captured as {}", capture.capture_id));
}

fn said(output: std::io::Result<Output>) -> String {
    let output = output.expect("the snippet's program starts; `make build` builds what it needs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Compiles a snippet and gives the command that runs it.
fn compiled(source: &Path, mut compiler: Command) -> Command {
    let program = source.with_extension("program");
    let output = compiler.arg(source).arg("-o").arg(&program).output().expect("a compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Command::new(program)
}

fn c_compiler(variable: &str, usual: &str, standard: &str) -> Command {
    let mut compiler = Command::new(std::env::var(variable).unwrap_or_else(|_| usual.into()));
    compiler
        .args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
        // The library comes before the source, so the linker must not drop it yet.
        .arg("-Wl,--no-as-needed")
        .arg("-I")
        .arg(root().join("include"))
        .arg(built().join("libtakings.so"))
        .arg(format!("-Wl,-rpath,{}", built().display()));
    compiler
}

#[test]
fn rust() {
    run("rust", "snippet.rs", |source| {
        let mut compiler = Command::new("rustc");
        compiler
            .args(["--edition", "2024", "--extern"])
            .arg(format!("takings={}", built().join("libtakings.rlib").display()))
            .arg("-L")
            .arg(built().join("deps"));
        compiled(source, compiler)
    });
}

#[test]
fn c() {
    run("c", "snippet.c", |source| compiled(source, c_compiler("CC", "cc", "-std=c99")));
}

#[test]
fn cpp() {
    run("cpp", "snippet.cpp", |source| compiled(source, c_compiler("CXX", "c++", "-std=c++17")));
}

#[test]
fn python() {
    run("python", "snippet.py", |source| {
        let mut python = Command::new(built().parent().expect("target").join("python/bin/python"));
        python.arg(source);
        python
    });
}

#[test]
fn lua() {
    run("lua", "snippet.lua", |source| {
        let mut lua = Command::new("lua5.4");
        lua.arg(source).env("LUA_CPATH", built().parent().expect("target").join("lua/5.4/?.so"));
        lua
    });
}

#[test]
fn shell() {
    for snippet in snippets(README, "sh") {
        // A person starts and ends the sandbox; the test does so on a free port.
        let start = "takings-sandbox --port 0 >url &\nfor try in $(seq 200); do [ -s url ] && break; sleep 0.05; done\n\
                     port=$(sed 's/.*://' url)\n";
        assert!(snippet.contains("takings-sandbox --port 8181 &\n"), "{snippet}");
        let here = snippet.replace("takings-sandbox --port 8181 &\n", start).replace("8181", "${port}");
        let script = format!("set -e\ntrap 'kill %1' EXIT\n{here}");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = format!("{}:{}", built().display(), std::env::var("PATH").unwrap_or_default());
        let text = said(Command::new("bash").args(["-c", &script]).current_dir(&folder).env("PATH", path).output());
        assert!(text.contains(ORDER_ID), "{text}");
        assert!(text.trim_end().ends_with("[]"), "the ledger of a sandbox that captured nothing: {text}");
    }
}

#[test]
fn no_snippet_is_left_out() {
    for (path, languages) in [(README, &["python", "sh"][..]), (SAMPLES, &["rust", "c", "cpp", "python", "lua"])] {
        let fences = page(path).matches("```").count() / 2;
        let run: usize = languages.iter().map(|language| snippets(path, language).len()).sum();
        assert_eq!(fences, run, "{path}");
    }
}

#[test]
fn the_readme_is_short_and_its_sample_is_the_python_one() {
    assert!(page(README).lines().count() <= 120);
    assert_eq!(snippets(README, "python"), snippets(SAMPLES, "python"));
}
