//! The halves of a capture that need no server: reading and checking the input, writing the request, and the machine's
//! decisions.

use std::hint::black_box;

use takings::{Answer, CaptureRequest, Client, Config, Credentials, Event, Step};

use crate::Failure;

/// The request of the examples, with one order line.
pub const SAMPLE: &str = include_str!("../../examples/capture.json");
const ORDER_ID: &str = "f3392f8b-6116-4073-ab96-e330819e2c07";

/// A half: its name, and a function that does its work once.
pub type Half = (&'static str, Box<dyn FnMut()>);

/// The sample with its order line repeated `lines` times.
///
/// # Errors
///
/// The sample is no request.
pub fn request(lines: usize) -> Result<CaptureRequest, Failure> {
    let mut request = CaptureRequest::from_json(SAMPLE)?;
    let mut all = request.order_lines.take().ok_or("the sample has no order lines")?;
    all.resize(lines, all[0].clone());
    request.captured_amount *= i64::try_from(lines)?;
    request.order_lines = Some(all);
    Ok(request)
}

/// All halves. No half fails, since each gets valid input.
///
/// # Errors
///
/// The sample is no request.
pub fn all() -> Result<Vec<Half>, Failure> {
    let one = halves(["parse", "check", "serialise", "prepare", "call"], 1)?;
    let many = halves(
        ["parse, 1000 lines", "check, 1000 lines", "serialise, 1000 lines", "prepare, 1000 lines", "call, 1000 lines"],
        1000,
    )?;
    Ok(one.into_iter().chain(many).chain([("get_order, 100 lines", get_order()?)]).collect())
}

/// An order with 100 lines, and ten captures of ten of them, as Klarna answers it.
///
/// # Errors
///
/// The sample is no request.
pub fn order() -> Result<String, Failure> {
    let lines = request(100)?.order_lines.ok_or("the sample has no order lines")?;
    let address = serde_json::json!({
        "given_name": "Jane", "family_name": "Doe", "email": "jane@example.com", "street_address": "Lombardstr. 10",
        "postal_code": "20095", "city": "Hamburg", "country": "DE", "phone": "+4940123456",
    });
    let captures: Vec<_> = (0..10)
        .map(|index| {
            serde_json::json!({
                "capture_id": format!("4ba29b50-be7b-44f5-a492-113e6a865e{index:02}"), "captured_amount": 60_000,
                "refunded_amount": 0, "reference": format!("parcel-{index}"), "captured_at": "2026-11-25T10:00:00.000Z",
                "order_lines": lines[index * 10..][..10], "billing_address": address, "shipping_address": address,
                "shipping_info": [{"shipping_company": "DHL", "tracking_number": "JD014600"}],
            })
        })
        .collect();
    let order = serde_json::json!({
        "order_id": ORDER_ID, "status": "CAPTURED", "fraud_status": "ACCEPTED", "order_amount": 600_000,
        "captured_amount": 600_000, "refunded_amount": 0, "remaining_authorized_amount": 0, "purchase_currency": "EUR",
        "purchase_country": "DE", "locale": "de-DE", "order_lines": lines, "billing_address": address,
        "shipping_address": address, "created_at": "2026-11-24T10:00:00.000Z", "expires_at": "2026-12-24T00:00:00.000Z",
        "captures": captures, "refunds": [],
    });
    Ok(order.to_string())
}

/// The order read, from the answer's bytes to the reply.
fn get_order() -> Result<Box<dyn FnMut()>, Failure> {
    let client = Client::new(Config::at("http://127.0.0.1:9", Credentials::basic("user", "password")))?;
    let body = order()?.into_bytes();
    Ok(Box::new(move || {
        let mut call = client.prepare_call("get_order", ORDER_ID, "{}", None).expect("prepared");
        assert!(matches!(call.step(Event::Start), Step::Send(_)));
        let answer = Answer::new(200, [("Content-Type", "application/json")], black_box(body.clone()));
        assert!(matches!(call.step(Event::Answered(answer)), Step::Done(Ok(_))));
    }))
}

/// `names` of: the request read from JSON; checked; written as JSON; both and all that is done before it is sent
/// (the key, the URL, the headers); the same from JSON text with the machine's steps up to the outcome.
fn halves(names: [&'static str; 5], lines: usize) -> Result<Vec<Half>, Failure> {
    let client = Client::new(Config::at("http://127.0.0.1:9", Credentials::basic("user", "password")))?;
    let request = request(lines)?;
    let text = serde_json::to_string(&request)?;
    let (parsed, checked, serialised, prepared) = (text.clone(), request.clone(), request.clone(), request);
    let preparing = client.clone();
    let works: [Box<dyn FnMut()>; 5] = [
        Box::new(move || drop(black_box(CaptureRequest::from_json(black_box(&parsed)).expect("a request")))),
        Box::new(move || black_box(&checked).check().expect("a good request")),
        Box::new(move || drop(black_box(serde_json::to_vec(black_box(&serialised)).expect("JSON")))),
        Box::new(move || drop(black_box(preparing.prepare(ORDER_ID, black_box(&prepared), None).expect("prepared")))),
        captures(client, text),
    ];
    Ok(names.into_iter().zip(works).collect())
}

/// The half `call`, without the others.
///
/// # Errors
///
/// The sample is no request.
pub fn call() -> Result<Box<dyn FnMut()>, Failure> {
    let client = Client::new(Config::at("http://127.0.0.1:9", Credentials::basic("user", "password")))?;
    Ok(captures(client, SAMPLE.to_owned()))
}

/// A capture of the request `text` and a key of its own, up to its outcome.
fn captures(client: Client, text: String) -> Box<dyn FnMut()> {
    Box::new(move || {
        let mut call = client.prepare_call("capture", ORDER_ID, black_box(&text), None).expect("prepared");
        assert!(matches!(call.step(Event::Start), Step::Send(_)));
        // The id is made from the key, so that each capture has its own.
        let id = call.idempotency_key().expect("a capture has a key").to_owned();
        let answer = Answer::new(201, [("Capture-Id", id.as_str()), ("Content-Length", "0")], Vec::new());
        assert!(matches!(call.step(Event::Answered(answer)), Step::Done(Ok(_))));
    })
}
