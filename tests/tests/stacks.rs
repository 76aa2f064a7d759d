//! Stacks through code without frame pointers, which glibc and most programs are.
#![cfg(all(target_arch = "x86_64", target_env = "gnu"))]

use std::process::Command;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::preload::is_guest;

#[test]
fn names_the_function_that_calls_realloc() {
    if is_guest() {
        return;
    }
    let artifacts = Artifacts::get();
    let directory = tempfile::tempdir().expect("a directory");
    let traces = directory.path().to_str().expect("text");
    let run = Command::new(artifacts.analyzer())
        .args(["run", "--trace", traces, "--libc", "patch", "--stack", "16", "--"])
        .arg(artifacts.fixture("grows"))
        .output()
        .expect("the analyzer runs");
    assert!(run.status.success(), "{run:?}");
    check_report(&[traces]);
    // A reader without the program, its libraries and their debug information.
    let elsewhere = tempfile::tempdir().expect("a directory");
    let pack = elsewhere.path().join("x.mremapz");
    let pack = pack.to_str().expect("text");
    for redacted in [&[][..], &["--redact"]] {
        let packed = Command::new(artifacts.analyzer())
            .args(["pack", traces, "-o", pack])
            .args(redacted)
            .output()
            .expect("the analyzer runs");
        assert!(packed.status.success(), "{packed:?}");
        check_report(&[pack, "--sysroot", "/nonexistent"]);
    }
}

/// Checks who calls `realloc`, by the report on a trace or pack.
fn check_report(arguments: &[&str]) {
    let report = Command::new(Artifacts::get().analyzer())
        .args(["report", "--json"])
        .args(arguments)
        .output()
        .expect("the analyzer runs");
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
    let artifacts = Artifacts::get();
    let directory = tempfile::tempdir().expect("a directory");
    let traces = directory.path().to_str().expect("text");
    let run = Command::new(artifacts.analyzer())
        .args(["run", "--trace", traces, "--stack", "8", "--"])
        .arg(artifacts.fixture("jit_stack"))
        .arg(directory.path())
        .output()
        .expect("the analyzer runs");
    assert!(run.status.success(), "{run:?}");
    let events = Command::new(artifacts.analyzer())
        .args(["events", "--json", "--debug-path", traces, traces])
        .output()
        .expect("the analyzer runs");
    let event: serde_json::Value = serde_json::from_slice(&events.stdout).expect("one event");
    let names = [&event["site"], &event["stack"][0], &event["stack"][1]]
        .map(|name| name.as_str().unwrap_or_default());
    assert!(names[0].starts_with("grow (jit_stack.c:"), "{event}");
    assert_eq!(names[1], "py::work (work.py)", "{event}");
    assert!(names[2].starts_with("main (jit_stack.c:"), "{event}");
}
