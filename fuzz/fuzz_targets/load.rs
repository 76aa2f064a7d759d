//! `mremap_hostile::load` holds for any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mremap_hostile::load(bytes));
