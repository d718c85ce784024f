//! A capture or a refund as a row for a ledger in the program's own database: its columns, its key, and the INSERT.

use serde::Deserializer;

use crate::api::arguments::Arguments;
use crate::api::ids::check_order_id;
use crate::api::lines::CheckLines;
use crate::api::order_requests::RefundRequest;
use crate::api::request::CaptureRequest;
use crate::error::{Error, ErrorKind};
use crate::key::{idempotency_key_for, in_small_letters};
use crate::record::{Fact, record, to_json};
use crate::strict::{Reader, Rule, Voice, object};

object! {
    /// The part of an intent that is not Klarna's.
    #[derive(Default)]
    pub(crate) struct IntentOptions: "a member of an intent" {
        /// The account of the ledger, for a program with several merchants or regions: `default` when absent.
        optional account "account": String, Rule::Name { min: 1, max: 255 };
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    operation: &'static str,
    account: String,
    order_id: String,
    reference: String,
    amount: i64,
    request: Option<String>,
    key: String,
    warnings: Vec<String>,
}

record! {
    /// A capture or a refund that is to be made, as a row of the ledger's table.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Intent(Columns) {
        /// `capture` or `refund`.
        operation: &str = |row| row.operation;
        /// The table: `takings_capture` or `takings_refund`.
        table: &str = |row| if row.operation == "capture" { "takings_capture" } else { "takings_refund" };
        /// The account of the ledger.
        account: &str = |row| &row.account;
        /// The order, a UUID in small letters.
        order_id: &str = |row| &row.order_id;
        /// The shop's own name for it.
        reference: &str = |row| &row.reference;
        /// How much is captured, in minor units; none for a refund.
        captured_amount: Option<i64> = |row| Some(row.amount).filter(|_| row.operation == "capture");
        /// How much is given back, in minor units; none for a capture.
        refunded_amount: Option<i64> = |row| Some(row.amount).filter(|_| row.operation == "refund");
        /// The other fields of Klarna's request as JSON, always the same text for the same fields; none without others.
        request: Option<&str> = |row| row.request.as_deref();
        /// The key with which it is sent, derived from the reference.
        idempotency_key: &str = |row| &row.key;
        /// Order lines that do not add up.
        warnings: &[String] = |row| &row.warnings;
    }
}

/// An INSERT as a program's database takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Insert {
    /// The text, the same for each intent of a table.
    pub sql: String,
    /// The columns whose values stand in the placeholders, in order.
    pub columns: [&'static str; 5],
    /// Whether the placeholders are the columns' names.
    pub is_named: bool,
}

impl Intent {
    /// The row of a capture. `request` must have a reference, the capture's own name in its order.
    ///
    /// ```
    /// let mut request = takings::CaptureRequest::new(6000);
    /// request.reference = Some("parcel-1".into());
    /// let intent = takings::Intent::capture("f3392f8b-6116-4073-ab96-e330819e2c07", &request)?;
    /// assert!(intent.insert("?")?.sql.starts_with("INSERT INTO takings_capture"));
    /// # Ok::<(), takings::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the field.
    pub fn capture(order_id: &str, request: &CaptureRequest) -> Result<Intent, Error> {
        row("capture", order_id, IntentOptions::default(), checked(request)?)
    }

    /// The row of a refund, as [`capture`](Intent::capture) makes that of a capture.
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the field.
    pub fn refund(order_id: &str, request: &RefundRequest) -> Result<Intent, Error> {
        row("refund", order_id, IntentOptions::default(), checked(request)?)
    }

    /// The row of the operation `capture` or `refund`, of a request as JSON text. Beside Klarna's fields it may have
    /// `account`, the account of the ledger.
    ///
    /// # Errors
    ///
    /// `invalid_input`, naming the field.
    pub fn from_json(operation: &str, order_id: &str, request: &str) -> Result<Intent, Error> {
        match operation {
            "capture" => of(
                operation,
                order_id,
                Reader::new(CaptureRequest::WHOLE, false).json_two::<_, CaptureRequest>(request)?,
            ),
            "refund" => {
                of(operation, order_id, Reader::new(RefundRequest::WHOLE, false).json_two::<_, RefundRequest>(request)?)
            }
            _ => Err(unknown(operation)),
        }
    }

    /// The same from any serde source, for bindings.
    #[doc(hidden)]
    pub fn read<'de, D: Deserializer<'de>>(
        operation: &str,
        order_id: &str,
        request: D,
        surface: &str,
    ) -> Result<Intent, Error> {
        let reader = |whole| Reader::new(whole, false).in_units_of(Voice::of(surface));
        match operation {
            "capture" => {
                of(operation, order_id, reader(CaptureRequest::WHOLE).read_two::<_, CaptureRequest, _>(request)?)
            }
            "refund" => of(operation, order_id, reader(RefundRequest::WHOLE).read_two::<_, RefundRequest, _>(request)?),
            _ => Err(unknown(operation)),
        }
    }

    /// The columns that its INSERT fills and their values, in the order of the placeholders.
    #[doc(hidden)]
    pub fn values(&self) -> [(&'static str, Fact<'_>); 5] {
        let held = |column| Intent::INFO.fields.iter().zip(self.facts()).find(|(field, _)| field.name == column);
        columns(self.operation()).map(|column| (column, held(column).map_or(Fact::Absent, |(_, value)| value)))
    }

    /// All fields as a JSON object, such as a log takes; absent ones are null.
    pub fn to_json(&self) -> String {
        serde_json::Value::Object(to_json(&Intent::INFO, self.facts())).to_string()
    }

    /// The INSERT with the placeholders that the program's database library takes: `?`, `%s`, `$1` or `:name`.
    ///
    /// # Errors
    ///
    /// `invalid_input` for another style.
    pub fn insert(&self, style: &str) -> Result<Insert, Error> {
        insert(self.operation(), style)
    }
}

fn columns(operation: &str) -> [&'static str; 5] {
    let amount = if operation == "refund" { "refunded_amount" } else { "captured_amount" };
    ["account", "order_id", "reference", amount, "request"]
}

/// The INSERT of an operation's intents.
#[doc(hidden)]
pub fn insert(operation: &str, style: &str) -> Result<Insert, Error> {
    let table = match operation {
        "capture" => "takings_capture",
        "refund" => "takings_refund",
        _ => return Err(unknown(operation)),
    };
    let columns = columns(operation);
    let place = |(index, column): (usize, &&str)| match style {
        "?" | "%s" => Some(style.to_owned()),
        "$1" => Some(format!("${}", index + 1)),
        ":name" => Some(format!(":{column}")),
        _ => None,
    };
    let places: Option<Vec<String>> = columns.iter().enumerate().map(place).collect();
    let Some(places) = places else {
        let got = format!("{:?}", style.chars().take(40).collect::<String>());
        return Err(Error::invalid_argument(
            "style",
            &got,
            "a style of placeholders: \"?\", \"%s\", \"$1\" or \":name\"",
        ));
    };
    let sql = format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), places.join(", "));
    Ok(Insert { sql, columns, is_named: style == ":name" })
}

fn unknown(operation: &str) -> Error {
    let got = format!("{:?}", operation.chars().take(40).collect::<String>());
    Error::invalid_argument("operation", &got, "capture or refund")
}

/// A request in its parts: reference, amount, and the rest.
struct Parts {
    reference: Option<String>,
    amount: i64,
    rest: Option<String>,
    warnings: Vec<String>,
}

/// A request that an intent can be made of.
trait Kept: Arguments + Clone {
    const AMOUNT: &'static str;
    fn take(&mut self) -> (Option<String>, i64);
}

impl Kept for CaptureRequest {
    const AMOUNT: &'static str = "captured_amount";
    fn take(&mut self) -> (Option<String>, i64) {
        (self.reference.take(), self.captured_amount)
    }
}

impl Kept for RefundRequest {
    const AMOUNT: &'static str = "refunded_amount";
    fn take(&mut self) -> (Option<String>, i64) {
        (self.reference.take(), self.refunded_amount)
    }
}

fn checked<A: Kept>(request: &A) -> Result<Parts, Error> {
    request.check(&Reader::new(A::WHOLE, true).root(), &A::RULE)?;
    parts(request)
}

fn parts<A: Kept>(request: &A) -> Result<Parts, Error> {
    let warnings = request.findings(CheckLines::Warn)?;
    let mut rest = request.clone();
    let (reference, amount) = rest.take();
    // Members are written in the order of their declaration, whatever the order in which they were given.
    let text = String::from_utf8(rest.body()).ok();
    let first = format!("{{\"{}\":{amount}", A::AMOUNT);
    // The lines must not be lost if the amount should ever stand elsewhere.
    let Some(rest) = text.as_deref().and_then(|text| text.strip_prefix(&first)) else {
        return Err(Error::new(ErrorKind::Internal, "the amount is not the first member of the request"));
    };
    let rest = rest.strip_prefix(',').map(|members| format!("{{{members}"));
    Ok(Parts { reference, amount, rest, warnings })
}

fn of<A: Kept>(operation: &str, order_id: &str, (options, request): (IntentOptions, A)) -> Result<Intent, Error> {
    row(operation, order_id, options, parts(&request)?)
}

fn row(operation: &str, order_id: &str, options: IntentOptions, parts: Parts) -> Result<Intent, Error> {
    let operation = if operation == "refund" { "refund" } else { "capture" };
    check_order_id(order_id)?;
    let Some(reference) = parts.reference.filter(|reference| !reference.is_empty()) else {
        let allowed =
            format!("the {operation}'s own name in its order, such as \"parcel-1\": its key is derived from it");
        return Err(Error::invalid_argument("reference", "missing", &allowed));
    };
    let key = idempotency_key_for(operation, order_id, None, &reference).map_err(|error| {
        match error.message().strip_prefix("name ") {
            Some(rest) => Error::invalid(format!("reference {rest}")),
            None => error,
        }
    })?;
    Ok(Intent(Columns {
        operation,
        account: options.account.unwrap_or_else(|| "default".into()),
        order_id: in_small_letters(order_id).into_owned(),
        reference,
        amount: parts.amount,
        request: parts.rest,
        key,
        warnings: parts.warnings,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = "f3392f8b-6116-4073-ab96-e330819e2c07";

    fn capture(request: &str) -> Intent {
        Intent::from_json("capture", ORDER, request).unwrap()
    }

    #[test]
    fn the_columns_of_a_capture_and_a_refund() {
        let intent = capture(r#"{"reference": "parcel-1", "captured_amount": 6000}"#);
        assert_eq!((intent.table(), intent.account(), intent.order_id()), ("takings_capture", "default", ORDER));
        assert_eq!((intent.captured_amount(), intent.refunded_amount(), intent.request()), (Some(6000), None, None));
        assert_eq!(intent.idempotency_key(), "e642b253-7331-5441-bb3d-c291abd550aa");
        let refund = r#"{"reference": "return-1", "refunded_amount": 100, "description": "x", "account": "se"}"#;
        let intent = Intent::from_json("refund", ORDER, refund).unwrap();
        assert_eq!((intent.table(), intent.account()), ("takings_refund", "se"));
        assert_eq!((intent.captured_amount(), intent.refunded_amount()), (None, Some(100)));
        assert_eq!(intent.request(), Some(r#"{"description":"x"}"#));
        assert_eq!(intent.idempotency_key(), "34036f9b-68e4-582b-9f05-841632db6e68");
    }

    #[test]
    fn the_same_fields_are_the_same_bytes() {
        let one = capture(
            r#"{"captured_amount": 6000, "reference": "p", "description": "d", "shipping_delay": 0,
                "order_lines": [{"name": "T", "quantity": 1, "unit_price": 6000, "total_amount": 6000}]}"#,
        );
        let other = capture(
            r#"{"order_lines": [{"total_amount": 6000, "unit_price": 6000, "quantity": 1, "name": "T"}],
                "shipping_delay": 0, "reference": "p", "description": "\u0064", "captured_amount": 6000}"#,
        );
        assert_eq!(one, other);
        let expected = r#"{"description":"d","order_lines":[{"name":"T","quantity":1,"unit_price":6000,"total_amount":6000}],"shipping_delay":0}"#;
        assert_eq!(one.request(), Some(expected));
        // Together with its columns it is the body that is sent.
        let mut request = CaptureRequest::new(6000);
        request.reference = Some("p".into());
        request.description = Some("d".into());
        assert_eq!(Intent::capture(ORDER, &request).unwrap().request(), Some(r#"{"description":"d"}"#));
    }

    #[test]
    fn an_order_is_one_row_in_either_case() {
        let request = r#"{"reference": "parcel-1", "captured_amount": 6000}"#;
        assert_eq!(Intent::from_json("capture", &ORDER.to_uppercase(), request).unwrap(), capture(request));
    }

    #[test]
    fn an_insert_in_each_style() {
        let intent = capture(r#"{"reference": "parcel-1", "captured_amount": 6000}"#);
        let sql = |style| intent.insert(style).unwrap().sql;
        let head = "INSERT INTO takings_capture (account, order_id, reference, captured_amount, request) VALUES";
        assert_eq!(sql("?"), format!("{head} (?, ?, ?, ?, ?)"));
        assert_eq!(sql("%s"), format!("{head} (%s, %s, %s, %s, %s)"));
        assert_eq!(sql("$1"), format!("{head} ($1, $2, $3, $4, $5)"));
        assert_eq!(sql(":name"), format!("{head} (:account, :order_id, :reference, :captured_amount, :request)"));
        let error = intent.insert("@p1").unwrap_err();
        assert!(error.message().starts_with("style is \"@p1\"; it must be"), "{error}");
        assert!(insert("cancel", "?").unwrap_err().message().starts_with("operation is \"cancel\""));
    }

    #[test]
    fn the_values_stand_in_the_order_of_the_columns() {
        let refund = r#"{"reference": "return-1", "refunded_amount": 100, "account": "se"}"#;
        let intent = Intent::from_json("refund", ORDER, refund).unwrap();
        let values = intent.values();
        assert_eq!(values.map(|(column, _)| column), intent.insert("?").unwrap().columns);
        assert!(matches!(values[0].1, Fact::Text("se")) && matches!(values[1].1, Fact::Text(ORDER)), "{values:?}");
        assert!(matches!(values[2].1, Fact::Text("return-1")) && matches!(values[3].1, Fact::Integer(100)));
        assert!(matches!(values[4].1, Fact::Absent), "{values:?}");
        assert!(intent.to_json().contains(r#""refunded_amount":100,"request":null"#), "{}", intent.to_json());
    }

    #[test]
    fn an_intent_is_as_strict_as_its_call() {
        for (operation, order_id, request, message) in [
            ("capture", ORDER, r#"{"captured_amount": 6000}"#, "reference is missing"),
            ("capture", ORDER, r#"{"captured_amount": 6000, "reference": ""}"#, "reference is missing"),
            ("capture", ORDER, r#"{"captured_amount": 60.5, "reference": "p"}"#, "captured_amount is"),
            ("capture", ORDER, r#"{"captured_amount": "60.00", "reference": "p"}"#, "captured_amount is"),
            ("capture", ORDER, r#"{"captured_amount": true, "reference": "p"}"#, "captured_amount is"),
            ("capture", ORDER, r#"{"captured_amount": 6000, "reference": " p"}"#, "reference "),
            ("capture", ORDER, r#"{"captured_amount": 6000, "reference": "p", "timeout_ms": 5}"#, "timeout_ms is"),
            ("capture", ORDER, r#"{"captured_amount": 6000, "reference": "p", "account": ""}"#, "account is"),
            ("refund", ORDER, r#"{"captured_amount": 6000, "reference": "p"}"#, "captured_amount is"),
            ("capture", "a/b", r#"{"captured_amount": 6000, "reference": "p"}"#, "order_id "),
            ("cancel", ORDER, "{}", "operation is \"cancel\""),
        ] {
            let error = Intent::from_json(operation, order_id, request).unwrap_err();
            assert!(error.message().starts_with(message), "{error} for {request}");
        }
        assert!(Intent::capture(ORDER, &CaptureRequest::new(0)).is_err());
    }
}
