//! The outcomes of the oracle's cases are the same on every kernel: a transcript made by a kernel
//! with the feature is compared with the emulation on this one, and with the kernel itself where it
//! has the feature.
//!
//! The cases assume pages of 4 KiB and the limits of x86-64.
#![cfg(target_arch = "x86_64")]

use std::path::Path;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::output::{SOURCES, text};
use mremap_tests::preload::{Preload, alone, kernel_is, kernel_moves_several_vmas};
use mremap_tests::tracer::emulated;

/// Made by Linux 6.18 itself, the same on 6.17: `mremap-oracle transcript --seed 1 --cases 150`.
const TRANSCRIPT: &str = include_str!("../transcripts/oracle.txt");
const ARGUMENTS: [&str; 5] = ["transcript", "--seed", "1", "--cases", "150"];

/// What 5.10 cannot do, in the words of the transcript.
const DONTUNMAP_OF_FILES: &str = ", needs DONTUNMAP of shared memory or files";
/// What probing cannot see: such a VMA moves with others when it should not.
const DRIVERS_OWN: [&str; 2] = ["DevZero", "SystemV"];

/// The transcript's cases, each from its `case N` line on.
fn cases(text: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = text.match_indices("case ").map(|(at, _)| at).collect();
    starts.push(text.len());
    starts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// Since 6.11; before, the source `query` falls back to probing.
fn kernel_answers_queries() -> bool {
    !kernel_is("5.10") && !kernel_is("6.1")
}

/// Compares every case that this kernel and this source can do. Returns their number.
fn assert_same(who: &str, expected: &str, got: &str, can: impl Fn(&str) -> bool) -> usize {
    let expected = cases(expected);
    let got = cases(got);
    assert_eq!(got.len(), expected.len(), "{who}");
    let mut compared = 0;
    for (expected, got) in expected.iter().zip(got) {
        if can(expected) {
            assert_eq!(got, *expected, "{who}");
            compared += 1;
        }
    }
    compared
}

fn kernel_can(case: &str) -> bool {
    !kernel_is("5.10") || !case.contains(DONTUNMAP_OF_FILES)
}

/// The transcript, which this kernel itself must produce if it has the feature.
fn expected(program: &Path) -> String {
    if kernel_moves_several_vmas() {
        let native = text(&alone(program, &ARGUMENTS).stdout);
        // 7.3 lets less memory be read from outside, so that its transcript differs: there the
        // emulation is compared with the kernel itself.
        if kernel_is("7.3") {
            return native;
        }
        assert_same("native", TRANSCRIPT, &native, kernel_can);
    }
    TRANSCRIPT.to_owned()
}

#[test]
fn the_tracer_reproduces_the_transcript_of_a_kernel_with_the_feature() {
    let program = Artifacts::get().oracle();
    let expected = expected(&program);
    let directory = tempfile::tempdir().expect("a directory");
    let traces = directory.path().to_str().expect("a path in UTF-8");
    let run = emulated(&["--trace", traces], &program, &ARGUMENTS).output();
    let run = run.expect("the analyzer runs");
    assert!(run.status.success(), "{run:?}");
    let compared = assert_same("tracer", &expected, &text(&run.stdout), kernel_can);
    assert!(compared > 50, "only {compared} cases");
}

#[test]
fn reproduces_the_transcript_of_a_kernel_with_the_feature() {
    let program = Artifacts::get().oracle();
    let expected = expected(&program);
    for source in SOURCES {
        let run = Preload::new(&program)
            .args(&ARGUMENTS)
            .settings(&[("MODE", "emulate"), ("VMA_SOURCE", source)])
            .output();
        assert!(run.status.success(), "{source}: {run:?}");
        let sees_names = source != "bisect" && (source != "query" || kernel_answers_queries());
        let source_can =
            |case: &str| sees_names || !DRIVERS_OWN.iter().any(|name| case.contains(name));
        let compared = assert_same(source, &expected, &text(&run.stdout), |case| {
            kernel_can(case) && source_can(case)
        });
        assert!(compared > 50, "{source}: only {compared} cases");
    }
}
