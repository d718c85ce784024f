//! One set of cases (`cases/*.json`), every surface: each case is run through Rust, C, C++,
//! Python and each Lua, against the built artefacts, over real HTTP, with the sandbox as
//! Klarna. The format of a case is described in `README.md`.
//!
//! A surface that has not been built fails. `CASE=name` runs the cases whose file name
//! contains it.

#![allow(clippy::print_stderr, reason = "a test runner")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use takings::{CaptureRequest, Client, Config};
use takings_sandbox::{NewOrder, Options, Received, Sandbox};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What the case shows, for people.
    what: String,
    /// Which surfaces can express it; all, when absent.
    surfaces: Option<Vec<String>>,
    #[serde(default)]
    server: Server,
    /// Settings beside the usual ones; null takes a usual one away.
    #[serde(default)]
    config: Map<String, Value>,
    /// The order at the sandbox, with its faults.
    order: Option<NewOrder>,
    calls: Vec<Call>,
    /// What the sandbox's ledger must hold at the end, in order: any fields of its entries.
    #[serde(default)]
    ledger: Vec<Map<String, Value>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Server {
    /// Nobody listens.
    closed: bool,
    tls: bool,
    /// The CA is not given to the client.
    untrusted: bool,
    prefix: String,
    api_key: Option<String>,
    html_unauthorized: bool,
    password: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    /// Derive a key instead of capturing: the order id and the name.
    derive: Option<(String, String)>,
    /// The key that must come out of `derive`.
    key: Option<String>,
    /// The order's own id, when absent.
    order_id: Option<String>,
    request: Option<Value>,
    /// Instead of `request`, for what only text can say.
    request_text: Option<String>,
    idempotency_key: Option<String>,
    /// A client of its own instead of the one of the case.
    #[serde(default)]
    new_client: bool,
    outcome: Option<Outcome>,
    /// How many requests of this call reach the server.
    #[serde(default)]
    sent: usize,
    wire: Option<Wire>,
    /// The call must take no longer, and no less.
    within_ms: Option<u64>,
    at_least_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Outcome {
    Capture(Map<String, Value>),
    Error(Map<String, Value>),
}

/// The exact bytes: `{key}` is the call's idempotency key, `{user_agent}` the surface's own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// One way of calling takings.
enum Surface {
    Rust(Option<Client>),
    /// A program that reads calls and writes outcomes, a line each.
    Program {
        child: Child,
        input: ChildStdin,
        output: BufReader<ChildStdout>,
        /// Tab-separated fields instead of JSON, for programs without a JSON library.
        fields: bool,
    },
}

struct Run {
    name: &'static str,
    surface: Surface,
    /// What the adapter was built into; removed with it.
    _folder: tempfile::TempDir,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Where this very test was built, and so the libraries beside it.
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

fn user_agent(surface: &str) -> String {
    let name = match surface {
        "cpp" => "c",
        lua if lua.starts_with("lua") => "lua",
        other => other,
    };
    format!("takings/{} ({name})", takings::VERSION)
}

impl Run {
    fn new(name: &'static str) -> Run {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let surface = match name {
            "rust" => Surface::Rust(None),
            "c" | "cpp" => Surface::program(&mut compiled(name, folder.path()), true),
            "python" => {
                let python = exists(target().join("venv/bin/python"), "make build");
                Surface::program(Command::new(python).arg(root().join("tests/adapters/adapter.py")), false)
            }
            lua => {
                let version = lua.trim_start_matches("lua");
                let modules = target().join("lua").join(version);
                exists(modules.join("takings.so"), "lua/build.sh");
                let interpreter = if version == "jit" { "luajit".to_owned() } else { format!("lua{version}") };
                let mut command = Command::new(interpreter);
                command
                    .arg(root().join("tests/adapters/adapter.lua"))
                    .env("LUA_CPATH", modules.join("?.so"))
                    .env("LUA_PATH", format!("{}/?.lua", root().join("examples").display()));
                Surface::program(&mut command, false)
            }
        };
        Run { name, surface, _folder: folder }
    }

    fn cases(&mut self) {
        let mut failures = String::new();
        let (mut ran, mut left_out) = (0, 0);
        for (name, case) in cases() {
            if case
                .surfaces
                .as_ref()
                .is_some_and(|surfaces| !surfaces.iter().any(|s| self.name.starts_with(s.as_str())))
            {
                left_out += 1;
                continue;
            }
            ran += 1;
            if let Err(why) = self.case(&case) {
                write!(failures, "\n{name} ({}):\n{why}", case.what).expect("a string");
                if why.starts_with("the adapter") {
                    break;
                }
            }
        }
        eprintln!("{}: {ran} cases, {left_out} that it cannot express", self.name);
        assert!(failures.is_empty(), "on {}:{failures}", self.name);
        assert!(ran > 0, "no case was run");
    }

    fn case(&mut self, case: &Case) -> Result<(), String> {
        let server = &case.server;
        let password = server.password.clone().unwrap_or_else(|| "sandbox".into());
        let sandbox = Sandbox::start(Options {
            tls: server.tls,
            prefix: server.prefix.clone(),
            api_key: server.api_key.clone(),
            html_unauthorized: server.html_unauthorized,
            password: password.clone(),
            ..Options::default()
        })
        .map_err(|error| format!("the sandbox does not start: {error}"))?;
        let order_id = case.order.clone().map(|order| sandbox.create_order(order)).unwrap_or_else(|| "unknown".into());

        let mut config = json!({
            "base_url": sandbox.url(), "username": "sandbox", "password": password,
            "backoff_ms": 2, "max_backoff_ms": 4, "attempt_timeout_ms": 3000,
        });
        if server.closed {
            let port =
                TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
            config["base_url"] = format!("http://127.0.0.1:{port}").into();
        }
        let mut ca = tempfile::NamedTempFile::new().expect("a temporary file");
        if let (Some(pem), false) = (sandbox.ca_pem(), server.untrusted) {
            ca.write_all(pem.as_bytes()).and_then(|()| ca.flush()).expect("the CA file");
            config["ca_file"] = ca.path().to_str().expect("a UTF-8 path").into();
        }
        let config = config.as_object_mut().expect("an object");
        for (name, value) in &case.config {
            match value {
                Value::Null => config.remove(name),
                value => config.insert(name.clone(), value.clone()),
            };
        }

        let mut problems = String::new();
        let mut seen = 0;
        for (index, call) in case.calls.iter().enumerate() {
            let client = (index == 0 || call.new_client).then_some(&*config);
            let began = Instant::now();
            let answer = self.surface.call(client, call.order_id.as_deref().unwrap_or(&order_id), call)?;
            let took = began.elapsed();
            let requests = &sandbox.requests()[seen..];
            seen += requests.len();
            for problem in self.judge(call, &answer, requests, took) {
                writeln!(problems, "  call {index}: {problem}").expect("a string");
            }
        }

        let ledger: Vec<Value> =
            sandbox.ledger().iter().map(|entry| serde_json::to_value(entry).expect("an entry is JSON")).collect();
        if ledger.len() != case.ledger.len()
            || !ledger.iter().zip(&case.ledger).all(|(entry, expected)| contains(entry, expected))
        {
            writeln!(problems, "  the ledger is {}, expected {}", json!(ledger), json!(case.ledger)).expect("a string");
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn judge(&self, call: &Call, answer: &Value, requests: &[Received], took: Duration) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(key) = &call.key
            && answer["key"] != **key
        {
            problems.push(format!("derived {answer}, expected {key}"));
        }
        let outcome = match &call.outcome {
            None => None,
            Some(Outcome::Capture(fields)) => Some(("capture", fields)),
            Some(Outcome::Error(fields)) => Some(("error", fields)),
        };
        if let Some((kind, fields)) = outcome {
            let mut fields = fields.clone();
            // texts that the message must hold
            let texts = fields.remove("message");
            let got = &answer[kind];
            if got.is_null() || !contains(got, &fields) {
                problems.push(format!("ended in {answer}, expected {kind} {}", json!(fields)));
            }
            for text in texts.iter().flat_map(|texts| texts.as_array()).flatten().filter_map(Value::as_str) {
                if !got["message"].as_str().unwrap_or_default().contains(text) {
                    problems.push(format!("the message {} lacks {text:?}", got["message"]));
                }
            }
            if kind == "error" {
                problems.extend(shape(got));
            }
        }
        let shown = answer.to_string();
        if shown.contains("c2FuZGJveDpz") || shown.contains("s3cret") {
            problems.push(format!("a credential shows in {shown}"));
        }
        if requests.len() != call.sent {
            problems.push(format!("{} requests reached the server, expected {}", requests.len(), call.sent));
        }
        let key = |request: &Received| header(request, "klarna-idempotency-key").map(str::to_owned);
        for request in requests {
            if key(request) != key(&requests[0])
                || request.body != requests[0].body
                || request.target != requests[0].target
            {
                problems.push("the attempts differ in key, body or target".into());
            }
            let told = answer.pointer("/capture/idempotency_key").or(answer.pointer("/error/idempotency_key"));
            if told.and_then(Value::as_str) != key(request).as_deref() {
                problems.push(format!("sent with key {:?}, told {told:?}", key(request)));
            }
            if let Some(given) = &call.idempotency_key
                && key(request).as_ref() != Some(given)
            {
                problems.push(format!("sent with key {:?}, given {given:?}", key(request)));
            }
            problems.extend(call.wire.iter().flat_map(|wire| self.wire(wire, request)));
        }
        if call.within_ms.is_some_and(|limit| took > Duration::from_millis(limit)) {
            problems.push(format!("took {took:?}"));
        }
        if call.at_least_ms.is_some_and(|limit| took < Duration::from_millis(limit)) {
            problems.push(format!("took only {took:?}"));
        }
        problems
    }

    fn wire(&self, wire: &Wire, request: &Received) -> Vec<String> {
        let mut problems = Vec::new();
        let line = format!("{} {} {}", request.method, request.target, request.version);
        if line != wire.line {
            problems.push(format!("the request line is {line:?}, expected {:?}", wire.line));
        }
        for (name, expected) in &wire.headers {
            let expected = expected
                .replace("{key}", header(request, "klarna-idempotency-key").unwrap_or_default())
                .replace("{user_agent}", &user_agent(self.name));
            let got: Vec<&str> = headers(request, name).collect();
            if got != [expected.as_str()] {
                problems.push(format!("{name} is {got:?}, expected {expected:?}"));
            }
        }
        let body = String::from_utf8_lossy(&request.body);
        if body != wire.body {
            problems.push(format!("the body is\n    {body}\n  expected\n    {}", wire.body));
        }
        problems
    }
}

fn headers<'a>(request: &'a Received, name: &'a str) -> impl Iterator<Item = &'a str> {
    request.headers.iter().filter(move |(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn header<'a>(request: &'a Received, name: &'a str) -> Option<&'a str> {
    headers(request, name).next()
}

/// Whether `got` has every field of `expected`.
fn contains(got: &Value, expected: &Map<String, Value>) -> bool {
    expected.iter().all(|(name, value)| got.get(name) == Some(value))
}

/// What holds for every error.
fn shape(error: &Value) -> Vec<String> {
    const FIELDS: [&str; 10] = [
        "kind",
        "message",
        "http_status",
        "error_code",
        "error_messages",
        "correlation_id",
        "order_id",
        "idempotency_key",
        "attempts",
        "retryable",
    ];
    let mut problems = Vec::new();
    let fields: Vec<&str> = error.as_object().into_iter().flat_map(|error| error.keys().map(String::as_str)).collect();
    for field in FIELDS {
        if !fields.contains(&field) {
            problems.push(format!("the error has no {field}"));
        }
    }
    let message = error["message"].as_str().unwrap_or_default();
    if message.is_empty() || message.chars().any(char::is_control) {
        problems.push(format!("the message is not one line: {message:?}"));
    }
    if error["kind"] == "invalid_input" && error["attempts"] != 0 {
        problems.push("invalid input was sent".into());
    }
    problems
}

impl Surface {
    fn program(command: &mut Command, fields: bool) -> Surface {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
                panic!("{command:?} does not start: {error}; `make setup` installs what it needs")
            });
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Surface::Program { child, input, output, fields }
    }

    fn call(&mut self, config: Option<&Map<String, Value>>, order_id: &str, call: &Call) -> Result<Value, String> {
        match self {
            Surface::Rust(client) => Ok(in_process(client, config, order_id, call)),
            Surface::Program { input, output, fields, child } => {
                let mut line =
                    if *fields { fields_line(config, order_id, call) } else { json_line(config, order_id, call) };
                line.push('\n');
                input
                    .write_all(line.as_bytes())
                    .and_then(|()| input.flush())
                    .map_err(|error| format!("the adapter is gone: {error}"))?;
                let mut answer = String::new();
                output.read_line(&mut answer).map_err(|error| format!("the adapter says nothing: {error}"))?;
                serde_json::from_str(&answer)
                    .map_err(|error| format!("the adapter says {answer:?} ({error}), {:?}", child.try_wait()))
            }
        }
    }
}

impl Drop for Surface {
    fn drop(&mut self) {
        if let Surface::Program { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn json_line(config: Option<&Map<String, Value>>, order_id: &str, call: &Call) -> String {
    let mut line = Map::new();
    if let Some(config) = config {
        line.insert("config".into(), config.clone().into());
    }
    if let Some((order_id, name)) = &call.derive {
        line.insert("derive".into(), json!([order_id, name]));
    } else {
        line.insert("order_id".into(), order_id.into());
        match (&call.request, &call.request_text) {
            (Some(request), _) => line.insert("request".into(), request.clone()),
            (None, text) => line.insert("request_text".into(), text.clone().into()),
        };
        if let Some(key) = &call.idempotency_key {
            line.insert("idempotency_key".into(), key.clone().into());
        }
    }
    Value::from(line).to_string()
}

fn fields_line(config: Option<&Map<String, Value>>, order_id: &str, call: &Call) -> String {
    let config = config.map(|config| Value::from(config.clone()).to_string()).unwrap_or_default();
    let fields = match &call.derive {
        Some((order_id, name)) => vec!["derive".to_owned(), config, order_id.clone(), name.clone()],
        None => vec![
            "capture".to_owned(),
            config,
            order_id.to_owned(),
            call.text(),
            u8::from(call.idempotency_key.is_some()).to_string(),
            call.idempotency_key.clone().unwrap_or_default(),
        ],
    };
    let encoded = fields.iter().map(|field| {
        field.bytes().fold(String::new(), |mut text, byte| {
            match byte {
                b'!'..=b'~' if byte != b'%' => text.push(char::from(byte)),
                _ => write!(text, "%{byte:02X}").expect("a string"),
            }
            text
        })
    });
    encoded.collect::<Vec<_>>().join("\t")
}

impl Call {
    fn text(&self) -> String {
        match (&self.request, &self.request_text) {
            (Some(request), _) => request.to_string(),
            (None, Some(text)) => text.clone(),
            (None, None) => "{}".into(),
        }
    }
}

fn in_process(client: &mut Option<Client>, config: Option<&Map<String, Value>>, order_id: &str, call: &Call) -> Value {
    if let Some((order_id, name)) = &call.derive {
        return match takings::idempotency_key(order_id, name) {
            Ok(key) => json!({"key": key}),
            Err(error) => describe(&error),
        };
    }
    if let Some(config) = config {
        let made = Config::from_json(&Value::from(config.clone()).to_string()).and_then(Client::new);
        match made {
            Ok(made) => *client = Some(made),
            Err(error) => return describe(&error),
        }
    }
    let client = client.as_ref().expect("the first call of a case makes the client");
    let (text, key) = (call.text(), call.idempotency_key.as_deref());
    // the typed way wherever it can be taken
    let result = match CaptureRequest::from_json(&text) {
        Ok(request) => client.capture(order_id, &request, key),
        Err(_) => client.capture_json(order_id, &text, key),
    };
    match result {
        Ok(capture) => json!({"capture": {
            "capture_id": capture.capture_id(),
            "order_id": capture.order_id(),
            "idempotency_key": capture.idempotency_key(),
            "correlation_id": capture.correlation_id(),
            "attempts": capture.attempts(),
            "warnings": capture.warnings(),
        }}),
        Err(error) => describe(&error),
    }
}

fn describe(error: &takings::Error) -> Value {
    json!({"error": {
        "kind": error.kind().as_str(),
        "message": error.message(),
        "http_status": error.http_status(),
        "error_code": error.error_code(),
        "error_messages": error.error_messages(),
        "correlation_id": error.correlation_id(),
        "order_id": error.order_id(),
        "idempotency_key": error.idempotency_key(),
        "attempts": error.attempts(),
        "retryable": error.retryable(),
    }})
}

/// Compiles the adapter of C or C++ against the built library and the header.
fn compiled(language: &str, folder: &Path) -> Command {
    exists(built().join("libtakings.so"), "cargo build -p takings-c");
    let (variable, usual, standard, source) = match language {
        "c" => ("CC", "cc", "-std=c99", "adapter.c"),
        _ => ("CXX", "c++", "-std=c++17", "adapter.cpp"),
    };
    let program = folder.join("adapter");
    let status = Command::new(std::env::var(variable).unwrap_or_else(|_| usual.into()))
        .args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-o"])
        .arg(&program)
        .arg(root().join("tests/adapters").join(source))
        .arg("-I")
        .arg(root().join("include"))
        .arg("-L")
        .arg(built())
        .arg(format!("-Wl,-rpath,{}", built().display()))
        .arg("-ltakings")
        .status();
    assert!(
        status.as_ref().is_ok_and(|status| status.success()),
        "the {language} adapter does not compile: {status:?}"
    );
    Command::new(program)
}

fn cases() -> Vec<(String, Case)> {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let folder = root().join("tests/cases");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("tests/cases").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let named = files.into_iter().map(|path| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a readable case");
        (name.clone(), serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}")))
    });
    named.filter(|(name, _)| name.contains(&wanted)).collect()
}

macro_rules! surfaces {
    ($($test:ident = $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            Run::new($name).cases();
        })*
    };
}

surfaces! {
    rust = "rust",
    c = "c",
    cpp = "cpp",
    python = "python",
    lua_5_1 = "lua5.1",
    lua_5_2 = "lua5.2",
    lua_5_3 = "lua5.3",
    lua_5_4 = "lua5.4",
    luajit = "luajit",
}

#[test]
fn there_are_enough_cases() {
    if std::env::var_os("CASE").is_none() {
        assert!(cases().len() >= 60);
    }
}
