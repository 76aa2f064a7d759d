//! Fuzzes [`mremap_fuzz::procmap_reply`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mremap_fuzz::procmap_reply(bytes));
