//! gVisor, whose `mremap` moves one VMA. Programs must get the results of Linux 6.17 there.

use std::path::Path;
use std::process::{Command, Output};

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::output::text;
use mremap_tests::preload::{Trace, is_guest, traces_in};
use mremap_trace::Outcome;

/// gVisor's ways to intercept system calls, the newer one first.
const PLATFORMS: [&str; 2] = ["systrap", "ptrace"];

/// Runs a program under gVisor.
fn run(platform: &str, variables: &[String], program: &Path, arguments: &[&str]) -> Output {
    Command::new("runsc")
        .args(["--rootless", "--network=none", "--ignore-cgroups"])
        .arg(format!("--platform={platform}"))
        .args(["do", "-force-overlay=false", "--", "/usr/bin/env"])
        .args(variables)
        .arg(program)
        .args(arguments)
        .output()
        .expect("runsc runs")
}

/// The platform that works on this machine.
fn platform() -> Option<&'static str> {
    if is_guest() {
        return None;
    }
    need::program("runsc", "runsc")?;
    let works = |platform: &&str| run(platform, &[], Path::new("/bin/true"), &[]).status.success();
    let found = PLATFORMS.into_iter().find(works);
    if found.is_none() {
        need::skip("programs under gVisor: runsc cannot start a sandbox on this machine");
    }
    found
}

#[test]
fn moves_of_several_vmas_are_emulated() {
    let Some(platform) = platform() else { return };
    let preload = [format!("LD_PRELOAD={}", Artifacts::get().shim().display())];
    // Not snapshot, which needs MREMAP_DONTUNMAP.
    for name in ["compacting_heap", "neighbour_under_gap", "relocatable_arena", "signal_moves"] {
        let example = Artifacts::get().example(name);
        let alone = run(platform, &[], &example, &[]);
        assert!(!alone.status.success(), "gVisor moves several VMAs: {alone:?}");
        // gVisor's kernel answers the probe of free ranges wrongly.
        for source in ["auto", "bisect"] {
            let source = [format!("MREMAP_SHIM_VMA_SOURCE={source}")];
            let variables = [&preload[..], &source].concat();
            let emulated = run(platform, &variables, &example, &[]);
            assert!(emulated.status.success(), "{name}, {source:?}: {emulated:?}");
            let printed = text(&emulated.stdout);
            assert!(printed.starts_with(name), "{printed}");
        }
    }
}

#[test]
fn the_tracer_emulates_moves_of_static_programs() {
    let Some(platform) = platform() else { return };
    let directory = tempfile::tempdir().expect("a directory for the traces");
    let path = directory.path().to_str().expect("a path in UTF-8");
    let program = Artifacts::get().fixture("static_moves");
    let alone = run(platform, &[], &program, &[]);
    assert_eq!(alone.status.code(), Some(2), "gVisor moves several VMAs: {alone:?}");
    let fixture = program.to_str().expect("a path in UTF-8");
    let arguments = ["run", "--reach", "all", "--trace", path, "--", fixture];
    let output = run(platform, &[], &Artifacts::get().analyzer(), &arguments);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("arrived\n", Some(3)));
    let traces = traces_in(directory.path());
    let calls: Vec<_> = traces.iter().flat_map(Trace::calls).collect();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].outcome, calls[0].result as u64), (Outcome::Emulated, calls[0].new));
}

#[test]
fn other_calls_are_forwarded() {
    let Some(platform) = platform() else { return };
    let preload = [format!("LD_PRELOAD={}", Artifacts::get().shim().display())];
    let busy = run(platform, &preload, &Artifacts::get().fixture("busy"), &["2", "100"]);
    assert_eq!(text(&busy.stdout), "busy: 200 calls\n", "{busy:?}");
}

/// gVisor's kernel does not wipe memory on fork.
#[test]
fn parent_and_child_are_recorded() {
    let Some(platform) = platform() else { return };
    let directory = tempfile::tempdir().expect("a directory for the traces");
    let variables = [
        format!("LD_PRELOAD={}", Artifacts::get().shim().display()),
        format!("MREMAP_SHIM_TRACE={}", directory.path().display()),
    ];
    let fixture = Artifacts::get().fixture("first_move_in_child");
    let output = run(platform, &variables, &fixture, &[]);
    assert!(output.status.success(), "{output:?}");
    let calls: Vec<usize> =
        traces_in(directory.path()).iter().map(|trace| trace.calls().len()).collect();
    assert_eq!(calls, [1, 1]);
}
