//! `mremap_hostile::load` holds for any bytes.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| mremap_hostile::load(bytes));

// Most bytes of a trace are room for text: changes are aimed at the rest.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let piece = mremap_hostile::piece(u64::from(seed), size);
    if piece.len() == size {
        return fuzzer_mutate(data, size, max_size);
    }
    let piece = &mut data[piece];
    // What is beyond a piece that became shorter stays as it was.
    fuzzer_mutate(piece, piece.len(), piece.len());
    size
});
