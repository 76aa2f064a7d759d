//! `mremap_hostile::decode` holds for any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mremap_hostile::decode(bytes));
