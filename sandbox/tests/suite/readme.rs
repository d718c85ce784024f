//! The README's shell commands, carried out by hand: curl need not be there, and the port is not ours to choose.

use super::client::{CREDENTIALS, Client, End};
use super::program::Program;
use serde_json::json;

const README: &str = include_str!("../../README.md");

/// The commands of all `sh` blocks, split into words.
fn commands() -> Vec<Vec<String>> {
    let blocks = README.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(|block| split(&block.replace("\\\n", " "))).collect()
}

/// Splits at line breaks and spaces outside of single quotes.
fn split(text: &str) -> Vec<Vec<String>> {
    let mut commands = vec![vec![String::new()]];
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            commands.last_mut().unwrap().last_mut().unwrap().push_str(part);
            continue;
        }
        for character in part.chars() {
            match character {
                '\n' => commands.push(vec![String::new()]),
                ' ' => commands.last_mut().unwrap().push(String::new()),
                other => commands.last_mut().unwrap().last_mut().unwrap().push(other),
            }
        }
    }
    for command in &mut commands {
        command.retain(|word| !word.is_empty());
    }
    commands.retain(|command| !command.is_empty());
    commands
}

#[test]
fn its_commands_do_what_it_says() {
    let mut program: Option<Program> = None;
    let mut answers = Vec::new();
    for command in commands() {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["cargo", "run", "-p", "takings-sandbox", "--", "--port", "8480", flags @ ..] => {
                program = Some(Program::start(flags));
            }
            ["base=http://127.0.0.1:8480"] => {}
            ["curl", arguments @ ..] => {
                let url = &program.as_ref().unwrap().url;
                answers.push(curl(url, arguments));
            }
            other => panic!("the test does not know {other:?}"),
        }
    }
    let [first, second, _planned, lost, ledger, audit, faults] = answers.as_slice() else {
        panic!("the README has other commands now: {answers:#?}");
    };
    assert_eq!(first.0, 201);
    assert_eq!(second.0, 200);
    assert_eq!(second.1.as_array().unwrap().len(), 1);
    assert_eq!(*lost, (0, json!(null)), "no answer");
    let amounts: Vec<_> = ledger.1.as_array().unwrap().iter().map(|entry| &entry["captured_amount"]).collect();
    assert_eq!(amounts, [6000, 4000]);
    assert_eq!(*audit, (200, json!([])));
    assert_eq!((faults.0, faults.1.as_array().unwrap().len()), (201, 3));
}

/// Status and JSON of the answer; 0 if there is none.
fn curl(base: &str, arguments: &[&str]) -> (u16, serde_json::Value) {
    let (mut target, mut headers, mut body) = ("", Vec::new(), "");
    let mut words = arguments.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "-i" => {}
            "-u" => {
                assert_eq!(words.next(), Some("sandbox:sandbox"));
                headers.push(CREDENTIALS);
            }
            "-H" => headers.push(words.next().unwrap()),
            "-d" => body = words.next().unwrap(),
            url => target = url.strip_prefix("$base").unwrap_or_else(|| panic!("what is {url}?")),
        }
    }
    let method = if body.is_empty() { "GET" } else { "POST" };
    headers.push("Connection: close");
    let mut client = Client::connect(base);
    client.send(&format!("{method} {target}"), &headers, body);
    let (answer, end) = client.rest();
    assert_eq!(end, End::Closed);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        assert_eq!(answer, "");
        return (0, json!(null));
    };
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}
