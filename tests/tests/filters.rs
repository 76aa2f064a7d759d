//! Seccomp filters: which threads they confine, what they cost, and which of them admit a trace.
//! (`harmless.rs` has the filters that kill for any call but the program's own.)

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Output;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::preload::{Preload, Trace, trace_files};
use mremap_tests::said::calls_made;

/// Runs `filters.c`, untraced and traced, and returns the traced run. `None` where there are no
/// such filters.
fn run(what: &str, mode: &str) -> Option<(Output, Trace)> {
    let run = || Preload::fixture("filters").args(&[what]).setting("MODE", mode);
    let untraced = run().output();
    if !need::permission(&format!("filters {what}"), &untraced) {
        return None;
    }
    calls_made(&untraced);
    Some(run().traced())
}

#[test]
fn records_every_call_whichever_threads_a_filter_confines() {
    for what in ["one-thread", "all-threads", "inherited"] {
        for mode in ["auto", "emulate"] {
            if let Some((output, trace)) = run(what, mode) {
                let recorded = trace.calls().len() as u64;
                assert_eq!(recorded, calls_made(&output), "{what}, {mode}: {output:?}");
            }
        }
    }
}

/// Blocks that the trace of a program occupies.
fn blocks_of_trace(program: &str, arguments: &[&str]) -> u64 {
    let directory = tempfile::tempdir().expect("a directory for the trace");
    let output =
        Preload::fixture(program).args(arguments).setting("TRACE", directory.path()).output();
    assert!(output.status.success(), "{program}: {output:?}");
    let files = trace_files(directory.path());
    assert_eq!(files.len(), 1, "{program}");
    fs::metadata(&files[0]).expect("the trace is there").blocks()
}

#[test]
fn filters_that_cannot_be_installed_cost_no_space() {
    let plain = blocks_of_trace("busy", &["1", "4"]);
    assert_eq!(blocks_of_trace("filters", &["at-null"]), plain);
}

/// Runs 20 calls, traced, in a PID namespace whose first process has a filter.
fn traced_in_container(what: &str) -> Option<Vec<Trace>> {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("place");
    let kept = directory.path().join("place.kept");
    let traces = directory.path().join("traces");
    for directory in [&place, &kept, &traces] {
        fs::create_dir(directory).expect("a directory");
    }
    let busy = Artifacts::get().fixture("busy");
    let mut run = Preload::fixture("confine").setting("TRACE", &traces);
    let output = run
        .command()
        .args([Path::new(what), Path::new("-"), &place, &busy])
        .args(["1", "20"])
        .env_remove("LD_PRELOAD")
        .env("CONFINED_PRELOAD", Artifacts::get().shim())
        .output()
        .expect("the fixture runs");
    if !need::permission(what, &output) {
        return None;
    }
    assert_eq!(calls_made(&output), 20, "{what}");
    Some(mremap_tests::preload::traces_in(&traces))
}

#[test]
fn the_filter_of_a_container_admits_a_trace() {
    for what in ["container", "container-child"] {
        if let Some(traces) = traced_in_container(what) {
            let calls: usize = traces.iter().map(|trace| trace.calls().len()).sum();
            assert_eq!(calls, 20, "{what}");
        }
    }
}
