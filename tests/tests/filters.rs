//! Seccomp filters: which threads they confine, what they cost, and which of them admit a trace.
//! (`harmless.rs` has the filters that kill for any call but the program's own.)

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Output;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::output::calls_made;
use mremap_tests::preload::{Preload, Trace, trace_files};

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

/// Runs a fixture below `confine`, traced. Returns the calls that it made and its traces.
fn traced_under(
    restriction: [&str; 2],
    fixture: &[&str],
    seccomp: &str,
) -> Option<(u64, Vec<Trace>)> {
    let directory = tempfile::tempdir().expect("a directory");
    let [place, kept, traces] =
        ["place", "place.kept", "traces"].map(|name| directory.path().join(name));
    for directory in [&place, &kept, &traces] {
        fs::create_dir(directory).expect("a directory");
    }
    let mut run = Preload::fixture("confine").args(&restriction).setting("TRACE", &traces);
    run = run.setting("SECCOMP", seccomp);
    let output = run
        .command()
        .args([&place, &Artifacts::get().fixture(fixture[0])])
        .args(&fixture[1..])
        .env_remove("LD_PRELOAD")
        .env("CONFINED_PRELOAD", Artifacts::get().shim())
        .output()
        .expect("the fixture runs");
    need::permission(restriction[0], &output)
        .then(|| (calls_made(&output), mremap_tests::preload::traces_in(&traces)))
}

#[test]
fn the_filter_of_a_container_admits_a_trace() {
    for what in ["container", "container-child"] {
        if let Some((made, traces)) = traced_under([what, "-"], &["busy", "1", "20"], "auto") {
            let calls: usize = traces.iter().map(|trace| trace.calls().len()).sum();
            assert_eq!((made, calls), (20, 20), "{what}");
        }
    }
}

/// `MADV_WIPEONFORK`, of Linux 4.14. gVisor lacks it, too.
const WIPE_ON_FORK: &str = "18";

#[test]
fn records_parent_and_children_where_memory_cannot_be_wiped_on_fork() {
    for (kind, processes) in [("fork", 3), ("between", 5), ("vfork", 1), ("daemon", 3)] {
        let fixture = ["children", kind, "2"];
        let Some((made, traces)) = traced_under(["no-advice", WIPE_ON_FORK], &fixture, "trust")
        else {
            return;
        };
        let pids: BTreeSet<u32> = traces.iter().map(|trace| trace.header.pid).collect();
        let recorded: Vec<usize> = traces.iter().map(|trace| trace.calls().len()).collect();
        assert_eq!(recorded.iter().sum::<usize>() as u64, made, "{kind}: {recorded:?}");
        assert_eq!(traces.len(), processes, "{kind}: {pids:?}");
        assert!(recorded.iter().all(|calls| *calls % 4 == 0), "{kind}: {recorded:?}");
    }
}
