//! The checks over the corpus, and over mutations of it and of the golden traces.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use mremap_fuzz::{decode, load, maps_line, procmap_reply, walk};
use proptest::prelude::*;
use proptest::sample::Index;

/// Mutations of the golden traces; `FUZZ_CASES` sets another number.
const CASES: u32 = 450;

/// The contents of a folder's files, as far as their names end with `ending`.
fn contents(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(ending));
    files.sort();
    assert!(!files.is_empty(), "{} has inputs", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Runs a check over its corpus, over the corpus with bytes changed, and over random bytes.
fn run(check: fn(&[u8]), target: &str) {
    let seeds = contents(&format!("corpus/{target}"), "");
    for seed in &seeds {
        check(seed);
    }
    let random = prop::collection::vec(any::<u8>(), 0..400);
    let inputs = prop_oneof![changed(seeds, 4), random];
    proptest!(ProptestConfig::with_cases(2000), |(bytes in inputs)| check(&bytes));
}

/// One of the inputs with up to `most` of its bytes changed.
fn changed(inputs: Vec<Vec<u8>>, most: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0), Just(0xff), any::<u8>()];
    let changes = prop::collection::vec((any::<Index>(), byte), 0..=most);
    (prop::sample::select(inputs), changes).prop_map(|(mut bytes, changes)| {
        for (place, byte) in changes {
            if !bytes.is_empty() {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    })
}

#[test]
fn maps_lines_are_parsed() {
    run(maps_line, "maps_line");
}

#[test]
fn procmap_replies_are_read() {
    run(procmap_reply, "procmap_reply");
}

#[test]
fn walks_end() {
    run(walk, "walk");
}

#[test]
fn the_corpus_of_traces_is_read() {
    for bytes in contents("corpus/trace", "") {
        decode(&bytes);
        load(&bytes);
    }
}

#[test]
fn golden_traces_with_changed_bytes_are_read() {
    let cases = std::env::var("FUZZ_CASES").ok().and_then(|number| number.parse().ok());
    let golden = contents("../analyzer/tests/golden/v1", ".mremap");
    let header = (any::<Index>(), any::<u8>());
    let headers = prop::collection::vec(header, 0..6);
    let inputs = (changed(golden, 40), headers, prop::option::weighted(0.3, any::<Index>()));
    let config = ProptestConfig::with_cases(cases.unwrap_or(CASES));
    proptest!(config, |((mut bytes, headers, end) in inputs)| {
        // The header is small and matters most.
        for (place, byte) in headers {
            bytes[place.index(640)] = byte;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()).max(1000));
        }
        decode(&bytes);
        load(&bytes);
    });
}
