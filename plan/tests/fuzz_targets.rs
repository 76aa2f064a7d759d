//! The fuzz targets' bodies, run by the stable compiler: over the inputs kept in `plan/fuzz/seeds`, over those with
//! bytes changed, and over random ones. Finding new inputs takes libFuzzer; see `docs/semantics.md`.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

/// The inputs kept for a target; there must be some.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files =
        fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let seeds: Vec<_> =
        files.flatten().map(|file| fs::read(file.path()).expect("a seed can be read")).collect();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

fn run(target: &str, body: fn(&[u8])) {
    let seeds = seeds(target);
    for seed in &seeds {
        body(seed);
    }
    let changed = (proptest::sample::select(seeds), any::<[(prop::sample::Index, u8); 4]>());
    let changed = changed.prop_map(|(mut seed, changes)| {
        let len = seed.len();
        for (place, byte) in changes.into_iter().filter(|_| len != 0) {
            let index = place.index(len);
            seed[index] = byte;
        }
        seed
    });
    let random = proptest::collection::vec(any::<u8>(), 0..400);
    proptest!(ProptestConfig::with_cases(2000), |(bytes in prop_oneof![changed, random])| body(&bytes));
}

#[test]
fn maps_line() {
    run("maps_line", bodies::maps_line);
}

#[test]
fn procmap_reply() {
    run("procmap_reply", bodies::procmap_reply);
}

#[test]
fn walk() {
    run("walk", bodies::walk);
}
