//! Any bytes as a line of maps: read without a panic, and what is read holds together.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if let Some(parsed) = mremap_plan::maps::parse_line(line) {
        assert!(parsed.vma.range.start < parsed.vma.range.end);
        assert!(parsed.path.len() <= line.len());
    }
});
