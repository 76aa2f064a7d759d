//! The settings of the trace: which calls of which programs are recorded, and how the others are
//! counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mremap_tests::artifacts::Artifacts;
use mremap_tests::preload::{Preload, Trace, is_guest, read_trace_file, trace_files, traces_in};
use mremap_tests::records;
use mremap_trace::{Header, Record};

const THREADS: usize = 4;

/// Calls of each thread.
fn calls() -> usize {
    if is_guest() { 4_000 } else { 20_000 }
}

/// The traces of `churn.c`, by process.
fn churn(then: &str, settings: &[(&str, &str)]) -> BTreeMap<u32, Trace> {
    churn_calls(calls(), then, settings)
}

fn churn_calls(calls: usize, then: &str, settings: &[(&str, &str)]) -> BTreeMap<u32, Trace> {
    let directory = tempfile::tempdir().expect("a directory for the trace");
    let (threads, calls) = (THREADS.to_string(), calls.to_string());
    let output = Preload::fixture("churn")
        .args(&[&threads, &calls, then])
        .setting("TRACE", directory.path())
        .settings(settings)
        .output();
    assert!(output.status.success(), "{settings:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{settings:?}: {output:?}");
    traces_in(directory.path()).into_iter().map(|trace| (trace.header.pid, trace)).collect()
}

fn only(traces: BTreeMap<u32, Trace>) -> Trace {
    assert_eq!(traces.len(), 1, "one process, one trace");
    traces.into_values().next().expect("one")
}

#[test]
fn counts_every_call_as_recorded_or_lost() {
    for keep in ["first", "last"] {
        for size in ["64K", "256K", "64M"] {
            let trace = only(churn("exit", &[("TRACE_KEEP", keep), ("TRACE_SIZE", size)]));
            let kept = trace.calls().len();
            let header = trace.header;
            assert_eq!(
                kept as u64 + header.lost(),
                (THREADS * calls()) as u64,
                "{keep}, {size}: {header:?}"
            );
            let overwrites = keep == "last" && size != "64M";
            assert_eq!(header.lost_overwritten > 0, overwrites, "{keep}, {size}: {header:?}");
            assert!(kept > 300, "{keep}, {size}: {kept} calls kept");
            assert!(
                records!(trace, Module).count() >= 3,
                "{keep}, {size}: program, libc and loader are named"
            );
        }
    }
}

#[test]
fn keeps_the_first_or_the_last_calls() {
    const MANY: usize = 20_000;
    let numbers = |keep| {
        let settings = [("TRACE_KEEP", keep), ("TRACE_SIZE", "256K")];
        let trace = only(churn_calls(MANY, "exit", &settings));
        let calls = trace.calls().into_iter();
        calls.map(|call| call.new as usize).collect::<BTreeSet<_>>()
    };
    // The trace holds a fifth of what any one thread makes, so none of them can be in it from
    // beginning to end.
    let (first, last) = (numbers("first"), numbers("last"));
    assert!(first.contains(&0) && !first.contains(&(MANY - 1)));
    assert!(last.contains(&(MANY - 1)) && !last.contains(&0));
}

#[test]
fn records_children_in_traces_of_their_own() {
    for then in ["fork", "exec"] {
        let traces = churn(then, &[]);
        assert_eq!(traces.len(), 2, "{then}: parent and child");
        for trace in traces.values() {
            assert_eq!(trace.calls().len(), THREADS * calls(), "{then}");
        }
        let forked: Vec<_> = traces.values().map(|trace| trace.header.forked_from).collect();
        let parents: Vec<_> = traces.keys().copied().filter(|pid| forked.contains(pid)).collect();
        assert_eq!(parents.len(), usize::from(then == "fork"), "{then}: {forked:?}");
        assert_eq!(churn(then, &[("CHILDREN", "0")]).len(), 1, "{then}: the child is left out");
    }
}

/// Field 22 of a process's `stat`.
fn start_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let after_name = stat.rsplit(')').next().expect("a name");
    after_name.split_whitespace().nth(19).and_then(|it| it.parse().ok()).expect("field 22")
}

#[test]
fn distinguishes_processes_that_had_the_same_id() {
    let directory = tempfile::tempdir().expect("a directory for the trace");
    let mut busy = Preload::fixture("busy")
        .args(&["1", "0"])
        .setting("TRACE", directory.path())
        .command()
        .stdout(Stdio::null())
        .spawn()
        .expect("the fixture starts");
    let header = || {
        let bytes = read_trace_file(trace_files(directory.path()).first()?);
        Header::decode(&bytes).ok().map(|(header, _)| header)
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while header().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let started = start_time(busy.id());
    busy.kill().and_then(|()| busy.wait()).expect("killed");
    let header = header().expect("a trace");
    assert_eq!((header.pid, header.start_time), (busy.id(), started));
    let namespace = fs::metadata("/proc/self/ns/pid").expect("a namespace").ino();
    assert_eq!(header.pid_namespace, namespace);
}

#[test]
fn records_when_a_child_started() {
    let traces = churn("fork", &[]);
    let starts: Vec<u64> = traces.values().map(|trace| trace.header.start_time).collect();
    let (parents, children): (Vec<&Trace>, Vec<&Trace>) =
        traces.values().partition(|trace| trace.header.forked_from == 0);
    let [parent, child] = [parents, children].map(|traces| traces[0].header);
    assert!(0 < parent.start_time && parent.start_time <= child.start_time, "{starts:?}");
    assert_eq!(parent.pid_namespace, child.pid_namespace);
}

#[test]
fn records_only_the_programs_named() {
    assert_eq!(churn("exit", &[("PROGRAMS", "true,churn")]).len(), 1);
    assert_eq!(churn("exit", &[("PROGRAMS", "true,churns")]).len(), 0);
}

#[test]
fn records_the_frames_above_a_caller() {
    let trace = only(churn("exit", &[("STACK", "8"), ("TRACE_SIZE", "64K")]));
    let frames: Vec<_> = records!(trace, Stack).map(|stack| stack.frames[0]).collect();
    assert!(!frames.is_empty(), "each call has frames above its caller");
    assert!(frames.iter().all(|&frame| frame != 0));
}

fn check_that_callers_are_named(trace: &Trace) {
    for call in trace.calls() {
        let is_named = records!(trace, Module).any(|it| (it.start..it.end).contains(&call.caller));
        assert!(is_named, "{call:x?} came from a module that the trace names");
    }
}

#[test]
fn names_late_code_at_its_first_call() {
    let plugin = Artifacts::get().fixture("libreach_plugin.so");
    let plugin = plugin.to_str().expect("a path in UTF-8");
    let (_, trace) = Preload::fixture("reach").args(&[plugin]).traced();
    check_that_callers_are_named(&trace);
}

#[test]
fn names_late_code_in_a_childs_trace() {
    let plugin = Artifacts::get().fixture("libreach_plugin.so");
    let (output, traces) = Preload::fixture("late_code_in_child")
        .args(&[plugin.to_str().expect("a path in UTF-8")])
        .traced_with_children();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(traces.len(), 2);
    for trace in &traces {
        assert_eq!(trace.calls().len(), 1);
        check_that_callers_are_named(trace);
    }
}

#[test]
fn names_calls_of_a_library_loaded_where_another_one_was() {
    if is_guest() {
        return;
    }
    let artifacts = Artifacts::get();
    let libraries = ["first", "other"].map(|it| artifacts.fixture(&format!("libreloaded_{it}.so")));
    let directory = tempfile::tempdir().expect("a directory for the trace");
    let output = Preload::fixture("reloads")
        .args(&libraries.each_ref().map(|path| path.to_str().expect("a path in UTF-8")))
        .setting("TRACE", directory.path())
        .output();
    assert!(output.status.success(), "{output:?}");
    let events = Command::new(artifacts.analyzer())
        .args(["export", "--format", "csv"])
        .arg(directory.path())
        .output()
        .expect("the analyzer runs");
    let events = String::from_utf8(events.stdout).expect("text");
    let called: Vec<_> = events.lines().filter_map(|line| line.split("grow_in_").nth(1)).collect();
    let expected = ["first", "first", "other", "other", "first", "first"];
    assert!(
        called.len() == 6 && called.iter().zip(expected).all(|(it, name)| it.starts_with(name)),
        "{events}"
    );
}

/// What the library says of itself in a trace: each message, with the text that follows it.
fn messages(trace: &Trace) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = 0;
    for record in &trace.records {
        match (record, found.last_mut()) {
            (Record::Message(message), _) => {
                left = message.text_len as usize;
                found.push(String::new());
            }
            (Record::Text(bytes), Some(text)) => {
                let piece = &bytes[..left.min(bytes.len())];
                left -= piece.len();
                text.push_str(&String::from_utf8_lossy(piece));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn reports_a_long_exposure_once() {
    // The one move of sixty-five thousand VMAs takes an emulated processor longer than it has.
    if is_guest() {
        return;
    }
    let (_, trace) = Preload::emulated("hard_rules", &["sixty_five_thousand"], "auto").traced();
    let reported = messages(&trace);
    let [reported] = &reported[..] else {
        panic!("one message: {reported:?}");
    };
    let microseconds =
        reported.strip_prefix("other threads could see a half-done move, for microseconds: ");
    let microseconds: u64 = microseconds.expect("the message").parse().expect("a number");
    assert!(microseconds >= 1000, "{reported}");
}
