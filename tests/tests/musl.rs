//! The same library file in programs linked with musl, as on Alpine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::output::{calls_made, text};
use mremap_tests::preload::{Preload, alone, sum_of_calls, traces_in};

fn linked_with_musl(source: &str, flags: &[&str]) -> Option<PathBuf> {
    Artifacts::get().linked_with_musl(source, flags)
}

#[test]
fn examples_run_as_without_the_library() {
    // Not signal_moves: musl's malloc maps memory into the gaps of its source.
    for example in ["compacting_heap", "neighbour_under_gap", "relocatable_arena", "snapshot"] {
        for flags in [&[][..], &["-no-pie"][..]] {
            let source = format!("examples/{example}.c");
            let Some(program) = linked_with_musl(&source, flags) else { return };
            let alone = alone(&program, &[]);
            for mode in ["auto", "emulate"] {
                let run = || Preload::new(&program).setting("MODE", mode);
                let untraced = run().output();
                assert!(untraced.status.success(), "{example}, {mode}: {untraced:?}");
                let (output, traces) = run().traced_with_children();
                assert!(sum_of_calls(&traces) > 0, "{example}, {mode}: {output:?}");
                // Without the library the kernel may lack the move.
                if alone.status.success() {
                    assert_eq!((&untraced, &output), (&alone, &alone), "{example}, {mode}");
                }
            }
        }
    }
}

/// Runs a fixture untraced and traced. Every call must be recorded.
fn check(program: &Path, arguments: &[&str]) {
    for mode in ["auto", "emulate"] {
        let run = || Preload::new(program).args(arguments).setting("MODE", mode);
        calls_made(&run().output());
        let (output, traces) = run().traced_with_children();
        let name = program.display();
        assert_eq!(sum_of_calls(&traces), calls_made(&output), "{name} {arguments:?}, {mode}");
    }
}

#[test]
fn records_every_call_of_threads_and_children() {
    let Some(busy) = linked_with_musl("tests/fixtures/busy.c", &[]) else { return };
    check(&busy, &["4", "1000"]);
    let Some(children) = linked_with_musl("tests/fixtures/children.c", &[]) else { return };
    for kind in ["fork", "vfork", "clone", "daemon", "fork-exec", "between", "vfork-exec", "spawn"]
    {
        check(&children, &[kind, "2"]);
    }
}

#[test]
fn works_in_constructors_of_loaded_libraries() {
    let plugin = linked_with_musl("tests/fixtures/libmoving_plugin.c", &["-shared", "-fPIC"]);
    let Some(plugin) = plugin else { return };
    let Some(plugins) = linked_with_musl("tests/fixtures/plugins.c", &["-rdynamic"]) else {
        return;
    };
    let arguments = [plugin.to_str().expect("a path in UTF-8")];
    for mode in ["auto", "emulate"] {
        let (output, traces) =
            Preload::new(&plugins).args(&arguments).setting("MODE", mode).traced_with_children();
        // musl unloads nothing: the plugin's last calls come after the count.
        assert!(sum_of_calls(&traces) >= calls_made(&output), "{mode}: {output:?}");
    }
}

#[test]
fn survives_filters_that_kill_for_any_other_call() {
    let Some(confined) = linked_with_musl("tests/fixtures/confined.c", &[]) else { return };
    let directory = tempfile::tempdir().expect("a directory for the trace");
    for how in ["seccomp-kill", "seccomp-kill-before-exec", "seccomp-kill-mmap-flags"] {
        for traced in [false, true] {
            let mut run = Preload::new(&confined).args(&[how]).setting("MODE", "emulate");
            if traced {
                run = run.setting("TRACE", directory.path());
            }
            let output = run.output();
            assert!(output.status.success(), "{how}: {output:?}");
        }
    }
}

/// The version of musl that Debian 12 has, whose `mremap` is known.
const KNOWN: &str = "1.2.3";

#[test]
fn records_reallocations_in_a_patched_libc_or_says_why_not() {
    let Some(growing) = linked_with_musl("tests/fixtures/growing.c", &[]) else { return };
    let traces = tempfile::tempdir().expect("a directory for the traces");
    let output =
        Preload::new(&growing).setting("LIBC", "patch").setting("TRACE", traces.path()).output();
    assert_eq!(text(&output.stdout), "growing: done\n", "{output:?}");
    let loader = format!("/lib/ld-musl-{}.so.1", std::env::consts::ARCH);
    let libc = fs::read(loader).expect("musl is installed");
    if libc.windows(KNOWN.len()).any(|bytes| bytes == KNOWN.as_bytes()) {
        assert_eq!(text(&output.stderr), "");
        assert!(sum_of_calls(&traces_in(traces.path())) > 100);
    } else {
        let why = "the code of libc's mremap is unknown\n";
        let printed = text(&output.stderr);
        assert!(printed.ends_with(why), "{printed}");
    }
}

#[test]
fn run_traces_a_program_linked_with_musl() {
    let Some(program) = linked_with_musl("tests/fixtures/busy.c", &[]) else { return };
    let traces = tempfile::tempdir().expect("a directory for the traces");
    let output = Command::new(Artifacts::get().analyzer())
        .args(["run", "--mode", "emulate", "--shim"])
        .arg(Artifacts::get().shim())
        .arg("--trace")
        .args([traces.path(), Path::new("--"), &program])
        .args(["1", "10"])
        .output()
        .expect("the analyzer runs");
    assert_eq!(text(&output.stdout), "busy: 10 calls\n", "{output:?}");
    assert_eq!(sum_of_calls(&traces_in(traces.path())), 10);
}

#[test]
fn a_program_of_another_libc_starts_another_one() {
    let Some(program) = linked_with_musl("tests/fixtures/busy.c", &[]) else { return };
    let Some(shell) = need::file("/bin/sh", "dash") else { return };
    let command = format!("{} 1 10 && echo done", program.display());
    let (output, traces) = Preload::new(shell)
        .args(&["-c", &command])
        .setting("MODE", "emulate")
        .traced_with_children();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), "busy: 10 calls\ndone\n");
    assert_eq!(sum_of_calls(&traces), 10);
}
