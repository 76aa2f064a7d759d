//! What a program under test printed.

use std::process::Output;

/// Bytes as text, whatever they are.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The number in a fixture's `NAME: N calls`.
///
/// # Panics
///
/// When the fixture failed, or did not say so much.
pub fn calls_made(output: &Output) -> u64 {
    let said = text(&output.stdout);
    let words: Vec<&str> = said.lines().last().unwrap_or_default().split(' ').collect();
    match words.as_slice() {
        [_, count, "calls"] if output.status.success() => count.parse().expect("a number"),
        _ => panic!("no count of calls: {output:?}"),
    }
}

/// Holds what a fixture said to what it must say, unless it said that something cannot be had here.
///
/// # Panics
/// It said something else, or ended otherwise than well.
pub fn assert_says(who: &str, expected: &str, run: &Output) {
    let said = text(&run.stdout);
    if said.starts_with("cannot: ") {
        println!("{who}: {said}");
        return;
    }
    assert_eq!(said, expected, "{who}: {run:?}");
    assert!(run.status.success(), "{who}: {run:?}");
}
