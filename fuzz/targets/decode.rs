//! Fuzzes [`mremap_fuzz::decode`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mremap_fuzz::decode(bytes));
