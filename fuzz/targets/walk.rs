//! Fuzzes [`mremap_fuzz::walk`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mremap_fuzz::walk(bytes));
