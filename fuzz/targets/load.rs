//! Fuzzes [`mremap_fuzz::load`].
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| mremap_fuzz::load(bytes));

// Most bytes of a trace are room for text: mutate the others.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let range = mremap_fuzz::range_to_mutate(u64::from(seed), size);
    if range.len() == size {
        return fuzzer_mutate(data, size, max_size);
    }
    let bytes = &mut data[range];
    // The trace keeps its length; the mutator may have chosen another.
    fuzzer_mutate(bytes, bytes.len(), bytes.len());
    size
});
