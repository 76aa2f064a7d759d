//! The kept corpus, and golden traces with some of their bytes changed.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use mremap_hostile::{decode, load};

/// Changed copies of each golden trace; `HOSTILE_COPIES` asks for another number, of others than the first ones.
const COPIES: u64 = 150;

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_was_kept_is_read() {
    let kept = files("corpus");
    assert!(!kept.is_empty(), "the corpus is there");
    for file in kept {
        let bytes = fs::read(&file).unwrap();
        decode(&bytes);
        load(&bytes);
    }
}

/// Marsaglia's xorshift64.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A few bytes changed, here in the header and there in the records, and an end that may be anywhere.
fn change(bytes: &mut Vec<u8>, random: &mut u64) {
    for _ in 0..=next(random) % 40 {
        let range = if next(random).is_multiple_of(8) { 640 } else { bytes.len() as u64 };
        let at = (next(random) % range) as usize;
        bytes[at] = match next(random) % 4 {
            0 => 0,
            1 => 0xff,
            _ => next(random) as u8,
        };
    }
    if next(random).is_multiple_of(3) {
        let len = (next(random) % bytes.len() as u64) as usize;
        bytes.truncate(len.max(1000));
    }
}

#[test]
fn golden_traces_with_changed_bytes_are_read() {
    let asked = std::env::var("HOSTILE_COPIES").ok().and_then(|number| number.parse().ok());
    let mut random = 0x9e37_79b9_7f4a_7c15 ^ asked.unwrap_or(0);
    let golden = files("../analyzer/tests/golden/v1");
    for file in golden.iter().filter(|file| file.extension().is_some_and(|it| it == "mremap")) {
        let whole = fs::read(file).unwrap();
        for _ in 0..asked.unwrap_or(COPIES) {
            let mut bytes = whole.clone();
            change(&mut bytes, &mut random);
            decode(&bytes);
            load(&bytes);
        }
    }
}
