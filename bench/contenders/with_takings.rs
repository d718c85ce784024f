//! Captures with takings.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use bench::{Failure, Task};
use takings::{CaptureRequest, Client, Config, Credentials};

fn main() -> Result<ExitCode, Failure> {
    let task = Task::from_arguments()?;
    let mut config = Config::at(&task.url, Credentials::basic(bench::USERNAME, bench::PASSWORD));
    config.ca_file = Some(task.ca_file.clone().into());
    let client = Client::new(config)?;
    let request = CaptureRequest::from_json(&task.request)?;
    task.run(|| Ok(|| Ok(client.capture(&task.order_id, &request, None)?.capture_id().to_owned())))
}
