//! Runs the cases on a surface: starts the servers of each, makes its calls and judges them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use socket2::{Domain, Socket, Type};
use takings_sandbox::{Options, Received, Sandbox};
use tempfile::TempDir;

use crate::case::{Call, Case, Limits, Named, cases};
use crate::hostile::{Hostile, certificates};
use crate::judge::{Judge, Made};
use crate::surface::{Adapter, Surface};
use crate::transports;

pub struct Run {
    pub name: &'static str,
    /// Whether the surface sends over an HTTP client that is not ours. Then `transports.rs` judges.
    transport: bool,
    adapter: Adapter,
    pub surface: Surface,
}

impl Run {
    pub fn new(name: &'static str) -> Run {
        let adapter = Adapter::new(name);
        let surface = adapter.start(&BTreeMap::new(), Limits::default());
        Run { name, transport: false, adapter, surface }
    }

    /// A run over an HTTP client that is not ours.
    pub fn over(name: &'static str) -> Run {
        Run { transport: true, ..Run::new(name) }
    }

    /// Runs the cases of this surface, and fails with all that went wrong.
    pub fn cases(&mut self) {
        let mut failures = String::new();
        let (mut ran, mut left_out, mut elsewhere) = (0, 0, 0);
        for named in cases() {
            let Named { name, case, .. } = named;
            if !case.can_be_said_in(self.name) {
                left_out += 1;
                continue;
            }
            if self.transport && !transports::concerns(name, case) {
                continue;
            }
            if named.is_hostile() && !named.smoke && !self.has_own_connections() {
                elsewhere += 1;
                continue;
            }
            ran += 1;
            if let Err(why) = self.case(case) {
                write!(failures, "\n{name} ({}):\n{why}", case.what).expect("a string");
                if why.starts_with("the adapter") {
                    break;
                }
            }
        }
        let others = match elsewhere {
            0 => String::new(),
            count => format!(", {count} hostile ones that rust runs over the same connections"),
        };
        eprintln!("{}: {ran} cases, {left_out} that it cannot express{others}", self.name);
        assert!(failures.is_empty(), "on {}:{failures}", self.name);
        assert!(ran + elsewhere > 0, "no case was run");
    }

    /// Whether the surface sends with code of its own. Rust stands for all surfaces that use the core's connections.
    fn has_own_connections(&self) -> bool {
        self.transport || self.name == "rust"
    }

    fn case(&mut self, case: &Case) -> Result<(), String> {
        let stage = Stage::new(case)?;
        let mut own = self.own_surface(&stage)?;
        let surface = own.as_mut().unwrap_or(&mut self.surface);
        let judge = Judge { case, surface: self.name, transport: self.transport, longest: longest(&stage.config) };
        judged(
            &judge,
            |is_new, call, seen| stage.call(surface, is_new, call, seen),
            |answers| {
                let network = stage.hostile.as_ref().map(|hostile| judge.network(&hostile.seen()));
                let ledger = [judge.ledger(&ledger(&stage.sandbox), answers), audit(case, &stage.sandbox)].concat();
                [ledger, network.unwrap_or_default(), stage.left_behind()].concat()
            },
        )
    }

    /// The adapter of a case that needs a process of its own.
    fn own_surface(&self, stage: &Stage<'_>) -> Result<Option<Surface>, String> {
        let case = stage.case;
        if !case.has_own_process() {
            return Ok(None);
        }
        let filled = |value: &Option<String>| value.as_deref().map(|text| stage.fill(text));
        let env = case.env.iter().map(|(name, value)| (name.clone(), filled(value))).collect();
        let mut own = self.adapter.start(&env, case.limits);
        if let Some(left) = case.limits.descriptors_left {
            own.leave_descriptors(left)?;
        }
        Ok(Some(own))
    }
}

/// Makes the calls of a case one after the other, and gives all faults. `make` gets whether the call needs a client of
/// its own, and how many requests the calls before it have sent. `at_the_end` gets the answers.
pub fn judged(
    judge: &Judge<'_>,
    mut make: impl FnMut(bool, &Call, usize) -> Result<Made, String>,
    at_the_end: impl FnOnce(&[Value]) -> Vec<String>,
) -> Result<(), String> {
    let mut problems = String::new();
    let mut answers = Vec::new();
    let mut seen = 0;
    for (index, call) in judge.case.calls.iter().enumerate() {
        let call = call.filled(&answers);
        let made = make(index == 0 || call.new_client, &call, seen)?;
        for problem in judge.call(&call, &made) {
            writeln!(problems, "  call {index}: {problem}").expect("a string");
        }
        seen += made.requests.len();
        answers.push(made.answer);
    }
    for problem in at_the_end(&answers) {
        writeln!(problems, "  {problem}").expect("a string");
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The sandbox as a case wants it.
pub fn options(case: &Case) -> Options {
    let server = &case.server;
    Options {
        tls: server.tls,
        prefix: server.prefix.clone(),
        api_key: server.api_key.clone(),
        json_unauthorized: server.json_unauthorized,
        password: password(case).into(),
        ..Options::default()
    }
}

/// The settings of every case, for a server at this address.
pub fn usual_config(case: &Case, base_url: &str) -> Map<String, Value> {
    let usual = json!({
        "base_url": base_url, "username": "sandbox", "password": password(case), "backoff_ms": 2, "max_backoff_ms": 4,
        "attempt_timeout_ms": 3000,
    });
    usual.as_object().expect("an object").clone()
}

/// The time-out of a call.
pub fn longest(config: &Map<String, Value>) -> Duration {
    Duration::from_millis(config.get("timeout_ms").and_then(Value::as_u64).unwrap_or(25_000))
}

/// The id of the order of a case, which the sandbox then has.
pub fn order(case: &Case, sandbox: &Sandbox) -> String {
    case.order.clone().map(|order| sandbox.create_order(order)).unwrap_or_else(|| "unknown".into())
}

pub fn ledger(sandbox: &Sandbox) -> Vec<Value> {
    sandbox.ledger().iter().map(|entry| serde_json::to_value(entry).expect("an entry is JSON")).collect()
}

/// What the sandbox finds wrong with the money, for a case of other operations than the capture.
pub fn audit(case: &Case, sandbox: &Sandbox) -> Vec<String> {
    let is_of_all = case.calls.iter().any(|call| call.operation.is_some());
    sandbox.audit().iter().filter(|_| is_of_all).map(|finding| format!("the audit found {finding:?}")).collect()
}

/// The servers, files and settings of a case.
struct Stage<'a> {
    case: &'a Case,
    sandbox: Sandbox,
    hostile: Option<Hostile>,
    order_id: String,
    folder: TempDir,
    authorities: Authorities,
    config: Map<String, Value>,
    /// A bound port that nobody else can listen at while the case runs.
    _closed: Option<Socket>,
}

impl Stage<'_> {
    fn new(case: &Case) -> Result<Stage<'_>, String> {
        let server = &case.server;
        let sandbox = Sandbox::start(options(case)).map_err(|error| format!("the sandbox does not start: {error}"))?;
        let hostile = server.hostile.clone().map(|script| Hostile::start(script, sandbox.url()));
        let hostile = hostile.transpose().map_err(|error| format!("the hostile server does not start: {error}"))?;
        let order_id = order(case, &sandbox);
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in &case.files {
            std::fs::write(folder.path().join(name), text).expect("a file of the case");
        }
        let (authorities, config) = (Authorities::new(), Map::new());
        let mut stage = Stage { case, sandbox, hostile, order_id, folder, authorities, config, _closed: None };
        stage.configure();
        Ok(stage)
    }

    /// The usual settings, and then those of the case.
    fn configure(&mut self) {
        let mut config = usual_config(self.case, self.hostile.as_ref().map_or(self.sandbox.url(), Hostile::url));
        if self.case.server.closed {
            let (socket, url) = closed();
            config.insert("base_url".into(), url.into());
            self._closed = Some(socket);
        }
        if let Some(pem) = self.ca() {
            config.insert("ca_file".into(), self.authorities.file("ca.pem", pem).into());
        }
        for (name, value) in &self.case.config {
            match value {
                Value::Null => config.remove(name),
                Value::String(text) => config.insert(name.clone(), self.fill(text).into()),
                value => config.insert(name.clone(), value.clone()),
            };
        }
        self.config = config;
    }

    /// The authority that the client is given.
    fn ca(&self) -> Option<&str> {
        let server = &self.case.server;
        match &server.hostile {
            _ if server.untrusted => None,
            _ if server.other_ca => Some(certificates::other_ca_pem()),
            Some(script) if script.https => Some(certificates::ca_pem()),
            Some(_) => None,
            None => self.sandbox.ca_pem(),
        }
    }

    /// Fills the names in braces of a text of the case, such as ports, once all servers run.
    fn fill(&self, text: &str) -> String {
        let mut text = text
            .replace("{folder}", &self.folder.path().to_string_lossy())
            .replace("{good_ca}", &self.authorities.good)
            .replace("{other_ca}", &self.authorities.other);
        if let Some(hostile) = &self.hostile {
            text = text.replace("{port}", &hostile.port().to_string());
            text = text.replace("{proxy}", &hostile.proxy().map(|proxy| proxy.to_string()).unwrap_or_default());
        }
        text
    }

    /// Makes a call; the server has seen that many requests before.
    fn call(&self, surface: &mut Surface, is_new: bool, call: &Call, seen: usize) -> Result<Made, String> {
        std::thread::sleep(Duration::from_millis(call.after_ms));
        let order_id = call.order_id.as_deref().unwrap_or(&self.order_id);
        let (began, before) = (Instant::now(), surface.waited_for_processor());
        let answer = surface.call(is_new.then_some(&self.config), order_id, call)?;
        let took = began.elapsed();
        // The machine runs other tests. Time in which they had the processors does not count as the call's.
        let waited = surface.waited_for_processor().saturating_sub(before);
        Ok(Made { answer, requests: self.requests().split_off(seen), took, waited })
    }

    /// All requests that have reached the server.
    fn requests(&self) -> Vec<Received> {
        match &self.hostile {
            Some(hostile) => hostile.seen().requests.clone(),
            None => self.sandbox.requests(),
        }
    }

    /// Files in the folder of the case that are not its own.
    fn left_behind(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path()).expect("the folder of the case");
        let files: Vec<String> =
            files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
        match files.iter().all(|file| self.case.files.contains_key(file)) {
            true => Vec::new(),
            false => vec![format!("left behind: {files:?}")],
        }
    }
}

fn password(case: &Case) -> &str {
    case.server.password.as_deref().unwrap_or("sandbox")
}

/// An address where nobody listens, with the socket that keeps others from it.
fn closed() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let port = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("its address").port();
    (socket, format!("http://127.0.0.1:{port}"))
}

/// Files with the certificates of authorities.
struct Authorities {
    folder: TempDir,
    good: String,
    other: String,
}

impl Authorities {
    fn new() -> Authorities {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut authorities = Authorities { folder, good: String::new(), other: String::new() };
        authorities.good = authorities.file("good.pem", certificates::ca_pem());
        authorities.other = authorities.file("other.pem", certificates::other_ca_pem());
        authorities
    }

    /// The path of a file with that certificate.
    fn file(&self, name: &str, pem: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, pem).expect("a CA file");
        path.to_str().expect("a UTF-8 path").to_owned()
    }
}
