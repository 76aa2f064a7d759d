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
    let report = json_of(&[&["report", "--json"], arguments].concat());
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

/// The lines of JSON that a command prints.
fn lines_of(arguments: &[&str]) -> Vec<serde_json::Value> {
    let output = analyze(arguments);
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
}

#[test]
fn every_command_names_the_caller_of_an_allocator() {
    if is_guest() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let traces = directory.path().join("traces");
    let traces = traces.to_str().expect("text");
    let program = fixture("moves_for_others");
    let options = ["--mode", "emulate", "--trace", traces, "--stack", "8", "--"];
    analyze(&[&["run"], &options[..], &[&program]].concat());
    let events = lines_of(&["events", "--json", traces]);
    let names: Vec<&str> = events.iter().filter_map(|event| event["site"].as_str()).collect();
    let [first, second] = names[..] else { panic!("{events:#?}") };
    assert!(first.starts_with("compact (moves_for_others.c:"), "{first}");
    assert!(second.starts_with("evict (moves_for_others.c:"), "{second}");
    assert!(names.iter().all(|name| name.ends_with(" via realloc_range")), "{names:?}");

    let mut check = Command::new(Artifacts::get().analyzer());
    let check = check.args(["check", "--json", traces]).output().expect("the analyzer runs");
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    let check: serde_json::Value = serde_json::from_slice(&check.stdout).expect("JSON");
    let evidence = check["findings"][0]["evidence"].as_array().expect("evidence");
    let found: Vec<&str> = evidence.iter().filter_map(|it| it["site"].as_str()).collect();
    assert_eq!(found, names, "{check:#}");

    let text = |arguments: &[&str]| {
        String::from_utf8_lossy(&analyze(&[arguments, &[traces]].concat()).stdout).into_owned()
    };
    assert!(text(&["show", "--event", "2"]).contains(&format!("called from {second}")));
    for format in ["jsonl", "csv", "chrome"] {
        let exported = text(&["export", "--format", format]);
        assert!(names.iter().all(|name| exported.contains(name)), "{format}: {exported}");
    }
    let page = directory.path().join("page.html");
    let page = page.to_str().expect("text");
    analyze(&["html", "-o", page, traces]);
    let page = std::fs::read_to_string(page).expect("the page");
    assert!(page.contains("[\"evict (moves_for_others.c:"), "no such frame in the flame graph");

    // What a command prints, the filter of every command takes.
    for site in [second, "evict"] {
        let only = lines_of(&["events", "--json", "--site", site, traces]);
        assert_eq!(only.len(), 1, "{only:#?}");
        let report = &json_of(&["report", "--json", "--site", site, traces]);
        assert_eq!((&report["calls"], &report["sites"][0]["calls"]), (&1.into(), &1.into()));
        assert_eq!(report["sites"][0]["site"], second);
        let folded = text(&["export", "--format", "folded", "--site", site]);
        assert!(folded.contains("evict") && !folded.contains("compact"), "{folded}");
    }
}

/// The JSON that a command prints.
fn json_of(arguments: &[&str]) -> serde_json::Value {
    serde_json::from_slice(&analyze(arguments).stdout).expect("JSON")
}

#[test]
fn names_generated_code_by_its_perf_map() {
    if is_guest() {
        return;
    }
    for code in ["framed", "trampoline"] {
        let directory = tempfile::tempdir().expect("a directory");
        let traces = directory.path().to_str().expect("text");
        let program = fixture("jit_stack");
        analyze(&["run", "--trace", traces, "--stack", "8", "--", &program, traces, code]);
        // A reader without the map has the names from a pack.
        let elsewhere = tempfile::tempdir().expect("a directory");
        let pack = elsewhere.path().join("x.mremapz");
        let pack = pack.to_str().expect("text");
        analyze(&["pack", "--debug-path", traces, traces, "-o", pack]);
        for arguments in [&["--debug-path", traces, traces][..], &[pack]] {
            let event = json_of(&[&["events", "--json"], arguments].concat());
            let names = [&event["site"], &event["stack"][0], &event["stack"][1]]
                .map(|name| name.as_str().unwrap_or_default());
            assert!(names[0].starts_with("grow (jit_stack.c:"), "{code}: {event}");
            assert_eq!(names[1], "py::work (work.py)", "{code}: {event}");
            assert!(names[2].starts_with("main (jit_stack.c:"), "{code}: {event}");
        }
    }
}
