//! Which bytes of a trace to mutate.

use std::ops::Range;

use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE, SLOTS_PER_CHUNK};

/// The header's numbers, and the start of its short texts.
const HEAD: usize = 640;

/// Picks a range of a trace of `len` bytes by a random number: mostly one slot, because four fifths
/// of a short trace are the header's texts. Returns the whole if it has no chunk.
pub fn range_to_mutate(random: u64, len: usize) -> Range<usize> {
    let chunks = len.saturating_sub(HEADER_SIZE) / CHUNK_SIZE;
    if chunks == 0 {
        return 0..len;
    }
    let (kind, random) = (random % 16, random / 16);
    let chunk = HEADER_SIZE + (random % chunks as u64) as usize * CHUNK_SIZE;
    let slot = (random / chunks as u64 % u64::from(SLOTS_PER_CHUNK)) as usize;
    match kind {
        0 => 0..len,
        1 | 2 => 0..HEAD,
        3..6 => chunk..chunk + SLOT_SIZE,
        6 => chunk..chunk + CHUNK_SIZE,
        _ => chunk + slot * SLOT_SIZE..chunk + (slot + 1) * SLOT_SIZE,
    }
}
