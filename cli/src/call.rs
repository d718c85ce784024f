//! Klarna's operations as commands, made from the table of operations.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};
use takings::{Client, ErrorKind};

use crate::place::Where;
use crate::say::{Ended, Exit, Failure, ask, note, result};

/// An operation, as the core describes it.
struct Operation {
    name: String,
    command: String,
    doc: String,
    writes: bool,
    /// Its arguments: name, kind, documentation, whether it must be there.
    arguments: Vec<(String, String, String, bool)>,
}

fn operations() -> Vec<Operation> {
    let schema: Value = serde_json::from_str(&takings::binding::schema()).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all: Vec<Value> = schema["operations"].as_array().cloned().unwrap_or_default();
    let names: Vec<String> = all.iter().map(|operation| text(&operation["name"])).collect();
    let of = |operation: &Value| {
        let name = text(&operation["name"]);
        // A read goes without "get", unless another operation has that name.
        let short = name.strip_prefix("get_").filter(|short| !names.iter().any(|name| name == short));
        let fields = schema["objects"][text(&operation["arguments"])]["fields"].as_array().cloned().unwrap_or_default();
        let arguments = fields.iter().map(|field| {
            let required = field["required"].as_bool().unwrap_or_default();
            (text(&field["name"]), text(&field["type"]["kind"]), text(&field["doc"]).replace('\n', " "), required)
        });
        Operation {
            command: short.unwrap_or(&name).replace('_', "-"),
            doc: text(&operation["doc"]).replace('\n', " "),
            writes: operation["takes_key"].as_bool().unwrap_or_default(),
            arguments: arguments.collect(),
            name,
        }
    };
    all.iter().map(of).collect()
}

/// The commands, to be added to those of the ledger.
pub fn commands() -> impl Iterator<Item = Command> {
    operations().into_iter().map(|operation| {
        let mut command = Command::new(operation.command.clone()).about(operation.doc.clone());
        command = command.arg(Arg::new("order_id").value_name("ORDER").required(true).help("Klarna's id of the order"));
        for (name, kind, doc, required) in &operation.arguments {
            let value = match kind.as_str() {
                "integer" => "N",
                "list" | "object" => "JSON",
                _ => "TEXT",
            };
            let arg = Arg::new(name.clone()).long(name.replace('_', "-")).value_name(value).required(*required);
            command = command.arg(arg.help(doc.clone()).allow_hyphen_values(true));
        }
        if operation.writes {
            let key = Arg::new("key").long("key").value_name("KEY").help("The idempotency key, if you have one of your own");
            let name = Arg::new("name").long("name").value_name("NAME").conflicts_with("key").help(
                "The call's own name, from which its key is made: the same name again is the same call, and is done once. \
                 Its reference, if it has one",
            );
            let yes = Arg::new("yes").long("yes").action(ArgAction::SetTrue).help("Does not ask");
            command = command.args([key, name, yes]).after_help(
                "This call is not noted in the ledger. If its answer is lost, say the same again within 24 hours. A capture or refund that must not get lost goes through `takings enqueue`.",
            );
        }
        command
    })
}

/// Makes the call of a command, if it is one of these.
pub fn run(place: &Where, name: &str, matches: &ArgMatches, is_json: bool) -> Option<Ended> {
    let operation = operations().into_iter().find(|operation| operation.command == name)?;
    Some(call(place, &operation, matches, is_json))
}

fn call(place: &Where, operation: &Operation, matches: &ArgMatches, is_json: bool) -> Ended {
    let given = |name: &str| matches.get_one::<String>(name);
    let order_id = given("order_id").map(String::as_str).unwrap_or_default();
    let mut arguments = Map::new();
    for (name, kind, ..) in &operation.arguments {
        let Some(text) = given(name) else { continue };
        let value = match kind.as_str() {
            "text" | "word" => Value::from(text.as_str()),
            _ => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())),
        };
        arguments.insert(name.clone(), value);
    }
    let klarna = place.klarna()?;
    let client = Client::new(klarna.config.clone())?;
    let key = match operation.writes {
        true => Some(key(operation, order_id, given("key"), given("name"), &arguments)?),
        false => None,
    };
    let text = Value::Object(arguments).to_string();
    let call = client.prepare_call(&operation.name, order_id, &text, key.as_deref())?;
    if operation.writes && !matches.get_flag("yes") {
        ask(&format!("{} at {} ({})?", operation.command, klarna.base_url, klarna.merchant), "nothing was sent")?;
    }
    match call.send() {
        Ok(reply) => {
            for warning in reply.warnings() {
                note(format!("warning: {warning}"));
            }
            let mut json: Value = serde_json::from_str(&reply.to_json()).unwrap_or_default();
            let document = json["raw"].as_str().and_then(|text| serde_json::from_str(text).ok());
            let shown: Value = match document {
                // A person sees Klarna's own document alone.
                Some(document) if !is_json => document,
                Some(document) => {
                    json["document"] = document;
                    json
                }
                None => json,
            };
            let pretty = if is_json { shown.to_string() } else { format!("{shown:#}") };
            result(pretty)?;
            Ok(Exit::Done)
        }
        Err(error) => {
            if is_json {
                result(json!({"error": serde_json::from_str::<Value>(&error.to_json()).unwrap_or_default()}))?;
            }
            note(format!("takings: {}", error.message()));
            Ok(match error.kind() {
                ErrorKind::OutcomeUnknown | ErrorKind::Internal => Exit::Open,
                ErrorKind::Rejected => Exit::Person,
                _ => Exit::Nothing,
            })
        }
    }
}

/// The key of a call: given, or made of its name.
fn key(
    operation: &Operation,
    order_id: &str,
    key: Option<&String>,
    name: Option<&String>,
    arguments: &Map<String, Value>,
) -> Result<String, Failure> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str);
    if let Some(key) = key {
        return Ok(key.clone());
    }
    let is_whole = operation.arguments.iter().all(|(name, ..)| name == "capture_id");
    let name = name.map(String::as_str).or_else(|| text("reference")).or(is_whole.then_some("takings"));
    let Some(name) = name else {
        return Err(Failure::new(format!(
            "--name is missing: the call's own name, such as parcel-1. The same name again is the same call, so that {} \
             happens once however often you say it",
            operation.command
        )));
    };
    Ok(takings::idempotency_key_for(&operation.name, order_id, text("capture_id"), name)?)
}
