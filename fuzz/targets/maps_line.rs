//! Fuzzes [`mremap_fuzz::maps_line`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mremap_fuzz::maps_line(bytes));
