//! The surfaces, and the small programs through which a case reaches them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::case::{Call, Limits};

/// A process that reads calls and writes outcomes, a line each.
pub struct Surface {
    pub child: Child,
    pub input: ChildStdin,
    pub output: BufReader<ChildStdout>,
    /// Tab-separated fields instead of JSON, for programs without a JSON library.
    pub fields: bool,
}

/// How an adapter is started: the program with its arguments, and its variables.
pub struct Adapter {
    name: &'static str,
    command: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    /// The folder into which the adapter was built; it goes with this value.
    _folder: tempfile::TempDir,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// The folder in which this test and the libraries were built.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.ancestors().nth(2).expect("target/<profile>/deps/<test>").to_owned()
}

fn target() -> PathBuf {
    built().parent().expect("the target folder").to_owned()
}

fn exists(path: PathBuf, made_by: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing; `{made_by}` builds it, `make test` builds everything", path.display());
    path
}

fn source(file: &str) -> PathBuf {
    root().join("tests/adapters").join(file)
}

pub fn user_agent(surface: &str) -> String {
    let name = match surface {
        "cpp" => "c",
        "async" => "python",
        "machine" => "rust",
        lua if lua.starts_with("lua") => "lua",
        other => other,
    };
    format!("takings/{} ({name})", takings::VERSION)
}

impl Adapter {
    /// Finds the adapter of a surface, or compiles it.
    pub fn new(name: &'static str) -> Adapter {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (command, env) = match name {
            "rust" => (vec![env!("CARGO_BIN_EXE_adapter-rust").into()], vec![]),
            "host" => (host(), vec![]),
            "c" | "cpp" | "curl" => (vec![compiled(name, folder.path()).into_os_string()], vec![]),
            "python" | "async" | "httpx" | "httpx-async" | "requests" => (python(name), vec![]),
            // The files that nginx leaves behind when it is ended go with this folder.
            "nginx" => (nginx(), vec![("TMPDIR", folder.path().into())]),
            lua => lua_adapter(lua),
        };
        Adapter { name, command, env, _folder: folder }
    }

    /// Starts it with the variables and limits of a case.
    pub fn start(&self, env: &BTreeMap<String, Option<String>>, limits: Limits) -> Surface {
        let mut words = self.command.iter();
        let mut started = match limits.descriptors {
            None => Command::new(words.next().expect("a program")),
            Some(descriptors) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]);
                shell
            }
        };
        started.args(words).envs(self.env.iter().map(|(name, value)| (name, value)));
        for (name, value) in env {
            match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        let mut child =
            started.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
                panic!("{started:?} does not start: {error}; `make setup` installs what it needs")
            });
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Surface { child, input, output, fields: matches!(self.name, "c" | "cpp" | "curl") }
    }
}

/// The adapter that ADAPTER names, or ours over an HTTP client for Rust.
fn host() -> Vec<OsString> {
    match std::env::var("ADAPTER") {
        Ok(command) => vec!["sh".into(), "-c".into(), format!("exec {command}").into()],
        Err(_) => vec![env!("CARGO_BIN_EXE_adapter-rust").into(), "step".into()],
    }
}

fn python(name: &str) -> Vec<OsString> {
    let python = exists(target().join("python/bin/python"), "make build");
    let way = (name != "python").then(|| name.into());
    [python.into_os_string(), source("adapter.py").into_os_string()].into_iter().chain(way).collect()
}

fn nginx() -> Vec<OsString> {
    let python = exists(target().join("python/bin/python"), "make build");
    exists(target().join("lua/jit/takings.so"), "lua/build.sh");
    vec![python.into_os_string(), source("nginx.py").into_os_string()]
}

fn lua_adapter(name: &str) -> (Vec<OsString>, Vec<(&'static str, OsString)>) {
    let version = name.trim_start_matches("lua");
    let modules = target().join("lua").join(version);
    exists(modules.join("takings.so"), "lua/build.sh");
    let interpreter = if version == "jit" { "luajit".to_owned() } else { format!("lua{version}") };
    let paths = vec![
        ("LUA_CPATH", modules.join("?.so").into_os_string()),
        ("LUA_PATH", root().join("examples/?.lua").into_os_string()),
    ];
    (vec![interpreter.into(), source("adapter.lua").into_os_string()], paths)
}

/// Compiles the adapter of C or C++ against the built library and the header; that of C also over
/// libcurl.
fn compiled(surface: &str, folder: &Path) -> PathBuf {
    exists(built().join("libtakings.so"), "cargo build -p takings-c");
    let host = root().join("examples/hosts/libcurl");
    let (variable, usual, standard, sources) = match surface {
        "cpp" => ("CXX", "c++", "-std=c++17", vec![source("adapter.cpp")]),
        "curl" => ("CC", "cc", "-std=c99", vec![source("adapter.c"), host.join("sender.c")]),
        _ => ("CC", "cc", "-std=c99", vec![source("adapter.c")]),
    };
    let program = folder.join("adapter");
    let mut compiler = Command::new(std::env::var(variable).unwrap_or_else(|_| usual.into()));
    compiler
        .args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-o"])
        .arg(&program)
        .args(&sources)
        .arg("-I")
        .arg(root().join("include"))
        .arg("-L")
        .arg(built())
        .arg(format!("-Wl,-rpath,{}", built().display()))
        .arg("-ltakings");
    if surface == "curl" {
        compiler.args(["-DOVER_CURL", "-lcurl", "-I"]).arg(host);
    }
    let status = compiler.status();
    assert!(
        status.as_ref().is_ok_and(|status| status.success()),
        "the {surface} adapter does not compile: {status:?}; `make setup` installs what it needs"
    );
    program
}

impl Surface {
    /// Takes all but a few of the process's free file descriptors away, once it is ready.
    pub fn leave_descriptors(&mut self, left: usize) -> Result<(), String> {
        let derive = Call { derive: Some(("an order".into(), "a name".into())), ..Call::default() };
        self.call(None, "", &derive)?;
        let process = self.child.id();
        let open: BTreeSet<usize> = std::fs::read_dir(format!("/proc/{process}/fd"))
            .map_err(|error| error.to_string())?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        // The system limits the numbers of descriptors, and open descriptors need not have the lowest.
        let limit = (0..).filter(|number| !open.contains(number)).nth(left).expect("numbers do not end");
        let limited = Command::new("prlimit")
            .args([format!("--pid={process}"), format!("--nofile={limit}")])
            .status()
            .is_ok_and(|status| status.success());
        if limited { Ok(()) } else { Err("prlimit does not work".into()) }
    }

    /// Makes a call and waits for its outcome.
    pub fn call(&mut self, config: Option<&Map<String, Value>>, order_id: &str, call: &Call) -> Result<Value, String> {
        if let Some(options) = &call.options {
            let line = options_line(config, options, self.fields);
            let answer = self.answer(line)?;
            if answer.get("options").is_none() {
                return Ok(answer);
            }
        }
        let config = config.filter(|_| call.options.is_none());
        let line = if self.fields { fields_line(config, order_id, call) } else { json_line(config, order_id, call) };
        self.answer(line)
    }

    fn answer(&mut self, mut line: String) -> Result<Value, String> {
        line.push('\n');
        self.input
            .write_all(line.as_bytes())
            .and_then(|()| self.input.flush())
            .map_err(|error| format!("the adapter is gone: {error}"))?;
        let mut answer = String::new();
        self.output.read_line(&mut answer).map_err(|error| format!("the adapter says nothing: {error}"))?;
        serde_json::from_str(&answer)
            .map_err(|error| format!("the adapter says {answer:?} ({error}), {:?}", self.child.wait()))
    }

    /// How long this thread and those of the process were ready to run while others had the processors.
    pub fn waited_for_processor(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the process");
        let tasks = tasks.filter_map(Result::ok).map(|task| task.path()).chain([PathBuf::from("/proc/thread-self")]);
        let waited = |task: PathBuf| {
            let statistics = std::fs::read_to_string(task.join("schedstat")).ok()?;
            statistics.split(' ').nth(1)?.parse::<u64>().ok()
        };
        Duration::from_nanos(tasks.filter_map(waited).sum())
    }
}

impl Drop for Surface {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn json_line(config: Option<&Map<String, Value>>, order_id: &str, call: &Call) -> String {
    let mut line = Map::new();
    if let Some(config) = config {
        line.insert("config".into(), config.clone().into());
    }
    if let Some((order_id, name)) = &call.derive {
        line.insert("derive".into(), json!([order_id, name]));
    } else if let Some(wanted) = &call.reconcile {
        line.insert("order_id".into(), order_id.into());
        line.insert("reconcile".into(), wanted.clone());
    } else {
        line.insert("order_id".into(), order_id.into());
        line.extend(call.operation.iter().map(|name| ("operation".to_owned(), Value::from(name.as_str()))));
        line.extend(call.check.iter().map(|name| ("check".to_owned(), Value::from(name.as_str()))));
        line.extend(call.intent.iter().map(|of| ("intent".to_owned(), json!(of))));
        match (call.request(), &call.request_text) {
            (Some(request), _) => line.insert("request".into(), request),
            (None, text) => line.insert("request_text".into(), text.clone().into()),
        };
        if let Some(key) = &call.idempotency_key {
            line.insert("idempotency_key".into(), key.clone().into());
        }
    }
    Value::from(line).to_string()
}

/// The line after which the client is the one that `with_options` gives.
fn options_line(config: Option<&Map<String, Value>>, options: &Map<String, Value>, fields: bool) -> String {
    let mut line = Map::from_iter([("options".to_owned(), Value::from(options.clone()))]);
    let options = line["options"].to_string();
    if fields {
        let config = config.map(|config| Value::from(config.clone()).to_string()).unwrap_or_default();
        return ["options", &config, &options].map(percent_encoded).join("\t");
    }
    line.extend(config.map(|config| ("config".to_owned(), config.clone().into())));
    Value::from(line).to_string()
}

fn fields_line(config: Option<&Map<String, Value>>, order_id: &str, call: &Call) -> String {
    let config = config.map(|config| Value::from(config.clone()).to_string()).unwrap_or_default();
    let order = order_id.to_owned();
    if let Some((operation, style)) = &call.intent {
        let fields = ["intent", operation, &order, &call.text(), style];
        return fields.map(percent_encoded).join("\t");
    }
    if let Some(operation) = &call.check {
        return ["check", &config, &order, operation, &call.text()].map(percent_encoded).join("\t");
    }
    let fields = match (&call.derive, &call.reconcile) {
        (Some((order_id, name)), _) => vec!["derive".to_owned(), order_id.clone(), name.clone()],
        (None, Some(wanted)) => vec![
            "reconcile".to_owned(),
            config,
            order,
            wanted["reference"].as_str().unwrap_or_default().to_owned(),
            wanted["captured_amount"].to_string(),
        ],
        (None, None) => vec![
            call.operation.clone().unwrap_or_else(|| "capture".to_owned()),
            config,
            order,
            call.text(),
            u8::from(call.idempotency_key.is_some()).to_string(),
            call.idempotency_key.clone().unwrap_or_default(),
        ],
    };
    fields.iter().map(|field| percent_encoded(field)).collect::<Vec<_>>().join("\t")
}

fn percent_encoded(field: &str) -> String {
    field.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'!'..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => write!(text, "%{byte:02X}").expect("a string"),
        }
        text
    })
}
