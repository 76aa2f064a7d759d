//! Situations in which a careless library hangs, crashes or changes what the program does. Each
//! fixture checks its own memory and prints how many calls it made; all of them must be in the
//! traces.

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::output::{assert_says, calls_made, text};
use mremap_tests::preload::{Preload, is_guest, sum_of_calls};

const MODES: [&str; 2] = ["auto", "emulate"];

/// Runs a fixture in every mode, untraced and traced. Every call must be recorded or counted.
fn check_fixture(name: &str, arguments: &[&str]) {
    let program = Artifacts::get().fixture(name);
    for mode in MODES {
        let run = || Preload::new(&program).args(arguments).setting("MODE", mode);
        calls_made(&run().output());
        let (output, traces) = run().traced_with_children();
        let recorded = sum_of_calls(&traces);
        assert_eq!(recorded, calls_made(&output), "{name} {arguments:?}, {mode}: {output:?}");
    }
}

#[test]
fn works_before_constructors_and_after_main() {
    check_fixture("early_and_late", &[]);
}

#[test]
fn counts_calls_before_its_constructor() {
    let (_, trace) = Preload::fixture("early_and_late").traced();
    assert_eq!(trace.header.lost_early, 4, "the four calls from .preinit_array");
}

#[test]
fn works_on_the_smallest_stacks() {
    check_fixture("small_stacks", &[]);
}

#[test]
fn works_in_children_of_every_kind() {
    // Programs load slowly on an emulated processor, so guests run the kinds that do not exec.
    let kinds = ["fork", "vfork", "clone", "daemon", "fork-exec", "between", "vfork-exec", "spawn"];
    for kind in &kinds[..if is_guest() { 2 } else { 8 }] {
        check_fixture("children", &[kind, "2"]);
    }
}

#[test]
fn works_in_constructors_and_threads_while_libraries_are_loaded_and_unloaded() {
    let plugin = Artifacts::get().fixture("libmoving_plugin.so");
    check_fixture("plugins", &[plugin.to_str().expect("a path in UTF-8")]);
}

#[test]
fn calls_no_function_of_the_host_in_the_hook() {
    check_fixture("no_outside_calls", &[]);
}

#[test]
fn works_when_malloc_fills_memory() {
    for mode in MODES {
        let mut run = Preload::new(Artifacts::get().example("signal_moves")).setting("MODE", mode);
        run.command().env("MALLOC_PERTURB_", "165");
        let (output, trace) = run.traced();
        assert!(output.status.success(), "{mode}: {output:?}");
        assert_eq!(trace.calls().len(), 100, "{mode}");
    }
}

#[test]
fn reads_no_stack_frame_across_a_guard_page() {
    let (output, trace) = Preload::fixture("stack_guard").setting("STACK", "16").traced();
    assert_eq!(trace.calls().len() as u64, calls_made(&output), "{output:?}");
}

#[test]
fn refuses_to_move_memory_under_read_write_protection_with_other_memory() {
    let rwp = || Preload::fixture("rwp");
    assert_says("alone", "refused\n", &rwp().setting("MODE", "passthrough").output());
    assert_says("emulated", "refused\n", &rwp().setting("MODE", "emulate").output());
}

/// Runs `confined.c`, which gives up a privilege or resource and then moves.
fn check_confined(how: &str, mode: &str) {
    let directory = tempfile::tempdir().expect("a directory for the trace");
    for traced in [false, true] {
        let mut run = Preload::fixture("confined").args(&[how]).setting("MODE", mode);
        if traced {
            run = run.setting("TRACE", directory.path());
        }
        let output = run.output();
        if !need::permission(&format!("moves after {how}"), &output) {
            return;
        }
        assert!(output.status.success(), "{how}, {mode}: {output:?}");
    }
}

#[test]
fn works_after_the_program_has_given_up_privileges_or_resources() {
    for how in
        ["chroot", "setuid", "unshare", "close-range", "no-descriptors", "no-proc", "seccomp-errno"]
    {
        for mode in MODES {
            check_confined(how, mode);
        }
    }
}

#[test]
fn survives_a_filter_that_kills_for_any_other_call() {
    for how in [
        "seccomp-kill",
        "seccomp-kill-by-number",
        "seccomp-kill-by-number-of-prctl",
        "seccomp-kill-before-exec",
        "seccomp-kill-mmap-flags",
        "seccomp-kill-mremap-flags",
    ] {
        for mode in MODES {
            check_confined(how, mode);
        }
    }
}

#[test]
fn works_in_a_child_that_a_signal_handler_forked() {
    // Forks are slow on an emulated processor.
    let forks = if is_guest() { "10" } else { "300" };
    for mode in ["passthrough", "auto", "emulate"] {
        for detail in ["calls", "vmas"] {
            for keep in ["first", "last"] {
                let directory = tempfile::tempdir().expect("a directory for the traces");
                let output = Preload::fixture("forking_handler")
                    .args(&[forks])
                    .settings(&[("MODE", mode), ("TRACE_SIZE", "256K")])
                    .settings(&[("TRACE_KEEP", keep), ("TRACE_DETAIL", detail)])
                    .setting("TRACE", directory.path())
                    .output();
                assert!(output.status.success(), "{mode}, {keep}, {detail}: {output:?}");
            }
        }
    }
}

#[test]
fn works_in_a_child_whose_first_call_is_a_move() {
    for mode in MODES {
        let (output, traces) =
            Preload::fixture("first_move_in_child").setting("MODE", mode).traced_with_children();
        assert!(output.status.success(), "{mode}: {output:?}");
        assert_eq!(traces.iter().map(|trace| trace.calls().len()).sum::<usize>(), 2, "{mode}");
    }
}

/// The depths of stack that `stack_depth.c` measured, by name.
fn stack_depths(mode: &str, source: &str, detail: Option<&str>) -> Vec<(String, u64)> {
    let directory = tempfile::tempdir().expect("a directory for the trace");
    let mut run =
        Preload::fixture("stack_depth").settings(&[("MODE", mode), ("VMA_SOURCE", source)]);
    if let Some(detail) = detail {
        run = run.setting("TRACE", directory.path()).setting("TRACE_DETAIL", detail);
    }
    let output = run.output();
    assert!(output.status.success(), "{mode}, {source}: {output:?}");
    let printed = text(&output.stdout);
    let depths = printed.lines().map(|line| {
        let (name, depth) = line.split_once(' ').expect("a name and a depth");
        (name.to_owned(), depth.parse().expect("a depth"))
    });
    depths.collect()
}

#[test]
fn uses_little_stack() {
    const PASSING: u64 = 2048;
    const MOVING: u64 = 6144;
    for mode in MODES {
        for source in ["query", "maps", "bisect"] {
            for detail in [None, Some("calls"), Some("vmas")] {
                let depths = stack_depths(mode, source, detail);
                assert_eq!(depths.len(), 5, "{depths:?}");
                for (name, depth) in depths {
                    let is_passing = name.starts_with("passed-through");
                    let limit = if is_passing { PASSING } else { MOVING };
                    println!("{mode} {source} {detail:?} {name}: {depth} bytes of stack");
                    assert!(
                        depth <= limit,
                        "{mode}, {source}, {detail:?}: {name} takes {depth} bytes"
                    );
                }
            }
        }
    }
}
