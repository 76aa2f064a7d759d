//! Parts, gaps and summary of a move.

use super::tag;
use super::words::{commit, high, low, pair};
use crate::layout::SLOT_WORDS;
use crate::numbers::{FoundBy, Under};

/// Totals of an emulated move or, with detail `vmas`, of any move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// File-wide slot number of the call.
    pub call: u32,
    /// Parts moved.
    pub parts: u32,
    /// Gaps, including a trailing one.
    pub gaps: u32,
    /// Parts discovered again because another thread changed them.
    pub retries: u32,
    /// Bytes moved.
    pub bytes: u64,
    /// The method that found the VMAs.
    pub source: FoundBy,
}

/// One part of a moved range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// File-wide slot number of the call.
    pub call: u32,
    /// The errno of the failed move of this part, or 0.
    pub errno: u32,
    /// The part: first byte.
    pub start: u64,
    /// The part: its end.
    pub end: u64,
    /// The whole VMA if the source reports it, else the part.
    pub vma_start: u64,
    /// Its end.
    pub vma_end: u64,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Ticks the part took.
    pub duration: u32,
    /// Bit 0 read, 1 write, 2 execute, 3 shared; bit 7: the others are known.
    pub protection: u8,
}

/// One gap of a moved range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// File-wide slot number of the call.
    pub call: u32,
    /// The gap in the source: first byte.
    pub start: u64,
    /// Its end.
    pub end: u64,
    /// What was mapped at its target.
    pub under: Under,
}

impl Summary {
    #[inline]
    pub(super) fn encode(&self) -> [u64; SLOT_WORDS] {
        [
            pair(self.call, self.retries),
            pair(self.parts, self.gaps),
            self.bytes,
            pair(self.source as u32, 0),
            0,
            0,
            0,
            commit(tag::SUMMARY, 0),
        ]
    }

    pub(super) fn decode([w0, w1, bytes, w3, ..]: [u64; SLOT_WORDS]) -> Self {
        Self {
            call: low(w0),
            retries: high(w0),
            parts: low(w1),
            gaps: high(w1),
            bytes,
            source: FoundBy::from_raw(low(w3)).unwrap_or_default(),
        }
    }
}

impl Part {
    #[inline]
    pub(super) fn encode(&self) -> [u64; SLOT_WORDS] {
        [
            pair(self.call, self.errno),
            self.start,
            self.end,
            self.vma_start,
            self.vma_end,
            self.offset,
            pair(self.duration, u32::from(self.protection)),
            commit(tag::PART, 0),
        ]
    }

    pub(super) fn decode(words: [u64; SLOT_WORDS]) -> Self {
        let [w0, start, end, vma_start, vma_end, offset, w6, _] = words;
        Self {
            call: low(w0),
            errno: high(w0),
            start,
            end,
            vma_start,
            vma_end,
            offset,
            duration: low(w6),
            protection: high(w6) as u8,
        }
    }
}

impl Gap {
    #[inline]
    pub(super) fn encode(&self) -> [u64; SLOT_WORDS] {
        let call = pair(self.call, self.under as u32);
        [call, self.start, self.end, 0, 0, 0, 0, commit(tag::GAP, 0)]
    }

    pub(super) fn decode([w0, start, end, ..]: [u64; SLOT_WORDS]) -> Self {
        Self { call: low(w0), start, end, under: Under::from_raw(high(w0)).unwrap_or_default() }
    }
}
