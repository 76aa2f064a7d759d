//! How fields share a word.

use crate::layout::SLOT_WORDS;

/// Bits of a slot's last word below its tag.
pub(super) const LOW_56: u64 = (1 << 56) - 1;

/// Makes the last word: the tag, and 56 bits below it.
#[inline]
pub(super) fn commit(tag: u8, rest: u64) -> u64 {
    u64::from(tag) << 56 | rest & LOW_56
}

/// Returns the tag in a slot's last word; 0 if the record is unfinished.
#[inline]
pub fn tag_of(words: &[u64; SLOT_WORDS]) -> u8 {
    (words[SLOT_WORDS - 1] >> 56) as u8
}

#[inline]
pub(super) fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[inline]
pub(super) fn low(word: u64) -> u32 {
    word as u32
}

#[inline]
pub(super) fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Packs a duration: below 2^31 as it is, else in units of 1024 with the top bit set, up to 2^41.
#[inline]
pub(super) fn pack_duration(ticks: u64) -> u32 {
    if ticks < 1 << 31 { ticks as u32 } else { 1 << 31 | (ticks >> 10).min((1 << 31) - 1) as u32 }
}

#[inline]
pub(super) fn unpack_duration(packed: u32) -> u64 {
    if packed < 1 << 31 { u64::from(packed) } else { u64::from(packed & !(1 << 31)) << 10 }
}
