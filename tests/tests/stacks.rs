//! Stacks through code without frame pointers, which glibc and most programs are.
#![cfg(all(target_arch = "x86_64", target_env = "gnu"))]

use std::process::{Command, Output};

use mremap_tests::artifacts::Artifacts;
use mremap_tests::preload::is_guest;

/// Runs the analyzer, which must succeed.
fn analyze(arguments: &[&str]) -> Output {
    let output = Command::new(Artifacts::get().analyzer()).args(arguments).output();
    let output = output.expect("the analyzer runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

/// The path of a fixture.
fn fixture(name: &str) -> String {
    Artifacts::get().fixture(name).to_str().expect("text").to_owned()
}

#[test]
fn names_the_function_that_calls_realloc() {
    if is_guest() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let traces = directory.path().to_str().expect("text");
    let options = ["--trace", traces, "--libc", "patch", "--stack", "16", "--"];
    analyze(&[&["run"], &options[..], &[&fixture("grows")]].concat());
    check_report(&[traces]);
    // A reader without the program, its libraries and their debug information.
    let elsewhere = tempfile::tempdir().expect("a directory");
    let pack = elsewhere.path().join("x.mremapz");
    let pack = pack.to_str().expect("text");
    for redacted in [&[][..], &["--redact"]] {
        analyze(&[&["pack", traces, "-o", pack], redacted].concat());
        check_report(&[pack, "--sysroot", "/nonexistent"]);
    }
}

/// Checks who calls `realloc`, by the report on a trace or pack.
fn check_report(arguments: &[&str]) {
    let report = analyze(&[&["report", "--json"], arguments].concat());
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("JSON");
    let sites = report["sites"].as_array().expect("sites");
    let calls_of = |function: &str| {
        let named = |site: &&serde_json::Value| {
            let name = site["site"].as_str().unwrap_or_default();
            name.starts_with(function) && name.ends_with(" via realloc")
        };
        sites.iter().find(named).map(|site| site["calls"].as_u64().expect("a number"))
    };
    assert_eq!(calls_of("grow_often (grows.c:8)"), Some(199), "{sites:#?}");
    assert_eq!(calls_of("grow_by_doubling (grows.c:13)"), Some(5), "{sites:#?}");
    let chain = report["chains"][0]["site"].as_str().expect("a chain");
    assert!(chain.starts_with("grow_often"), "{chain}");
}

#[test]
fn names_generated_code_by_its_perf_map() {
    if is_guest() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let traces = directory.path().to_str().expect("text");
    let program = fixture("jit_stack");
    analyze(&["run", "--trace", traces, "--stack", "8", "--", &program, traces]);
    let events = analyze(&["events", "--json", "--debug-path", traces, traces]);
    let event: serde_json::Value = serde_json::from_slice(&events.stdout).expect("one event");
    let names = [&event["site"], &event["stack"][0], &event["stack"][1]]
        .map(|name| name.as_str().unwrap_or_default());
    assert!(names[0].starts_with("grow (jit_stack.c:"), "{event}");
    assert_eq!(names[1], "py::work (work.py)", "{event}");
    assert!(names[2].starts_with("main (jit_stack.c:"), "{event}");
}
