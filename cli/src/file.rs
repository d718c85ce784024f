//! A file of parcels: CSV or JSON lines, read and checked as a whole before anything is enqueued.
//!
//! Nothing is guessed: a cell says what it says, or its line is listed with the column and the rule.

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use takings::Client;
use takings_ledger::store::{Entry, Kind};

use crate::say::Failure;

/// How a file is read.
#[derive(Debug)]
pub struct Reading {
    pub account: String,
    pub kind: Kind,
    /// Whether its lines are JSON; none: its name and first character say so.
    pub json_lines: Option<bool>,
    /// The headings of columns that have other names in this file.
    pub headings: BTreeMap<String, String>,
    /// Columns that mean nothing here are passed over.
    pub ignore_others: bool,
    /// The currency of amounts where the file has none.
    pub currency: Option<String>,
}

/// Where an entry comes from.
#[derive(Debug)]
pub struct Origin {
    pub line: u64,
    /// The currency that the file says.
    pub currency: Option<String>,
}

/// A cell that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    pub line: u64,
    /// The heading in the file; `-` where it is the line as a whole.
    pub column: String,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, {}: {}", self.line, self.column, self.what)
    }
}

/// The columns that a file may have beside those that name the parcel.
struct Columns {
    /// Fields of the request itself: whether they are numbers.
    own: BTreeMap<String, bool>,
    /// Fields of its one shipping info.
    shipping: Vec<String>,
}

impl Columns {
    fn of(kind: Kind) -> Result<Columns, Failure> {
        let schema: Value = serde_json::from_str(&takings::binding::schema())
            .map_err(|why| Failure::new(format!("takings failed inside: {why}")))?;
        let operations = schema["operations"].as_array().into_iter().flatten();
        let request = operations.clone().find(|operation| operation["name"] == kind.operation());
        let request = request.map(|operation| operation["arguments"].clone()).unwrap_or_default();
        let fields = |object: &str| schema["objects"][object]["fields"].as_array().cloned().unwrap_or_default();
        let name = |field: &Value| field["name"].as_str().unwrap_or_default().to_owned();
        let is_cell = |field: &Value| !matches!(field["type"]["kind"].as_str(), Some("list" | "object"));
        let named = ["reference", kind.amount()];
        let request = fields(request.as_str().unwrap_or_default());
        let own = request.iter().filter(|field| is_cell(field) && !named.contains(&name(field).as_str()));
        let own = own.map(|field| (name(field), field["type"]["kind"] == "integer")).collect();
        let has_shipping = request.iter().any(|field| name(field) == "shipping_info");
        let shipping = fields("ShippingInfo").iter().filter(|_| has_shipping).map(name).collect();
        Ok(Columns { own, shipping })
    }

    fn names(&self, kind: Kind) -> Vec<String> {
        let first = ["order_id", "reference", kind.amount(), "amount", "currency"].map(str::to_owned);
        first.into_iter().chain(self.own.keys().cloned()).chain(self.shipping.iter().cloned()).collect()
    }
}

/// The parcels of a file, and all that is wrong with it.
#[derive(Default)]
pub struct Contents {
    pub entries: Vec<Entry>,
    /// Those of the entries, in their order.
    pub origins: Vec<Origin>,
    pub problems: Vec<Problem>,
}

/// Reads a file. `name`: its path, which may say how it is written.
pub fn read(
    bytes: &[u8],
    name: &str,
    reading: &Reading,
    checker: impl Fn() -> Result<Client, Failure>,
) -> Result<Contents, Failure> {
    let text = text(bytes)?;
    let columns = Columns::of(reading.kind)?;
    let mut sheet = Sheet {
        reading,
        columns,
        client: checker()?,
        seen: HashMap::new(),
        is_decimal: false,
        contents: Contents::default(),
    };
    let begins_with = text.trim_start().chars().next();
    let ends = |extensions: &[&str]| {
        let name = name.to_ascii_lowercase();
        extensions.iter().any(|extension| name.ends_with(extension))
    };
    if begins_with == Some('[') {
        return Err(Failure::new("the file is a JSON list; write one object in each line, without a list around them"));
    }
    let is_json = reading.json_lines.unwrap_or_else(|| match () {
        () if ends(&[".jsonl", ".ndjson"]) => true,
        () if ends(&[".csv", ".tsv", ".txt"]) => false,
        () => begins_with == Some('{'),
    });
    if is_json {
        sheet.json_lines(text);
    } else {
        sheet.csv(text)?;
    }
    Ok(sheet.contents)
}

fn text(bytes: &[u8]) -> Result<&str, Failure> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Failure::new("the file is UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)"));
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|why| {
        let line = 1 + bytes[..why.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Failure::new(format!("line {line} is not UTF-8; save the file as UTF-8 (in Excel: CSV UTF-8)"))
    })
}

struct Sheet<'a> {
    reading: &'a Reading,
    columns: Columns,
    /// Checks requests, and sends none.
    client: Client,
    /// The line of each name.
    seen: HashMap<(String, String), u64>,
    /// The amounts are decimal.
    is_decimal: bool,
    contents: Contents,
}

impl Sheet<'_> {
    /// The heading of a column in this file.
    fn heading<'b>(&'b self, column: &'b str) -> &'b str {
        self.reading.headings.get(column).map_or(column, String::as_str)
    }

    fn problem(&mut self, line: u64, column: &str, what: impl Into<String>) {
        let column = self.heading(column).to_owned();
        self.contents.problems.push(Problem { line, column, what: what.into() });
    }

    fn csv(&mut self, text: &str) -> Result<(), Failure> {
        let heading = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let count = |delimiter: char| heading.matches(delimiter).count();
        let delimiter = [',', ';', '\t'].into_iter().rev().max_by_key(|delimiter| count(*delimiter)).unwrap_or(',');
        let mut reader = csv::ReaderBuilder::new();
        reader.has_headers(false).flexible(true).delimiter(u8::try_from(delimiter).unwrap_or(b','));
        let mut lines = reader.from_reader(text.as_bytes()).into_records();
        let broken = |why: csv::Error| Failure::new(format!("the file is no CSV: {why}"));
        let heading = lines.next().transpose().map_err(broken)?.unwrap_or_default();
        let places = self.places(&heading)?;
        self.is_decimal = places.contains_key("amount");
        for record in lines {
            let record = record.map_err(broken)?;
            let line = record.position().map_or(0, csv::Position::line);
            if record.iter().all(|cell| cell.trim().is_empty()) {
                continue;
            }
            if record.len() != heading.len() {
                let what = format!(
                    "it has {} cells, and the heading has {}; a cell with {delimiter:?} or a line break in it must stand in \
                     quotation marks",
                    record.len(),
                    heading.len()
                );
                self.problem(line, "-", what);
                continue;
            }
            let cells = places.iter().map(|(column, place)| (column.as_str(), &record[*place]));
            self.cells(line, cells.filter(|(_, cell)| !cell.is_empty()));
        }
        Ok(())
    }

    /// Where each column stands.
    fn places(&self, heading: &csv::StringRecord) -> Result<BTreeMap<String, usize>, Failure> {
        let known = self.columns.names(self.reading.kind);
        let mut wrong = Vec::new();
        for column in self.reading.headings.keys().filter(|column| !known.contains(column)) {
            wrong.push(format!("--map {column}=…: there is no such column; it must be one of {}", known.join(", ")));
        }
        let mut places = BTreeMap::new();
        let mut used = Vec::new();
        for column in &known {
            let name = self.heading(column);
            let found: Vec<usize> = (0..heading.len()).filter(|place| heading[*place].trim() == name).collect();
            match (found.as_slice(), self.reading.headings.contains_key(column)) {
                ([place], _) => drop(places.insert(column.clone(), *place)),
                ([], false) => {}
                ([], true) => wrong.push(format!("--map {column}={name}: the heading has no {name:?}")),
                _ => wrong.push(format!("the heading has {name:?} more than once")),
            }
            used.extend(found);
        }
        if !self.reading.ignore_others {
            for (_, name) in heading.iter().enumerate().filter(|(place, _)| !used.contains(place)) {
                wrong.push(format!(
                    "the column {name:?} means nothing here; say --map COLUMN={name}, or --ignore-others to pass over \
                     such columns"
                ));
            }
        }
        let amount = self.reading.kind.amount();
        let has = |column: &str| places.contains_key(column);
        for column in ["order_id", "reference"].into_iter().filter(|column| !has(column)) {
            wrong.push(format!("there is no column {column}; if it has another name: --map {column}=NAME"));
        }
        match (has(amount), has("amount")) {
            (true, true) => wrong.push(format!("{amount} and amount are both there; it must be one of them")),
            (false, false) => wrong.push(format!(
                "there is neither {amount} (minor units: 60.00 is 6000) nor amount (such as 60.00, with currency)"
            )),
            _ => {}
        }
        if wrong.is_empty() { Ok(places) } else { Err(Failure::new(format!("line 1: {}", wrong.join("\nline 1: ")))) }
    }

    /// A line of cells, as the object that a JSON line would be.
    fn cells<'b>(&mut self, line: u64, cells: impl Iterator<Item = (&'b str, &'b str)>) {
        let mut object = Map::new();
        let mut shipping = Map::new();
        let amount = self.reading.kind.amount();
        for (column, cell) in cells {
            let is_number = column == amount || self.columns.own.get(column) == Some(&true);
            // 007 and 1e3 are texts, which the check of the request refuses.
            let number = cell.parse::<i64>().ok().filter(|number| is_number && number.to_string() == cell);
            let value = number.map_or_else(|| Value::from(cell), Value::from);
            let is_shipping = self.columns.shipping.iter().any(|name| name == column);
            if is_shipping { &mut shipping } else { &mut object }.insert(column.to_owned(), value);
        }
        if !shipping.is_empty() {
            object.insert("shipping_info".into(), Value::from(vec![Value::Object(shipping)]));
        }
        self.object(line, object);
    }

    fn json_lines(&mut self, text: &str) {
        let own = |column: &String| (self.heading(column).to_owned(), column.clone());
        let names: HashMap<String, String> = self.reading.headings.keys().map(own).collect();
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim().is_empty() {
                continue;
            }
            match serde_json::from_str::<Once>(text) {
                Ok(Once(Value::Object(object))) if names.is_empty() => self.object(line, object),
                Ok(Once(Value::Object(object))) => {
                    let renamed = object.into_iter().map(|(name, value)| match names.get(&name) {
                        Some(column) => (column.clone(), value),
                        None => (name, value),
                    });
                    let object: Map<String, Value> = renamed.collect();
                    self.object(line, object);
                }
                Ok(_) => self.problem(line, "-", "it is not a JSON object"),
                Err(why) => {
                    let why = why.to_string();
                    let what = why.split(" at line ").next().unwrap_or_default();
                    self.problem(line, "-", format!("it is no JSON object with each name once: {what}"));
                }
            }
        }
    }

    /// Checks a parcel, and keeps it.
    fn object(&mut self, line: u64, mut object: Map<String, Value>) {
        let before = self.contents.problems.len();
        let kind = self.reading.kind;
        let order_id = self.name(line, "order_id", object.remove("order_id"));
        let reference = self.name(line, "reference", object.remove("reference"));
        let (amount, currency) = self.amount(line, &mut object);
        for name in takings_ledger::worker::OPTIONS.into_iter().filter(|name| object.contains_key(*name)) {
            self.problem(line, name, "only the ledger and its worker say how a call is made; it must be left out");
        }
        // A parcel without other fields has nothing more to check.
        if !object.is_empty() {
            self.request(line, &mut object, amount);
        }
        let (Some(order_id), Some(reference), Some(amount)) = (order_id, reference, amount) else { return };
        let place = match self.seen.entry((order_id, reference)) {
            Place::Vacant(place) if self.contents.problems.len() > before => return drop(place),
            Place::Vacant(place) => place,
            Place::Occupied(first) => {
                let what = format!(
                    "the order has this reference in line {} already; it must be another for each {}",
                    first.get(),
                    kind.operation()
                );
                return self.problem(line, "reference", what);
            }
        };
        let (order_id, reference) = place.key().clone();
        place.insert(line);
        let request = (!object.is_empty()).then(|| Value::Object(object).to_string());
        let account = self.reading.account.clone();
        self.contents.entries.push(Entry { account, order_id, reference, amount, request });
        self.contents.origins.push(Origin { line, currency });
    }

    /// An order id or a reference, which takings would send.
    fn name(&mut self, line: u64, column: &str, value: Option<Value>) -> Option<String> {
        let text = match value {
            None => {
                self.problem(line, column, "it is missing");
                return None;
            }
            Some(Value::String(text)) => text,
            Some(_) => {
                self.problem(line, column, "it must be a text");
                return None;
            }
        };
        let operation = self.reading.kind.operation();
        let checked = match column {
            "order_id" => takings::idempotency_key_for(operation, &text, None, "name"),
            _ => takings::idempotency_key_for(operation, "f3392f8b-6116-4073-ab96-e330819e2c07", None, &text),
        };
        let is_in_capitals = column == "order_id" && text.len() == 36 && text != text.to_ascii_lowercase();
        match checked {
            Err(error) => {
                let message = error.message();
                let what = message.strip_prefix("name ").or(message.strip_prefix("order_id "));
                self.problem(line, column, what.unwrap_or(message));
                None
            }
            Ok(_) if is_in_capitals => {
                self.problem(line, column, "it must be in small letters, as Klarna writes it");
                None
            }
            Ok(_) => Some(text),
        }
    }

    /// The amount in minor units, and its currency.
    fn amount(&mut self, line: u64, object: &mut Map<String, Value>) -> (Option<i64>, Option<String>) {
        let column = self.reading.kind.amount();
        let (minor, decimal) = (object.remove(column), object.remove("amount"));
        let currency = match object.remove("currency") {
            Some(Value::String(text)) => Some(text),
            None => self.reading.currency.clone(),
            Some(_) => {
                self.problem(line, "currency", "it must be a text such as EUR");
                return (None, None);
            }
        };
        let must = "a whole number of minor units from 1 to 200000000 (60.00 is 6000)";
        let (column, amount) = match (minor, decimal, &currency) {
            (Some(_), Some(_), _) => {
                self.problem(line, "amount", format!("{column} is given too; it must be one of them"));
                return (None, currency);
            }
            (Some(Value::Number(number)), None, _) if number.is_i64() || number.is_u64() => {
                (column, number.as_i64().ok_or_else(|| format!("it must be {must}")))
            }
            (Some(_), None, _) => {
                (column, Err(format!("it must be {must}; for 60.00 have a column amount, and currency")))
            }
            (None, Some(Value::String(text)), Some(code)) => match takings::minor(&text, code) {
                Ok(amount) => ("amount", Ok(amount)),
                Err(error) if error.message().starts_with("currency") => ("currency", Err(error.message().to_owned())),
                Err(error) => ("amount", Err(error.message().to_owned())),
            },
            (None, Some(Value::String(_)), None) => {
                ("currency", Err("it is missing, so nobody knows the decimals; give it, or --currency EUR".to_owned()))
            }
            (None, Some(_), _) => ("amount", Err("it must be a text such as \"60.00\"".to_owned())),
            (None, None, _) => (if self.is_decimal { "amount" } else { column }, Err("it is missing".to_owned())),
        };
        let amount = amount.and_then(|amount| {
            if (1..=200_000_000).contains(&amount) { Ok(amount) } else { Err(format!("it must be {must}")) }
        });
        match amount {
            Ok(amount) => (Some(amount), currency),
            Err(what) => {
                let what = what.strip_prefix("amount ").or(what.strip_prefix("currency ")).unwrap_or(&what).to_owned();
                self.problem(line, column, what);
                (None, currency)
            }
        }
    }

    /// Has takings check the other fields, as it will check them before it sends them. A field that is refused is left
    /// out and the rest checked again, so that each one is listed.
    fn request(&mut self, line: u64, object: &mut Map<String, Value>, amount: Option<i64>) {
        let (operation, own) = (self.reading.kind.operation(), self.reading.kind.amount());
        let order_id = "f3392f8b-6116-4073-ab96-e330819e2c07";
        object.insert(own.into(), amount.unwrap_or(1).into());
        object.insert("reference".into(), "name".into());
        for _ in 0..10 {
            let text = serde_json::to_string(&object).unwrap_or_default();
            let Err(error) = self.client.check_call(operation, order_id, &text) else { break };
            let message = error.message().to_owned();
            let (path, what) = message.split_once(' ').unwrap_or((&message, ""));
            let last = path.rsplit('.').next().unwrap_or(path).to_owned();
            let top = path.split(['.', '[']).next().unwrap_or(path);
            let is_cell = self.columns.shipping.contains(&last) && top == "shipping_info";
            let info = object.get_mut("shipping_info").and_then(|list| list.get_mut(0)).and_then(Value::as_object_mut);
            if is_cell && info.is_some_and(|info| info.remove(&last).is_some()) {
                self.problem(line, &last, what);
            } else if !["reference", own].contains(&top) && object.remove(top).is_some() {
                let column = if path == top { top } else { path };
                self.problem(line, column, what);
            } else {
                self.problem(line, "-", message);
                break;
            }
        }
        object.remove(own);
        object.remove("reference");
    }
}

/// JSON in which each name stands once.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Once, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Once;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_unit<E>(self) -> Result<Once, E> {
                Ok(Once(Value::Null))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
                let mut list = Vec::new();
                while let Some(Once(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(Once(list.into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Once, A::Error> {
                let mut object = Map::new();
                while let Some(name) = members.next_key::<String>()? {
                    if object.contains_key(&name) {
                        return Err(de::Error::custom(format!("{name} stands twice")));
                    }
                    let Once(value) = members.next_value()?;
                    object.insert(name, value);
                }
                Ok(Once(object.into()))
            }
        }
        source.deserialize_any(Any)
    }
}
