//! `docs/json.md` lists every field that the commands write, each in the command's section.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::*;
use serde_json::Value;

mod common;

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                names.insert(name.clone());
                collect(value, names);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}

/// Names of all fields in a command's JSON: one object, or one a line.
fn fields(arguments: &[&str]) -> BTreeSet<String> {
    let output = analyzer(arguments);
    let mut names = BTreeSet::new();
    let values = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    for value in values {
        let value = value.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"));
        collect(&value, &mut names);
    }
    assert!(!names.is_empty(), "{arguments:?}: {output:?}");
    names
}

/// The words in backticks in the section whose heading names the command.
fn documented(document: &str, command: &str) -> BTreeSet<String> {
    let section = document
        .split("\n## ")
        .find(|section| section.lines().next().is_some_and(|heading| heading.contains(command)))
        .unwrap_or_else(|| panic!("no section on {command}"));
    section.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_field_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json.md");
    let document = fs::read_to_string(path).unwrap();
    let (_a, file) = sample_file();
    let (_b, growing) = growing_file();
    for (command, arguments) in [
        ("events --json", vec!["events", "--json", &file]),
        ("report --json", vec!["report", "--json", &file, &growing]),
        ("check --json", vec!["check", "--json", &file]),
        ("diff --json", vec!["diff", "--json", &file, &growing]),
        ("doctor --json", vec!["doctor", "--json", "/no/such/program"]),
    ] {
        let documented = documented(&document, command);
        let missing: Vec<String> = fields(&arguments).difference(&documented).cloned().collect();
        assert!(missing.is_empty(), "{command}: docs/json.md does not name {missing:?}");
    }
}

/// A trace of a mapping that grows by one page a call.
fn growing_file() -> (tempfile::TempDir, String) {
    let directory = tempfile::TempDir::new().unwrap();
    let grow = |step: u64| {
        let mut call = made(mremap_trace::Outcome::PassedThrough, 3_000 + step, step, OLD as i64);
        (call.new_len, call.flags) = (call.old_len + PAGE, 1);
        mremap_trace::Record::Call(call)
    };
    let records: Vec<_> = (1..60).map(grow).collect();
    let path = write(&directory, "g.mremap", &trace_bytes(&header(43, 1), &records));
    (directory, path.display().to_string())
}
