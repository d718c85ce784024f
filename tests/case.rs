//! The format of a case, as `README.md` describes it, and the way from a file to its cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value};
use takings_sandbox::NewOrder;

use crate::hostile::script::Script;
use crate::surface::root;

/// A case with its name.
pub struct Named {
    /// The folder, the file and the variant of each group: `hostile/answer-cut: one byte: reset`.
    pub name: String,
    /// Whether a hostile case runs on every surface, and not only on those with a transport of their own.
    pub smoke: bool,
    pub case: Case,
}

impl Named {
    pub fn is_hostile(&self) -> bool {
        self.name.starts_with("hostile/")
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Says to people what the case shows.
    pub what: String,
    /// Which surfaces can express it; all, when absent.
    pub surfaces: Option<Vec<String>>,
    /// Against its hostile server, too, a transport ends exactly as the case says.
    #[serde(default)]
    pub strict: bool,
    #[serde(default)]
    pub server: Server,
    /// Settings beside the usual ones; null takes a usual one away.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// The order at the sandbox, with its faults.
    pub order: Option<NewOrder>,
    pub calls: Vec<Call>,
    /// The entries of the sandbox's ledger at the end, in order: any fields of them.
    #[serde(default)]
    pub ledger: Ledger,
    /// How many connections the hostile server has had at the end.
    pub connections: Option<usize>,
    /// How many requests have reached the hostile server's proxy.
    #[serde(default)]
    pub proxied: usize,
    /// Variables of the case's own process; null removes a variable.
    #[serde(default)]
    pub env: BTreeMap<String, Option<String>>,
    /// Files in a folder of their own, `{folder}` in `env`. Nothing may be added to it.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// The limits of the case's own process.
    #[serde(default)]
    pub limits: Limits,
}

impl Case {
    /// Whether the case needs an adapter of its own instead of the one that serves all cases.
    pub fn has_own_process(&self) -> bool {
        !self.env.is_empty() || self.limits.descriptors.or(self.limits.descriptors_left).is_some()
    }

    /// Whether a surface can express the case.
    pub fn can_be_said_in(&self, surface: &str) -> bool {
        self.surfaces.as_ref().is_none_or(|surfaces| surfaces.iter().any(|name| surface.starts_with(name.as_str())))
    }
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum Ledger {
    Entries(Vec<Map<String, Value>>),
    Word(LedgerWord),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerWord {
    /// An entry for each capture that a call reported.
    AsTold,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger::Entries(Vec::new())
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// File descriptors in all, from the start.
    pub descriptors: Option<usize>,
    /// File descriptors beside those that are open before the first call.
    pub descriptors_left: Option<usize>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// A server that follows a script stands before the sandbox.
    pub hostile: Option<Script>,
    /// The client is given the certificate of another authority.
    pub other_ca: bool,
    /// Nobody listens.
    pub closed: bool,
    pub tls: bool,
    /// The CA is not given to the client.
    pub untrusted: bool,
    pub prefix: String,
    pub api_key: Option<String>,
    pub json_unauthorized: bool,
    pub password: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Derive a key instead of capturing: the order id and the name.
    pub derive: Option<(String, String)>,
    /// The key that must come out of `derive`.
    pub key: Option<String>,
    /// Another operation than the capture, by its name. It ends in a `reply`.
    pub operation: Option<String>,
    /// Look at a `capture` or a `refund` before it is made, on the order as it is read for this. It ends in a `check`.
    pub check: Option<String>,
    /// Make the row of a `capture` or a `refund` for a ledger, with an INSERT of this style. It ends in an `intent`.
    pub intent: Option<(String, String)>,
    /// Look up a capture instead of capturing: `reference` and `captured_amount`.
    pub reconcile: Option<Value>,
    /// The order's own id, when absent.
    pub order_id: Option<String>,
    pub request: Option<Value>,
    /// Instead of `request`, for texts that no JSON value can stand for.
    pub request_text: Option<String>,
    /// Joins the request, when that is an object.
    pub first_use: Option<bool>,
    /// How many seconds before the call the request's `first_used` lies.
    pub first_used_s_ago: Option<f64>,
    pub idempotency_key: Option<String>,
    /// The limits of the client from this call on (`with_options`).
    pub options: Option<Map<String, Value>>,
    /// A client of its own instead of that of the case.
    #[serde(default)]
    pub new_client: bool,
    pub outcome: Option<Outcome>,
    /// How many captures of this call reach the server.
    #[serde(default)]
    pub sent: Sent,
    /// How many look-ups of the order's captures reach the server.
    #[serde(default)]
    pub looks: usize,
    pub wire: Option<Wire>,
    /// The call must take no longer, and no less.
    pub within_ms: Option<u64>,
    /// A pause before the call, in which the connections are idle.
    #[serde(default)]
    pub after_ms: u64,
    pub at_least_ms: Option<u64>,
}

impl Call {
    /// Whether several writes may follow each other in it.
    pub fn is_made_of_several(&self) -> bool {
        const SEVERAL: [&str; 5] =
            ["capture_remaining", "refund_remaining", "refund_capture", "cancel_or_release", "extend_if_needed"];
        self.operation.as_deref().is_some_and(|operation| SEVERAL.contains(&operation))
    }

    /// The request as the adapter gets it, with the members that only the runner can fill in.
    pub fn request(&self) -> Option<Value> {
        let mut request = self.request.clone()?;
        if let Some(members) = request.as_object_mut() {
            if let Some(first_use) = self.first_use {
                members.insert("first_use".into(), first_use.into());
            }
            if let Some(ago) = self.first_used_s_ago {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs_f64();
                members.insert("first_used".into(), ((now - ago).floor() as i64).into());
            }
        }
        Some(request)
    }

    /// The call with the ids that earlier calls were answered with: `{capture_id}` and `{refund_id}`.
    pub fn filled(&self, answers: &[Value]) -> Call {
        let mut call = self.clone();
        for name in ["capture_id", "refund_id"] {
            let id = answers.iter().rev().find_map(|answer| answer.as_object()?.values().next()?.get(name)?.as_str());
            let Some(id) = id else { continue };
            let fill = |text: &mut String| *text = text.replace(&format!("{{{name}}}"), id);
            call.request.iter_mut().for_each(|request| each_text(request, &fill));
            if let Some(wire) = &mut call.wire {
                fill(&mut wire.line);
            }
        }
        call
    }

    /// Whether it has a time of its own.
    pub fn has_deadline(&self) -> bool {
        let timeout = |of: &Map<String, Value>| of.contains_key("timeout_ms");
        self.options.as_ref().is_some_and(timeout)
            || self.request.as_ref().and_then(Value::as_object).is_some_and(timeout)
    }

    /// The text of the request, for adapters without a JSON library.
    pub fn text(&self) -> String {
        match (self.request(), &self.request_text) {
            (Some(request), _) => request.to_string(),
            (None, Some(text)) => text.clone(),
            (None, None) => "{}".into(),
        }
    }
}

fn each_text(value: &mut Value, change: &impl Fn(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(members) => members.values_mut().for_each(|member| each_text(member, change)),
        _ => {}
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum Sent {
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
    pub fn allows(self, count: usize) -> bool {
        match self {
            Sent::Exactly(exactly) => count == exactly,
            Sent::Between(least, most) => (least..=most).contains(&count),
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Outcome {
    Capture(Map<String, Value>),
    Reconciliation(Map<String, Value>),
    /// The end of a call by its operation's name.
    Reply(Map<String, Value>),
    /// The reasons against a call. The texts of `message` stand in them.
    Check(Map<String, Value>),
    /// A `row` with its `sql` and `values`.
    Intent(Map<String, Value>),
    Error(Map<String, Value>),
    /// Any of them.
    OneOf(Vec<Outcome>),
}

/// The exact bytes: `{key}` is the call's idempotency key, `{user_agent}` the surface's own.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "WireSaid")]
pub struct Wire {
    pub line: String,
    /// A header without a value must not be there.
    pub headers: BTreeMap<String, Option<String>>,
    pub body: String,
}

/// The wire as a case says it: the parts that differ from the usual.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireParts {
    line: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    body: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireSaid {
    Word(String),
    Parts(WireParts),
}

impl TryFrom<WireSaid> for Wire {
    type Error = String;

    fn try_from(said: WireSaid) -> Result<Wire, String> {
        match said {
            WireSaid::Word(word) if word == "usual" => Ok(Wire::from(WireParts::default())),
            WireSaid::Word(word) => Err(format!("a wire is \"usual\" or its parts, not {word:?}")),
            WireSaid::Parts(parts) => Ok(Wire::from(parts)),
        }
    }
}

impl From<WireParts> for Wire {
    fn from(said: WireParts) -> Wire {
        let line = said.line.unwrap_or_else(|| {
            "POST /ordermanagement/v1/orders/f3392f8b-6116-4073-ab96-e330819e2c07/captures HTTP/1.1".into()
        });
        let body = said.body.unwrap_or_else(|| r#"{"captured_amount":6000}"#.into());
        let usual = [
            ("Accept", "application/json"),
            ("Authorization", "Basic c2FuZGJveDpzYW5kYm94"),
            ("Content-Length", &body.len().to_string()),
            ("Content-Type", "application/json"),
            ("Klarna-Idempotency-Key", "{key}"),
            ("User-Agent", "{user_agent}"),
        ];
        let mut headers: BTreeMap<String, Option<String>> =
            usual.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into();
        headers.extend(said.headers);
        Wire { line, headers, body }
    }
}

/// All cases of `tests/cases` whose name contains CASE, or one of several texts with `|` between them.
/// They are read once for all surfaces.
pub fn cases() -> &'static [Named] {
    static CASES: OnceLock<Vec<Named>> = OnceLock::new();
    CASES.get_or_init(read_cases)
}

fn read_cases() -> Vec<Named> {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let is_wanted = |case: &Named| wanted.split('|').any(|text| case.name.contains(text));
    let mut cases = Vec::new();
    for (name, path) in files(&root().join("tests/cases")) {
        let text = std::fs::read_to_string(&path).expect("a readable case");
        let file = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        cases.extend(cases_of(&name, file).into_iter().filter(is_wanted));
    }
    cases
}

/// Every file of cases with its name, `folder/name`, in order.
fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let listed = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.map(|entry| entry.expect("a file").path()).collect()
    };
    let stem = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut files = Vec::new();
    for folder in listed(folder) {
        assert!(folder.is_dir(), "{}: a case stands in a folder", folder.display());
        files.extend(listed(&folder).into_iter().map(|file| (format!("{}/{}", stem(&folder), stem(&file)), file)));
    }
    files.sort();
    files
}

/// The cases of a file: its variants, with the members that speak of the file taken out.
fn cases_of(file: &str, mut value: Value) -> Vec<Named> {
    let smoke = value.as_object_mut().and_then(|members| members.remove("smoke"));
    let smoke: Smoke = smoke.map_or(Smoke::All(false), |smoke| {
        serde_json::from_value(smoke).unwrap_or_else(|error| panic!("{file}: smoke: {error}"))
    });
    let variants = expanded(value);
    for name in smoke.variants() {
        assert!(variants.iter().any(|(variant, _)| variant == name), "{file} has no variant {name:?}");
    }
    let named = variants.into_iter().map(|(variant, value)| {
        let name = if variant.is_empty() { file.to_owned() } else { format!("{file}: {variant}") };
        let case = serde_json::from_value(repeated(value)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Named { smoke: smoke.has(&variant), name, case }
    });
    named.collect()
}

/// The hostile cases of a file that run on every surface.
#[derive(Deserialize)]
#[serde(untagged)]
enum Smoke {
    All(bool),
    Variants(Vec<String>),
}

impl Smoke {
    fn variants(&self) -> &[String] {
        match self {
            Smoke::All(_) => &[],
            Smoke::Variants(names) => names,
        }
    }

    fn has(&self, variant: &str) -> bool {
        match self {
            Smoke::All(all) => *all,
            Smoke::Variants(names) => names.iter().any(|name| name == variant),
        }
    }
}

/// Expands a case with `each` into a case for every combination of its variants, with the variants' names. `"$group"`
/// and `"$group.member"` become the variant's value, inside of a text as well.
fn expanded(mut case: Value) -> Vec<(String, Value)> {
    let each = case.as_object_mut().and_then(|case| case.remove("each"));
    let mut done = vec![(String::new(), case)];
    let Some(Value::Object(each)) = each else { return done };
    for (group, variants) in &each {
        let variants = variants.as_object().unwrap_or_else(|| panic!("each.{group} is no object"));
        let mut next = Vec::new();
        for (name, case) in &done {
            for (variant, value) in variants {
                let mut case = case.clone();
                fill_variant(&mut case, &format!("${group}"), value);
                let name = if name.is_empty() { variant.clone() } else { format!("{name}: {variant}") };
                next.push((name, case));
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
            // A member that the variant does not have is left out.
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

/// The value with every `{"$repeat": value, "times": n}` in it written out, the inner ones first. A text becomes that
/// text n times, anything else a list of n.
fn repeated(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(repeated).collect(),
        Value::Object(mut members) => match members.remove("$repeat") {
            Some(value) => {
                let times = members.remove("times").and_then(|times| times.as_u64());
                let times = times.unwrap_or_else(|| panic!("$repeat of {value} needs times, a whole number"));
                assert!(members.is_empty(), "beside $repeat and times there is {members:?}");
                let times = usize::try_from(times).expect("a number of this machine");
                match repeated(value) {
                    Value::String(text) => text.repeat(times).into(),
                    value => vec![value; times].into(),
                }
            }
            None => members.into_iter().map(|(name, value)| (name, repeated(value))).collect(),
        },
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_repeated_as_a_text_and_anything_else_as_a_list() {
        let said = json!({
            "text": {"$repeat": "ab", "times": 3},
            "numbers": {"$repeat": 1, "times": 2},
            "lists": {"$repeat": [1, "a"], "times": 2},
            "none": {"$repeat": {"x": 1}, "times": 0},
            "inner": {"$repeat": {"name": {"$repeat": "n", "times": 4}}, "times": 2},
        });
        let meant = json!({
            "text": "ababab",
            "numbers": [1, 1],
            "lists": [[1, "a"], [1, "a"]],
            "none": [],
            "inner": [{"name": "nnnn"}, {"name": "nnnn"}],
        });
        assert_eq!(repeated(said), meant);
    }

    /// A request may have members of these names, and hostile scripts do.
    #[test]
    fn a_member_named_repeat_or_times_stays() {
        let script = json!({"repeat": "a", "times": 3});
        assert_eq!(repeated(script.clone()), script);
    }

    #[test]
    #[should_panic(expected = "beside $repeat and times there is")]
    fn a_repetition_has_no_other_members() {
        repeated(json!({"$repeat": "a", "times": 3, "captured_amount": 1}));
    }

    #[test]
    #[should_panic(expected = "needs times")]
    fn a_repetition_says_how_often() {
        repeated(json!({"$repeat": "a"}));
    }

    #[test]
    fn the_usual_wire_is_said_in_a_word_and_its_parts_replace_what_is_usual() {
        let wire = |said: Value| serde_json::from_value::<Wire>(said);
        let usual = wire(json!("usual")).expect("a wire");
        assert_eq!(usual, wire(json!({})).expect("a wire"));
        assert_eq!(usual.body, r#"{"captured_amount":6000}"#);
        assert_eq!(usual.headers.len(), 6);
        assert_eq!(usual.headers["Content-Length"].as_deref(), Some("24"));

        let other = wire(json!({"body": "{}", "headers": {"Accept": "text/html"}})).expect("a wire");
        assert_eq!((other.body.as_str(), &other.line), ("{}", &usual.line));
        let header = |name: &str| other.headers[name].as_deref();
        assert_eq!((header("Content-Length"), header("Accept")), (Some("2"), Some("text/html")));
        assert_eq!(other.headers["Authorization"], usual.headers["Authorization"]);

        assert!(wire(json!("as usual")).is_err());
        assert!(wire(json!({"bodies": "{}"})).is_err());
    }

    fn file() -> Value {
        json!({
            "what": "{$end} and {$at}",
            "smoke": ["early: close"],
            "each": {"at": {"early": "early", "late": "late"}, "end": {"close": "close", "reset": "reset"}},
            "calls": [],
        })
    }

    #[test]
    fn a_file_has_a_case_for_every_combination_of_its_variants() {
        let cases = cases_of("hostile/cut", file());
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        let expected = ["early: close", "early: reset", "late: close", "late: reset"];
        assert_eq!(names, expected.map(|variant| format!("hostile/cut: {variant}")));
        assert!(cases.iter().all(Named::is_hostile));
        assert_eq!(cases[3].case.what, "reset and late");
        assert_eq!(cases.iter().map(|case| case.smoke).collect::<Vec<_>>(), [true, false, false, false]);
    }

    #[test]
    #[should_panic(expected = "hostile/cut has no variant \"never\"")]
    fn a_variant_that_is_named_must_be_there() {
        let mut file = file();
        file["smoke"] = json!(["never"]);
        cases_of("hostile/cut", file);
    }

    #[test]
    fn the_folder_of_a_file_is_part_of_its_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for path in ["hostile/b.json", "capture/a.json", "hostile/http-1.0.json"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, "{}").expect("a file");
        }
        let names: Vec<String> = files(folder.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["capture/a", "hostile/b", "hostile/http-1.0"]);
    }

    #[test]
    #[should_panic(expected = "a case stands in a folder")]
    fn a_file_stands_in_a_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("stray.json"), "{}").expect("a file");
        files(folder.path());
    }

    #[test]
    fn a_call_may_say_when_its_key_was_first_used() {
        let call = |more: Value| {
            let mut call = json!({"request": {"captured_amount": 1}});
            call.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            serde_json::from_value::<Call>(call).expect("a call")
        };
        assert_eq!(call(json!({})).request(), Some(json!({"captured_amount": 1})));
        let request = call(json!({"first_use": true})).request();
        assert_eq!(request, Some(json!({"captured_amount": 1, "first_use": true})));

        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs_f64();
        let request = call(json!({"first_used_s_ago": 90.5})).request().expect("a request");
        let first_used = request["first_used"].as_i64().expect("whole seconds") as f64;
        assert!((0.0..=2.0).contains(&(now - 89.5 - first_used)), "{first_used} at {now}");

        let no_object = call(json!({"request": [1], "first_use": true, "first_used_s_ago": 1}));
        assert_eq!((no_object.request(), no_object.text()), (Some(json!([1])), "[1]".into()));
    }

    /// Names select cases, and surfaces without a transport of their own leave the hostile ones to others.
    #[test]
    fn every_case_has_a_name_of_its_own_and_a_surface() {
        let cases = cases();
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
        for case in cases {
            assert!(case.is_hostile() || !case.smoke, "{} runs everywhere anyhow", case.name);
            assert!(!case.is_hostile() || case.case.can_be_said_in("rust"), "{} runs nowhere in full", case.name);
        }
    }
}
