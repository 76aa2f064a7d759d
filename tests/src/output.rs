//! The output of a tested program.

use std::process::Output;

use crate::artifacts::Artifacts;
use crate::preload::{Preload, alone, kernel_moves_several_vmas};

/// The values of `MREMAP_SHIM_VMA_SOURCE`.
pub const SOURCES: [&str; 4] = ["auto", "query", "maps", "bisect"];

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The number in a fixture's `NAME: N calls`.
///
/// # Panics
///
/// The fixture failed, or its last line has no number.
pub fn calls_made(output: &Output) -> u64 {
    let printed = text(&output.stdout);
    let words: Vec<&str> = printed.lines().last().unwrap_or_default().split(' ').collect();
    match words.as_slice() {
        [_, count, "calls"] if output.status.success() => count.parse().expect("a number"),
        _ => panic!("no count of calls: {output:?}"),
    }
}

/// Compares a fixture's output with `expected`, unless it printed `cannot: REASON`.
///
/// # Panics
/// The output differs, or the fixture failed.
pub fn assert_says(who: &str, expected: &str, run: &Output) {
    let printed = text(&run.stdout);
    if printed.starts_with("cannot: ") {
        println!("{who}: {printed}");
        return;
    }
    assert_eq!(printed, expected, "{who}: {run:?}");
    assert!(run.status.success(), "{who}: {run:?}");
}

/// Runs a fixture natively where the kernel has the feature, then emulated with each of these VMA
/// sources, and compares its output as [`assert_says`] does.
pub fn assert_moves_say(fixture: &str, arguments: &[&str], expected: &str, sources: &[&str]) {
    if kernel_moves_several_vmas() {
        let native = alone(Artifacts::get().fixture(fixture), arguments);
        assert_says("natively", expected, &native);
    }
    for source in sources {
        let run = Preload::emulated(fixture, arguments, source).output();
        assert_says(source, expected, &run);
    }
}
