//! Traces of every released format version stay readable, to the last figure. The shim of its time
//! recorded `golden/v1`: `golden/mover.c` in mode emulate with stacks and VMAs (`parent`, and
//! `child` by fork), and in mode auto on a kernel with native multi-VMA moves, keeping the last
//! calls (`native`). `golden/v2`, without stacks, has threads that share a chunk.
//!
//! A new trace needs another boot id: in its own boot its clocks are read once more.
//!
//! The JSON files beside the traces are the output of the analyzer of that time; `MAKE_GOLDEN=1`
//! rewrites them.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mremap_trace::{Header, layout};
use serde_json::{Value, json};

const TRACES: [&str; 4] =
    ["v1/parent.mremap", "v1/child.mremap", "v1/native.mremap", "v2/threads.mremap"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Runs the analyzer in the golden directory, so that paths in its output are relative.
fn analyzer(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mremap-analyzer"))
        .args(arguments)
        .current_dir(golden())
        .output()
        .expect("the analyzer starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn report(trace: &str) -> Value {
    let report = analyzer(&["report", "--json", "--no-symbols", "--top", "1000", trace]);
    serde_json::from_str(&report).expect("JSON")
}

fn events(trace: &str) -> Vec<Value> {
    let lines = analyzer(&["events", "--json", "--no-symbols", trace]);
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Removes sentences, which may be reworded.
fn without_prose(mut found: Value) -> Value {
    match &mut found {
        Value::Object(fields) => {
            fields.retain(|name, _| {
                !["cause", "remedy", "symbol_notes", "running"].contains(&name.as_str())
            });
            for value in fields.values_mut() {
                *value = without_prose(value.take());
            }
        }
        Value::Array(values) => {
            for value in values {
                *value = without_prose(value.take());
            }
        }
        _ => {}
    }
    found
}

/// Asserts that every expected field is still there. Fields may have been added.
fn holds(found: &Value, expected: &Value, place: &str) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            for (name, value) in expected {
                let found = found.get(name).unwrap_or_else(|| panic!("{place}: {name} is gone"));
                holds(found, value, &format!("{place}.{name}"));
            }
        }
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{place}");
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                holds(found, expected, &format!("{place}[{at}]"));
            }
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

#[test]
fn golden_traces_give_the_recorded_figures() {
    for trace in TRACES {
        for (kind, found) in [("report", report(trace)), ("events", Value::Array(events(trace)))] {
            let found = without_prose(found);
            let path = golden().join(trace).with_extension(format!("{kind}.json"));
            if std::env::var_os("MAKE_GOLDEN").is_some() {
                fs::write(&path, format!("{found:#}\n")).expect("written");
            }
            let expected = fs::read(&path).expect("the expected figures");
            let expected = serde_json::from_slice(&expected).expect("JSON");
            holds(&found, &expected, &format!("{trace}: {kind}"));
        }
    }
}

#[test]
fn a_header_decodes_alone() {
    let bytes = fs::read(golden().join(TRACES[1])).expect("the trace");
    let (header, text) = Header::decode(&bytes[..layout::HEADER_SIZE]).expect("a header");
    assert_eq!(text.exe, b"/tmp/golden/mover");
    assert_eq!(text.host, b"golden");
    assert!(header.forked_from > 0 && header.forked_from == header.parent_pid);
}

/// Counts equal names.
fn counted<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    json!(counts)
}

#[test]
fn a_reader_written_from_the_format_document_agrees() {
    let output = Command::new("python3")
        .arg("reader.py")
        .args(TRACES)
        .current_dir(golden())
        .output()
        .expect("python3 is installed");
    assert!(output.status.success(), "{output:?}");
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found.len(), TRACES.len());
    for (found, trace) in found.iter().zip(TRACES) {
        let (report, events) = (report(trace), events(trace));
        same_process(found, &report["processes"][0], trace);
        same_calls(found, &events, trace);
        same_moves(found, &report["moves"], &events, trace);
    }
}

fn same_process(found: &Value, process: &Value, trace: &str) {
    for field in ["pid", "host", "exe"] {
        assert!(process.get(field).is_none_or(|value| *value == found[field]), "{trace}: {field}");
    }
    let threads = process["threads"].as_array().expect("threads").iter();
    let threads: BTreeMap<String, Value> =
        threads.map(|thread| (thread["tid"].to_string(), thread["calls"].clone())).collect();
    assert_eq!(found["threads"], json!(threads), "{trace}");
    assert_eq!(found["messages"], process["messages"], "{trace}");
    assert_eq!(found["modules"][0], process["exe"], "{trace}");
}

fn same_calls(found: &Value, events: &[Value], trace: &str) {
    let text = |event: &'_ Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let outcomes: Vec<String> = events.iter().map(|event| text(event, "outcome")).collect();
    let outcomes = counted(outcomes.iter().map(String::as_str));
    assert_eq!(found["calls"], outcomes, "{trace}");
    let failed = events.iter().filter(|event| !event["errno"].is_null());
    let results: Vec<String> = failed.map(|event| text(event, "result").replace('-', "")).collect();
    let results = counted(results.iter().map(String::as_str));
    assert_eq!(found["failed"], results, "{trace}");
    assert_eq!(found["old_len"], sum(events, "old_len"), "{trace}");
    let stacks = events.iter().filter_map(|event| event["stack"].as_array());
    let frames: usize = stacks.map(Vec::len).sum();
    assert_eq!(found["frames"], frames, "{trace}");
    let has_stacks = ["v1/parent.mremap", "v1/child.mremap"].contains(&trace);
    assert_eq!(frames > 0, has_stacks, "{trace}");
}

fn same_moves(found: &Value, moves: &Value, events: &[Value], trace: &str) {
    for field in ["parts", "gaps"] {
        assert_eq!(found[field], moves[field], "{trace}: {field}");
        assert_eq!(found[field], sum(events, field), "{trace}: {field}");
    }
    assert_eq!(found["bytes"], moves["bytes"], "{trace}");
}

fn sum(events: &[Value], field: &str) -> u64 {
    events.iter().filter_map(|event| event[field].as_u64()).sum()
}
