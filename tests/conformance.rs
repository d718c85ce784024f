//! One set of cases (`cases/*.json`), every surface: each case is run through Rust, C, C++,
//! Python and each Lua, against the built artefacts, over real HTTP, with the sandbox as
//! Klarna, or the hostile server before it. The format of a case is described in `README.md`.
//!
//! A surface that has not been built fails. `CASE=name` runs the cases whose file name
//! contains it.

#![allow(clippy::print_stderr, reason = "a test runner")]

mod hostile;
mod properties;
mod transports;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use socket2::{Domain, Socket, Type};
use takings_sandbox::{NewOrder, Options, Received, Sandbox};

use hostile::script::Script;
use hostile::{Hostile, certificates};

#[derive(Clone, Deserialize)]
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
    ledger: Ledger,
    /// How many connections the hostile server has had at the end.
    connections: Option<usize>,
    /// How many requests have reached its proxy.
    #[serde(default)]
    proxied: usize,
    /// A process of its own with these variables; null takes one away.
    #[serde(default)]
    env: BTreeMap<String, Option<String>>,
    /// Files in a folder of their own, `{folder}` in `env`. Nothing may be added to it.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// What a process of its own may have.
    #[serde(default)]
    limits: Limits,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Ledger {
    Entries(Vec<Map<String, Value>>),
    Word(LedgerWord),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LedgerWord {
    /// One entry for each capture that a call told.
    AsTold,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger::Entries(Vec::new())
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    /// File descriptors in all, from the start.
    descriptors: Option<usize>,
    /// File descriptors beside those that are open before the first call.
    descriptors_left: Option<usize>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Server {
    /// A server that follows a script stands before the sandbox.
    hostile: Option<Script>,
    /// The client is given the certificate of another authority.
    other_ca: bool,
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

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    /// Derive a key instead of capturing: the order id and the name.
    derive: Option<(String, String)>,
    /// The key that must come out of `derive`.
    key: Option<String>,
    /// Look for a capture instead of capturing: `reference` and `captured_amount`.
    reconcile: Option<Value>,
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
    /// How many captures of this call reach the server.
    #[serde(default)]
    sent: Sent,
    /// How many looks into the order's captures do.
    #[serde(default)]
    looks: usize,
    wire: Option<Wire>,
    /// The call must take no longer, and no less.
    within_ms: Option<u64>,
    /// A pause before the call, in which the connections are idle.
    #[serde(default)]
    after_ms: u64,
    at_least_ms: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Sent {
    Exactly(usize),
    /// No fewer than the first, no more than the second.
    Between(usize, usize),
}

impl Default for Sent {
    fn default() -> Sent {
        Sent::Exactly(0)
    }
}

impl Sent {
    fn allows(self, count: usize) -> bool {
        match self {
            Sent::Exactly(exactly) => count == exactly,
            Sent::Between(least, most) => (least..=most).contains(&count),
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Outcome {
    Capture(Map<String, Value>),
    Reconciliation(Map<String, Value>),
    Error(Map<String, Value>),
    /// Whichever it is.
    OneOf(Vec<Outcome>),
}

/// The exact bytes: `{key}` is the call's idempotency key, `{user_agent}` the surface's own.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// One way of calling takings: a program that reads calls and writes outcomes, a line each.
struct Surface {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Tab-separated fields instead of JSON, for programs without a JSON library.
    fields: bool,
}

struct Run {
    name: &'static str,
    /// Over an HTTP client that is not ours: judged as `transports.rs` says.
    transport: bool,
    /// The adapter: the program with its arguments, and its variables.
    command: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
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
        "async" => "python",
        lua if lua.starts_with("lua") => "lua",
        other => other,
    };
    format!("takings/{} ({name})", takings::VERSION)
}

impl Run {
    fn new(name: &'static str) -> Run {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let adapter = |file: &str| root().join("tests/adapters").join(file).into_os_string();
        let (command, env) = match name {
            "rust" => (vec![env!("CARGO_BIN_EXE_adapter-rust").into()], vec![]),
            "host" => match std::env::var("ADAPTER") {
                Ok(command) => (vec!["sh".into(), "-c".into(), format!("exec {command}").into()], vec![]),
                Err(_) => (vec![env!("CARGO_BIN_EXE_adapter-rust").into(), "step".into()], vec![]),
            },
            "c" | "cpp" | "curl" => (vec![compiled(name, folder.path()).into_os_string()], vec![]),
            "python" | "async" | "httpx" | "httpx-async" | "requests" => {
                let python = exists(target().join("python/bin/python"), "make build");
                let way = (name != "python").then(|| name.into());
                (vec![python.into_os_string(), adapter("adapter.py")].into_iter().chain(way).collect(), vec![])
            }
            "nginx" => {
                let python = exists(target().join("python/bin/python"), "make build");
                exists(target().join("lua/jit/takings.so"), "lua/build.sh");
                // what it leaves behind when it is ended goes with this folder
                (vec![python.into_os_string(), adapter("nginx.py")], vec![("TMPDIR", folder.path().into())])
            }
            lua => {
                let version = lua.trim_start_matches("lua");
                let modules = target().join("lua").join(version);
                exists(modules.join("takings.so"), "lua/build.sh");
                let interpreter = if version == "jit" { "luajit".to_owned() } else { format!("lua{version}") };
                let paths = vec![
                    ("LUA_CPATH", modules.join("?.so").into_os_string()),
                    ("LUA_PATH", root().join("examples/?.lua").into_os_string()),
                ];
                (vec![interpreter.into(), adapter("adapter.lua")], paths)
            }
        };
        let surface = Surface::start(name, &command, &env, &BTreeMap::new(), Limits::default());
        Run { name, transport: false, command, env, surface, _folder: folder }
    }

    /// Over an HTTP client that is not ours.
    fn over(name: &'static str) -> Run {
        Run { transport: true, ..Run::new(name) }
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
            if self.transport && !transports::concerns(&name, &case) {
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
        let hostile = server.hostile.clone().map(|script| Hostile::start(script, sandbox.url()));
        let hostile = hostile.transpose().map_err(|error| format!("the hostile server does not start: {error}"))?;
        let order_id = case.order.clone().map(|order| sandbox.create_order(order)).unwrap_or_else(|| "unknown".into());

        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = json!({
            "base_url": hostile.as_ref().map_or(sandbox.url(), Hostile::url), "username": "sandbox", "password": password,
            "backoff_ms": 2, "max_backoff_ms": 4, "attempt_timeout_ms": 3000,
        });
        // bound for as long as the case runs, so that nobody else can listen there meanwhile
        let closed = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        if server.closed {
            closed.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
            let port = closed.local_addr().ok().and_then(|address| address.as_socket()).expect("its address").port();
            config["base_url"] = format!("http://127.0.0.1:{port}").into();
        }
        let ca = match &server.hostile {
            _ if server.untrusted => None,
            _ if server.other_ca => Some(certificates::other_ca_pem()),
            Some(script) if script.https => Some(certificates::ca_pem()),
            Some(_) => None,
            None => sandbox.ca_pem(),
        };
        let authorities = tempfile::tempdir().expect("a temporary folder");
        let authority = |name: &str, pem: &str| {
            let path = authorities.path().join(name);
            std::fs::write(&path, pem).expect("a CA file");
            path.to_str().expect("a UTF-8 path").to_owned()
        };
        if let Some(pem) = ca {
            config["ca_file"] = authority("ca.pem", pem).into();
        }
        let (good, other) =
            (authority("good.pem", certificates::ca_pem()), authority("other.pem", certificates::other_ca_pem()));
        // what a case can only know once everything is running
        let fill = |text: &str| {
            let mut text = text
                .replace("{folder}", &folder.path().to_string_lossy())
                .replace("{good_ca}", &good)
                .replace("{other_ca}", &other);
            if let Some(hostile) = &hostile {
                text = text.replace("{port}", &hostile.port().to_string());
                text = text.replace("{proxy}", &hostile.proxy().map(|proxy| proxy.to_string()).unwrap_or_default());
            }
            text
        };
        let config = config.as_object_mut().expect("an object");
        for (name, value) in &case.config {
            match value {
                Value::Null => config.remove(name),
                Value::String(text) => config.insert(name.clone(), fill(text).into()),
                value => config.insert(name.clone(), value.clone()),
            };
        }
        let longest = config.get("timeout_ms").and_then(Value::as_u64).unwrap_or(25_000);

        for (name, text) in &case.files {
            std::fs::write(folder.path().join(name), text).expect("a file of the case");
        }
        let limits = case.limits;
        let is_own = !case.env.is_empty() || limits.descriptors.or(limits.descriptors_left).is_some();
        let mut own = is_own.then(|| {
            let env = case.env.iter().map(|(name, value)| (name.clone(), value.as_deref().map(fill))).collect();
            Surface::start(self.name, &self.command, &self.env, &env, limits)
        });
        if let (Some(left), Some(own)) = (limits.descriptors_left, &mut own) {
            own.leave_descriptors(left)?;
        }

        let mut problems = String::new();
        let mut captured = Vec::new();
        let mut answers = Vec::new();
        let mut seen = 0;
        for (index, call) in case.calls.iter().enumerate() {
            let client = (index == 0 || call.new_client).then_some(&*config);
            std::thread::sleep(Duration::from_millis(call.after_ms));
            let surface = own.as_mut().unwrap_or(&mut self.surface);
            let process = surface.child.id();
            let (began, before) = (Instant::now(), waited_for_processor(process));
            let answer = surface.call(client, call.order_id.as_deref().unwrap_or(&order_id), call)?;
            let took = began.elapsed();
            // The machine runs other tests: what they had the processors for is not the call's.
            let waited = waited_for_processor(process).saturating_sub(before);
            let requests = match &hostile {
                Some(hostile) => hostile.seen().requests.clone(),
                None => sandbox.requests(),
            };
            for problem in self.judge(case, call, &answer, &requests[seen..], (took, waited)) {
                writeln!(problems, "  call {index}: {problem}").expect("a string");
            }
            if let Some(capture) = answer.get("capture") {
                captured.push((capture["idempotency_key"].clone(), capture["capture_id"].clone()));
            }
            answers.push(answer);
            seen = requests.len();
            if took > Duration::from_millis(longest) + SLACK + waited {
                writeln!(problems, "  call {index}: took {took:?} of {longest} ms").expect("a string");
            }
        }

        let ledger: Vec<Value> =
            sandbox.ledger().iter().map(|entry| serde_json::to_value(entry).expect("an entry is JSON")).collect();
        for (told, id) in &captured {
            let entry = ledger.iter().find(|entry| entry["idempotency_key"] == *told);
            if entry.is_some_and(|entry| entry["capture_id"] != *id) {
                writeln!(problems, "  told {id} for {}", json!(entry)).expect("a string");
            }
        }
        let expected: Vec<Map<String, Value>> = match &case.ledger {
            Ledger::Entries(entries) => entries.clone(),
            Ledger::Word(LedgerWord::AsTold) => captured
                .iter()
                .map(|(key, id)| {
                    Map::from_iter([("idempotency_key".into(), key.clone()), ("capture_id".into(), id.clone())])
                })
                .collect(),
        };
        if self.transport && server.hostile.is_some() {
            for problem in transports::judge_ledger(&ledger, &answers) {
                writeln!(problems, "  {problem}").expect("a string");
            }
        } else if ledger.len() != expected.len()
            || !ledger.iter().zip(&expected).all(|(entry, expected)| contains(entry, expected))
        {
            writeln!(problems, "  the ledger is {}, expected {}", json!(ledger), json!(expected)).expect("a string");
        }
        if let Some(hostile) = &hostile {
            for problem in case.judge_network(&hostile.seen(), self.transport) {
                writeln!(problems, "  {problem}").expect("a string");
            }
        }
        let files = std::fs::read_dir(folder.path()).expect("the folder of the case");
        let files: Vec<String> =
            files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
        if files.iter().any(|file| !case.files.contains_key(file)) {
            writeln!(problems, "  left behind: {files:?}").expect("a string");
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn judge(
        &self,
        case: &Case,
        call: &Call,
        answer: &Value,
        requests: &[Received],
        (took, waited): (Duration, Duration),
    ) -> Vec<String> {
        let mut problems = Vec::new();
        // what an HTTP client makes of a hostile server is its own; what is told of it is judged
        let loosely = self.transport && case.server.hostile.is_some();
        if let Some(key) = &call.key
            && answer["key"] != **key
        {
            problems.push(format!("derived {answer}, expected {key}"));
        }
        if let Some(outcome) = &call.outcome {
            problems.extend(match self.transport {
                true => transports::judge(outcome, answer, loosely),
                false => outcome.judge(answer),
            });
        }
        let shown = answer.to_string();
        if shown.contains("c2FuZGJveDpz") || shown.contains("s3cret") {
            problems.push(format!("a credential shows in {shown}"));
        }
        let (looks, requests): (Vec<&Received>, Vec<&Received>) =
            requests.iter().partition(|request| request.method == "GET");
        if looks.len() != call.looks && !loosely {
            problems.push(format!("{} looks into the captures reached the server", looks.len()));
        }
        for look in looks {
            if header(look, "klarna-idempotency-key").is_some() || !look.body.is_empty() {
                problems.push("a look carries a key or a body".into());
            }
        }
        // a server that must not be spoken to gets nothing, whoever speaks
        let forbidden = matches!(call.sent, Sent::Exactly(0)) && !requests.is_empty();
        if !call.sent.allows(requests.len()) && (!loosely || forbidden) {
            problems.push(format!("{} requests reached the server", requests.len()));
        }
        let attempts = answer.pointer("/capture/attempts").or(answer.pointer("/error/attempts"));
        if attempts.and_then(Value::as_u64).is_some_and(|attempts| attempts < requests.len() as u64) {
            problems.push(format!("{} requests reached the server in {attempts:?} attempts", requests.len()));
        }
        let key = |request: &Received| header(request, "klarna-idempotency-key").map(str::to_owned);
        for request in &requests {
            if key(request) != key(requests[0])
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
        if call.within_ms.is_some_and(|limit| took > Duration::from_millis(limit) + waited) && !loosely {
            problems.push(format!("took {took:?}"));
        }
        if call.at_least_ms.is_some_and(|limit| took < Duration::from_millis(limit)) && !loosely {
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
            if self.transport && name.eq_ignore_ascii_case("user-agent") {
                continue;
            }
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

/// What a call may last beyond its time-out on a busy machine.
const SLACK: Duration = Duration::from_millis(1500);

impl Case {
    fn judge_network(&self, seen: &hostile::Seen, transport: bool) -> Vec<String> {
        let mut problems = Vec::new();
        if seen.elsewhere > 0 {
            problems.push(format!("{} connections to where only a redirect leads", seen.elsewhere));
        }
        if seen.proxied.len() != self.proxied {
            problems.push(format!("{} requests reached the proxy, expected {}", seen.proxied.len(), self.proxied));
        }
        for head in &seen.proxied {
            if head.contains("c2FuZGJveDp") || head.to_ascii_lowercase().contains("idempotency") {
                problems.push(format!("the proxy was told {head:?}"));
            }
        }
        if self.connections.is_some_and(|connections| connections != seen.connections) && !transport {
            problems.push(format!("{} connections reached the server", seen.connections));
        }
        problems
    }
}

impl Outcome {
    fn judge(&self, answer: &Value) -> Vec<String> {
        let (kind, fields) = match self {
            Outcome::Capture(fields) => ("capture", fields),
            Outcome::Reconciliation(fields) => ("reconciliation", fields),
            Outcome::Error(fields) => ("error", fields),
            Outcome::OneOf(outcomes) => {
                let problems: Vec<Vec<String>> = outcomes.iter().map(|outcome| outcome.judge(answer)).collect();
                return if problems.iter().any(Vec::is_empty) { Vec::new() } else { problems.concat() };
            }
        };
        let mut problems = Vec::new();
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
    fn start(
        name: &str,
        command: &[OsString],
        usual: &[(&str, OsString)],
        env: &BTreeMap<String, Option<String>>,
        limits: Limits,
    ) -> Surface {
        let mut words = command.iter();
        let mut started = match limits.descriptors {
            None => Command::new(words.next().expect("a program")),
            Some(descriptors) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]);
                shell
            }
        };
        started.args(words).envs(usual.iter().map(|(name, value)| (name, value)));
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
        Surface { child, input, output, fields: matches!(name, "c" | "cpp" | "curl") }
    }

    /// Takes all but a few of the process's free file descriptors away, once it is ready.
    fn leave_descriptors(&mut self, left: usize) -> Result<(), String> {
        let derive = Call { derive: Some(("an order".into(), "a name".into())), ..Call::default() };
        self.call(None, "", &derive)?;
        let process = self.child.id();
        let open: BTreeSet<usize> = std::fs::read_dir(format!("/proc/{process}/fd"))
            .map_err(|error| error.to_string())?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        // the limit is on the numbers, and those that are open need not be the lowest
        let limit = (0..).filter(|number| !open.contains(number)).nth(left).expect("numbers do not end");
        let limited = Command::new("prlimit")
            .args([format!("--pid={process}"), format!("--nofile={limit}")])
            .status()
            .is_ok_and(|status| status.success());
        if limited { Ok(()) } else { Err("prlimit does not work".into()) }
    }

    fn call(&mut self, config: Option<&Map<String, Value>>, order_id: &str, call: &Call) -> Result<Value, String> {
        let mut line =
            if self.fields { fields_line(config, order_id, call) } else { json_line(config, order_id, call) };
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
    let fields = match (&call.derive, &call.reconcile) {
        (Some((order_id, name)), _) => vec!["derive".to_owned(), order_id.clone(), name.clone()],
        (None, Some(wanted)) => vec![
            "reconcile".to_owned(),
            config,
            order_id.to_owned(),
            wanted["reference"].as_str().unwrap_or_default().to_owned(),
            wanted["captured_amount"].to_string(),
        ],
        (None, None) => vec![
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

/// Compiles the adapter of C or C++ against the built library and the header; that of C also over
/// libcurl.
fn compiled(surface: &str, folder: &Path) -> PathBuf {
    exists(built().join("libtakings.so"), "cargo build -p takings-c");
    let adapter = |file: &str| root().join("tests/adapters").join(file);
    let (variable, usual, standard, sources) = match surface {
        "cpp" => ("CXX", "c++", "-std=c++17", vec![adapter("adapter.cpp")]),
        "curl" => {
            let host = root().join("examples/hosts/libcurl");
            ("CC", "cc", "-std=c99", vec![adapter("adapter.c"), host.join("sender.c")])
        }
        _ => ("CC", "cc", "-std=c99", vec![adapter("adapter.c")]),
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
        compiler.args(["-DOVER_CURL", "-lcurl", "-I"]).arg(root().join("examples/hosts/libcurl"));
    }
    let status = compiler.status();
    assert!(
        status.as_ref().is_ok_and(|status| status.success()),
        "the {surface} adapter does not compile: {status:?}; `make setup` installs what it needs"
    );
    program
}

fn cases() -> Vec<(String, Case)> {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let folder = root().join("tests/cases");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("tests/cases").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for path in files {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a readable case");
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (name, value) in expanded(name, value) {
            if name.contains(&wanted) {
                let case = serde_json::from_value(value).unwrap_or_else(|error| panic!("{name}: {error}"));
                cases.push((name, case));
            }
        }
    }
    cases
}

/// A case with `each` is one for every combination of its variants: `"$group"` and
/// `"$group.member"` become the variant's value, inside of a text as well.
fn expanded(name: String, mut case: Value) -> Vec<(String, Value)> {
    let each = case.as_object_mut().and_then(|case| case.remove("each"));
    let Some(Value::Object(each)) = each else { return vec![(name, case)] };
    let mut done = vec![(name, case)];
    for (group, variants) in &each {
        let variants = variants.as_object().unwrap_or_else(|| panic!("each.{group} is no object"));
        let mut next = Vec::new();
        for (name, case) in &done {
            for (variant, value) in variants {
                let mut case = case.clone();
                fill_variant(&mut case, &format!("${group}"), value);
                next.push((format!("{name}: {variant}"), case));
            }
        }
        done = next;
    }
    done
}

fn fill_variant(place: &mut Value, group: &str, variant: &Value) {
    match place {
        Value::Array(items) => items.iter_mut().for_each(|item| fill_variant(item, group, variant)),
        Value::Object(members) => {
            members.values_mut().for_each(|member| fill_variant(member, group, variant));
            // what a variant does not say is not there
            members.retain(|_, member| *member != Value::String(format!("{group} is absent")));
        }
        Value::String(text) if text.starts_with(group) && *text == group => *place = variant.clone(),
        Value::String(text) => {
            if let Some(member) = text.strip_prefix(&format!("{group}."))
                && member.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            {
                let absent = Value::String(format!("{group} is absent"));
                *place = variant.get(member).cloned().unwrap_or(absent);
            } else if let Some(variant) = variant.as_str() {
                *text = text.replace(&format!("{{{group}}}"), variant);
            }
        }
        _ => {}
    }
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
    python_async = "async",
    lua_5_1 = "lua5.1",
    lua_5_2 = "lua5.2",
    lua_5_3 = "lua5.3",
    lua_5_4 = "lua5.4",
    luajit = "luajit",
}

/// What a server can make a process hold while it reads an answer, and afterwards.
const MOST_GROWTH_KB: u64 = 2048;

#[test]
fn a_hostile_answer_takes_little_memory() {
    let script = |text: &str| -> Script { serde_json::from_str(text).expect("a script") };
    let refused = r#"["HTTP/1.1 400 X\r\nContent-Type: application/json\r\n\r\n","#;
    let endless = [
        r#"{"send": "HTTP/1.1 201 X\r\nX: "}, {"flood": {"text": "a"}}"#.to_owned(),
        r#"{"send": "HTTP/1.1 201 X\r\n"}, {"flood": {"text": "X: y\r\n"}}"#.to_owned(),
        r#"{"send": "HTTP/1.1 400 X\r\n\r\n"}, {"flood": {"text": "x"}}"#.to_owned(),
        r#"{"send": "HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"}, {"flood": {"text": "X: y\r\n"}}"#
            .to_owned(),
        format!(r#"{{"send": {refused} {{"repeat": "[", "times": 2000000}}]}}, "close""#),
        format!(
            r#"{{"send": {refused} "{{\"error_messages\":[", {{"repeat": "\"aaaaaaaa\",", "times": 90000}}, "1]}}"]}}, "close""#
        ),
        format!(
            r#"{{"send": {refused} "{{\"error_code\":\"", {{"repeat": "a", "times": 1000000}}, "\"}}"]}}, "close""#
        ),
        format!(r#"{{"send": {refused} "{{\"error_code\":\"", {{"repeat": "a", "times": 260000}}, "\"}}"]}}, "close""#),
        // bytes that are no text
        format!(
            r#"{{"send": {refused} "{{\"error_code\":\"", {{"repeat": "\u00ff", "times": 262000}}, "\"}}"]}}, "close""#
        ),
        format!(
            r#"{{"send": {refused} "{{\"correlation_id\":\"", {{"repeat": "a", "times": 262000}}, "\"}}"]}}, "close""#
        ),
        format!(
            r#"{{"send": {refused} "{{\"error_messages\":[\"", {{"repeat": "\u00ff", "times": 262000}}, "\"]}}"]}}, "close""#
        ),
        format!(
            r#"{{"send": {refused} "{{", {{"repeat": "\"error_message\":[{}1],", "times": 2700}}, "\"x\":1}}"]}}, "close""#,
            r#"\"a\","#.repeat(19)
        ),
        r#"{"send": ["HTTP/1.1 201 X\r\nLocation: ", {"repeat": "/", "times": 300000}, "\r\n\r\n"]}, "close""#
            .to_owned(),
    ];
    for name in ["rust", "c", "python", "lua5.4"] {
        let mut surface = Run::new(name).surface;
        let sandbox = Sandbox::start(Options::default()).expect("a sandbox");
        let mut ask = |script: Script, key: String| {
            let server = Hostile::start(script, sandbox.url()).expect("a server");
            let config = json!({
                "base_url": server.url(), "username": "sandbox", "password": "sandbox", "max_attempts": 1,
                "timeout_ms": 2500, "attempt_timeout_ms": 1000,
            });
            let request = Some(json!({"captured_amount": 1}));
            let call = Call { request, idempotency_key: Some(key), ..Call::default() };
            surface.call(config.as_object(), "an order", &call).expect("an answer");
            surface.child.id()
        };
        // what a process takes once, such as code and a thread's stack, is no growth
        let ordinary = format!(
            r#"{{"others": [{{"read": "request"}}, {{"send": {refused} {{"repeat": "x", "times": 2000}}]}}, "close"]}}"#
        );
        let process = (0..5).map(|n| ask(script(&ordinary), format!("warm-{n}"))).last().expect("a process");
        for (n, steps) in endless.iter().enumerate() {
            let before = memory(process, "VmRSS");
            // sets the peak to the present
            std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("a process of ours");
            ask(script(&format!(r#"{{"others": [{{"read": "request"}}, {steps}]}}"#)), format!("key-{n}"));
            let growth = memory(process, "VmHWM").saturating_sub(before);
            eprintln!("{name}: {growth} KB for {:.80}", steps);
            assert!(growth < MOST_GROWTH_KB, "{name}: {growth} KB for {steps}");
        }
    }
}

fn memory(process: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process");
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).expect("the line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// How long the threads of a process were ready to run while others had the processors.
fn waited_for_processor(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("the process");
    let waited = |task: std::fs::DirEntry| {
        let statistics = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        statistics.split(' ').nth(1)?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(Result::ok).filter_map(waited).sum())
}

#[test]
fn no_call_outlasts_its_time_out() {
    let slow = [
        r#"{"others": ["stall"]}"#,
        r#"{"others": [{"read": "request"}, "stall"]}"#,
        r#"{"others": [{"read": "request"}, {"flood": {"text": "HTTP/1.1 100 X\r\n\r\n", "pause_ms": 5}}]}"#,
        r#"{"others": [{"read": "request"}, {"send": "HTTP/1.1 400 X\r\n\r\n"}, {"flood": {"text": "x", "pause_ms": 5}}]}"#,
        r#"{"others": [{"read": "request"}, {"send": "HTTP/1.1 400 X\r\n\r\n"}, {"flood": {"text": "x"}}]}"#,
        r#"{"others": [{"read": "request"}, {"send": "HTTP/1.1 201 X\r\nX: "}, {"flood": {"text": "x", "pause_ms": 5}}]}"#,
        r#"{"others": [{"read": "request"}, {"send": "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"}, "close"]}"#,
        r#"{"https": true, "others": ["stall"]}"#,
        r#"{"https": true, "others": [{"read": "byte"}, "stall"]}"#,
        r#"{"https": true, "others": [{"handshake": "good"}, "stall"]}"#,
    ];
    // of a look: a list, of which there is enough to read for longer than the call has time, and what is no list
    let slow_lists = [
        r#"{"others": [{"read": "request"},
        {"send": ["HTTP/1.1 200 X\r\n\r\n[", {"repeat": "{\"capture_id\":\"c\\u0031\",\"reference\":\"r\"},", "times": 300000}]},
        "stall"]}"#,
        r#"{"others": [{"read": "request"},
        {"send": ["HTTP/1.1 200 X\r\n\r\n[{\"reference\":\"", {"repeat": "\u00ff", "times": 30000000}]},
        "stall"]}"#,
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certificates::ca_pem()).expect("the CA file");
    let total = Duration::from_millis(400);
    for (name, more) in [("rust", 50), ("c", 50), ("python", 100), ("lua5.4", 100)] {
        let mut surface = Run::new(name).surface;
        let sandbox = Sandbox::start(Options::default()).expect("a sandbox");
        for script in slow.into_iter().chain(slow_lists) {
            // The machine runs other tests: what they had the processors for is not the call's.
            let least = (0..5).map(|attempt| {
                let server =
                    Hostile::start(serde_json::from_str(script).expect("a script"), sandbox.url()).expect("a server");
                let config = json!({
                    "base_url": server.url(), "username": "sandbox", "password": "sandbox", "ca_file": ca_file,
                    "timeout_ms": 400, "max_attempts": 20, "backoff_ms": 50,
                });
                let request = Some(json!({"captured_amount": 1}));
                let call = match slow_lists.contains(&script) {
                    true => {
                        Call { reconcile: Some(json!({"reference": "r", "captured_amount": 1})), ..Call::default() }
                    }
                    false => Call { request, idempotency_key: Some(format!("key-{attempt}")), ..Call::default() },
                };
                let process = surface.child.id();
                let (began, waited) = (Instant::now(), waited_for_processor(process));
                surface.call(config.as_object(), "an order", &call).expect("an answer");
                began.elapsed().saturating_sub(waited_for_processor(process).saturating_sub(waited))
            });
            let bound = total + Duration::from_millis(more);
            let took: Vec<Duration> = least.take_while(|took| *took > bound).collect();
            assert!(took.len() < 5, "{name}: {took:?} of {total:?} for {script}");
        }
    }
}

#[test]
fn there_are_enough_cases() {
    if std::env::var_os("CASE").is_none() {
        assert!(cases().len() >= 60);
    }
}
