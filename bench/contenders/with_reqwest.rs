//! Captures with bare `reqwest::blocking`, set up as the core of takings sets it up.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use bench::{AUTHORIZATION, Failure, Task};
use reqwest::blocking::Client;
use reqwest::header::{ACCEPT, AUTHORIZATION as NAME, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;

fn main() -> Result<ExitCode, Failure> {
    let task = Task::from_arguments()?;
    let client = Client::builder()
        .tls_backend_preconfigured(bench::tls(&task.ca_file)?)
        .default_headers(HeaderMap::from_iter([
            (NAME, HeaderValue::from_static(AUTHORIZATION)),
            (ACCEPT, HeaderValue::from_static("application/json")),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent("bench")
        .no_proxy()
        .build()?;
    let request: Value = serde_json::from_str(&task.request)?;
    let url: reqwest::Url = task.captures_url().parse()?;
    task.run(|| {
        Ok(|| {
            let sent = client.post(url.clone()).body(serde_json::to_vec(&request)?);
            let answer = sent.header("klarna-idempotency-key", uuid::Uuid::new_v4().to_string()).send()?;
            let id = answer.headers().get("capture-id").filter(|_| answer.status() == 201);
            let id = id.ok_or_else(|| format!("the answer was {}", answer.status()))?.to_str()?.to_owned();
            answer.bytes()?;
            Ok(id)
        })
    })
}
