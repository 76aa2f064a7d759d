//! `mremap-conformance`: a kernel with the multi-VMA move conforms; one without it conforms in
//! everything else, and in all under the library or the tracer.
//!
//! The cases have pages of 4 KiB and the limits of x86-64.
#![cfg(target_arch = "x86_64")]

use std::process::Output;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::preload::{Preload, alone, is_guest, kernel_is, kernel_moves_several_vmas};
use mremap_tests::tracer::emulated;

const ARGUMENTS: [&str; 2] = ["--cases", "200"];

/// The lines of the tests that differ.
fn differing(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let count = text.lines().filter(|line| line.contains("ok ") && line.contains(" - ")).count();
    assert!(text.contains(&format!("1..{count}\n")), "as many tests as planned: {text}");
    assert!(count > 200, "{text}");
    text.lines().filter(|line| line.starts_with("not ok")).map(str::to_owned).collect()
}

fn natively() -> Output {
    alone(Artifacts::get().conformance(), &ARGUMENTS)
}

/// What 5.10 cannot do, with or without the library: `DONTUNMAP` of shared memory and files, and
/// moves of huge pages.
fn is_beyond_5_10(line: &str) -> bool {
    line.contains("DONTUNMAP") || line.contains("huge")
}

#[test]
fn a_kernel_with_the_feature_conforms() {
    if !kernel_moves_several_vmas() {
        return;
    }
    let output = natively();
    assert_eq!(differing(&output), [""; 0]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_kernel_without_the_feature_differs_in_moves_of_several_vmas() {
    if kernel_moves_several_vmas() {
        return;
    }
    let output = natively();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let differing = differing(&output);
    for several in ["gap_of_a_tebibyte", "sixty_four_vmas_alternating", "dev_zero_first:"] {
        assert!(differing.iter().any(|line| line.contains(several)), "{several}: {differing:?}");
    }
    let one_vma = |line: &&String| line.contains(": move, 1 part #") || line.contains("resize:");
    assert_eq!(differing.iter().find(one_vma), None);
}

#[test]
fn the_library_makes_every_kernel_conform() {
    let program = Artifacts::get().conformance();
    let run = Preload::new(program).args(&ARGUMENTS).setting("MODE", "emulate").output();
    assert_conforms(&run);
}

#[test]
fn the_tracer_makes_every_kernel_conform() {
    let artifacts = Artifacts::get();
    let has_feature = kernel_moves_several_vmas();
    let mut programs = vec![artifacts.static_conformance()];
    // A guest takes half a minute for each.
    if !is_guest() {
        programs.push(artifacts.conformance());
    }
    for program in programs {
        let untraced = alone(&program, &ARGUMENTS);
        assert_eq!(untraced.status.success(), has_feature, "{untraced:?}");
        let directory = tempfile::tempdir().expect("a directory");
        let traces = directory.path().to_str().expect("a path in UTF-8");
        let run = emulated(&["--trace", traces], &program, &ARGUMENTS).output();
        assert_conforms(&run.expect("the analyzer runs"));
    }
}

/// Checks that nothing differs but what the kernel cannot do at all.
fn assert_conforms(run: &Output) {
    let mut differing = differing(run);
    if kernel_is("5.10") {
        differing.retain(|line| !is_beyond_5_10(line));
    }
    assert_eq!(differing, [""; 0], "{}", String::from_utf8_lossy(&run.stdout));
}
