//! A host that sends by itself gets no thread. The test is alone in its file, so that it has a process of its own.
#![cfg(target_os = "linux")]

use takings::{Answer, CaptureRequest, Client, Config, Credentials, Event, Step};

#[test]
fn a_driven_call_starts_no_thread_and_opens_nothing() {
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let before = (count("task"), count("fd"));
    let client = Client::new(Config::at("https://klarna.example", Credentials::basic("user", "password"))).unwrap();
    let mut operation = client.prepare("an-order", &CaptureRequest::new(6000), None).unwrap();
    assert!(matches!(operation.step(Event::Start), Step::Send(_)));
    let answer = Answer::new(201, [("Capture-Id", "id-1")], Vec::new());
    assert!(matches!(operation.step(Event::Answered(answer)), Step::Done(Ok(_))));
    assert_eq!((count("task"), count("fd")), before);
}
