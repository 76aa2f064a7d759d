//! Moves under the preload library have the outcome of Linux 6.17 on every kernel.

use mremap_tests::artifacts::Artifacts;
use mremap_tests::output::{SOURCES, text};
use mremap_tests::preload::{Preload, alone, kernel_moves_several_vmas};
use mremap_tests::records;
use mremap_trace::{Capability, Module, Outcome, Record};

#[test]
fn examples_need_the_library_on_an_old_kernel() {
    let native = kernel_moves_several_vmas();
    let examples = Artifacts::get().examples();
    assert!(examples.len() >= 6, "{examples:?}");
    for example in examples {
        let program = Artifacts::get().example(&example);
        let alone = alone(&program, &[]);
        if native {
            assert!(alone.status.success(), "{example}: {alone:?}");
        } else {
            assert_eq!(alone.status.code(), Some(1), "{example} without the library: {alone:?}");
            assert!(
                text(&alone.stderr).starts_with(&format!("{example}: ")),
                "{example}: {alone:?}"
            );
        }
        for source in SOURCES {
            for mode in ["auto", "emulate"] {
                let settings = [("MODE", mode), ("VMA_SOURCE", source)];
                let run = Preload::new(&program).settings(&settings).output();
                assert!(run.status.success(), "{example}, {mode}, {source}: {run:?}");
                assert!(
                    !native || run.stdout == alone.stdout,
                    "{example}, {mode}, {source}: {run:?}"
                );
            }
        }
    }
}

#[test]
fn traces_the_call_with_its_parts_gaps_and_caller() {
    let (output, trace) = Preload::new(Artifacts::get().example("neighbour_under_gap"))
        .setting("MODE", "emulate")
        .traced();
    assert!(output.status.success(), "{output:?}");
    let calls = trace.calls();
    let [call] = calls.as_slice() else { panic!("one call: {calls:?}") };
    assert_eq!((call.outcome, call.flags, call.result as u64), (Outcome::Emulated, 3, call.new));
    let is_of = |module: &&Module| (module.start..module.end).contains(&call.caller);
    assert!(
        records!(trace, Module).any(|it| is_of(&it)),
        "the caller {:x} is in a recorded module",
        call.caller
    );

    let mut at = call.old;
    let mut under_gaps = 0;
    for record in &trace.records {
        match record {
            Record::Part(part) => {
                assert_eq!((part.start, part.errno), (at, 0), "parts and gaps follow one another");
                at = part.end;
            }
            Record::Gap(gap) => {
                assert_eq!(gap.start, at);
                at = gap.end;
                under_gaps += u32::from(gap.under == mremap_trace::Under::Mapped);
            }
            _ => {}
        }
    }
    assert_eq!(at, call.old + call.old_len, "to the end of the range");
    assert!(under_gaps > 0, "another VMA is under a gap");
}

#[test]
fn auto_forwards_moves_on_a_kernel_with_the_feature() {
    let (output, trace) = Preload::new(Artifacts::get().example("compacting_heap")).traced();
    assert!(output.status.success(), "{output:?}");
    let native = kernel_moves_several_vmas();
    let (outcome, capability) = if native {
        (Outcome::Native, Capability::MultiVma)
    } else {
        (Outcome::Emulated, Capability::OneVma)
    };
    assert!(trace.calls().iter().all(|call| call.outcome == outcome), "{:?}", trace.calls());
    assert_eq!(trace.header.capability, Some(capability));
}

/// A program that moves and prints nothing. Not `/bin/true`, which is static in guests.
fn idle_program() -> Preload {
    Preload::fixture("idle")
}

#[test]
fn reports_a_bad_setting_in_one_line_and_uses_the_default() {
    let run = idle_program().setting("MODE", "sometimes").output();
    assert!(run.status.success());
    assert_eq!(
        text(&run.stderr),
        "mremap-shim: MREMAP_SHIM_MODE=sometimes must be auto, emulate or passthrough; using auto\n"
    );
    let silent = idle_program().output();
    assert!(silent.stderr.is_empty() && silent.stdout.is_empty(), "{silent:?}");
}

#[test]
fn reports_an_unusable_trace_directory_in_one_line() {
    let run = Preload::fixture("idle").args(&["2"]).setting("TRACE", "/nowhere/at/all").output();
    assert_eq!(run.status.code(), Some(2), "its own status");
    let printed = text(&run.stderr);
    let lines: Vec<&str> =
        printed.lines().filter(|line| line.starts_with("mremap-shim: ")).collect();
    assert!(matches!(lines[..], [line] if line.contains("no trace: ")), "{run:?}");
}
