//! A chunk: 64 slots, of which the first holds the chunk's header.

use crate::layout::{self, chunk as at};
use crate::record::{Record, Slot};
use crate::text::{put, u32_at, u64_at};

/// A chunk's number, writers and claimed slots in one word: one atomic addition claims slots and
/// shows whether a later chunk has replaced this one.
///
/// ```text
///  63           32 31        16 15         0
/// |  number       |  writers   |  claimed   |
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimWord(pub u64);

impl ClaimWord {
    /// Added for one more writer.
    pub const ONE_WRITER: u64 = 1 << 16;
    /// Added to the claimed slots of a closed chunk: no slot can be claimed, those claimed are
    /// valid.
    pub const CLOSED: u32 = 0x4000;
    /// Added to the claimed slots of a void chunk: its calls are counted as overwritten, and no
    /// slot is valid.
    pub const VOID: u32 = 0x6000;

    /// Makes a word without writers.
    pub const fn new(number: u32, claimed: u32) -> Self {
        Self((number as u64) << 32 | (claimed & 0xffff) as u64)
    }

    /// Returns the number of the chunk, counted over all laps.
    pub const fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Returns the slots claimed if the chunk has this number, else more than a chunk has.
    pub const fn claimed_in(self, number: u32) -> u64 {
        (self.0 ^ (number as u64) << 32) & !(0xffff << 16)
    }

    /// Returns the number of claims whose slots are not filled yet. Counted only if the last
    /// records are kept.
    pub const fn writers(self) -> u32 {
        (self.0 >> 16) as u32 & 0xffff
    }

    /// Returns the slots claimed, slot 0 included. Exceeds the chunk if its last claim did not fit.
    pub const fn claimed(self) -> u32 {
        self.0 as u32 & 0xffff
    }
}

/// Slot 0 of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkHeader {
    /// The thread of the first records; 0 before the chunk is begun, `u32::MAX` if `gettid` was not
    /// allowed.
    pub tid: u32,
    /// Number of the chunk, counted over all laps.
    pub number: u32,
    /// Slots claimed, slot 0 included; [`ClaimWord::CLOSED`] or [`ClaimWord::VOID`] more while a
    /// later chunk replaces this one.
    pub claimed: u32,
    /// Ticks when the chunk was begun.
    pub ticks: u64,
    /// `CLOCK_MONOTONIC` at that moment, in ns.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME` at that moment, in ns.
    pub realtime_ns: u64,
    /// Calls of earlier chunks overwritten at this position.
    pub overwritten: u64,
    /// The same including this chunk's calls: holds while the chunk is void.
    pub overwritten_next: u64,
}

impl ChunkHeader {
    /// Writes the header to slot 0, the start of `bytes`.
    pub fn encode(&self, bytes: &mut [u8]) {
        let claims = ClaimWord::new(self.number, self.claimed);
        put(bytes, at::CLAIMS, &claims.0.to_ne_bytes());
        put(bytes, at::TICKS, &self.ticks.to_ne_bytes());
        put(bytes, at::MONOTONIC_NS, &self.monotonic_ns.to_ne_bytes());
        put(bytes, at::REALTIME_NS, &self.realtime_ns.to_ne_bytes());
        put(bytes, at::OVERWRITTEN, &self.overwritten.to_ne_bytes());
        put(bytes, at::OVERWRITTEN_NEXT, &self.overwritten_next.to_ne_bytes());
        put(bytes, at::TID, &self.tid.to_ne_bytes());
    }

    /// Reads the header in slot 0; `None` if the bytes end inside it.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let claims = ClaimWord(u64_at(bytes, at::CLAIMS)?);
        Some(Self {
            tid: u32_at(bytes, at::TID)?,
            number: claims.number(),
            claimed: claims.claimed(),
            ticks: u64_at(bytes, at::TICKS)?,
            monotonic_ns: u64_at(bytes, at::MONOTONIC_NS)?,
            realtime_ns: u64_at(bytes, at::REALTIME_NS)?,
            overwritten: u64_at(bytes, at::OVERWRITTEN)?,
            overwritten_next: u64_at(bytes, at::OVERWRITTEN_NEXT)?,
        })
    }

    /// Returns the number of valid slots, slot 0 included: at most [`layout::SLOTS_PER_CHUNK`], and
    /// 0 if the chunk is void.
    pub fn valid_slots(&self) -> u32 {
        let claimed = match self.claimed {
            ClaimWord::VOID.. => 0,
            ClaimWord::CLOSED.. => self.claimed - ClaimWord::CLOSED,
            claimed => claimed,
        };
        claimed.min(layout::SLOTS_PER_CHUNK)
    }

    /// Whether a later chunk is replacing this one and its slots are no longer valid.
    pub fn is_void(&self) -> bool {
        self.claimed >= ClaimWord::VOID
    }

    /// Returns the number of calls overwritten at this position.
    pub fn overwritten_calls(&self) -> u64 {
        if self.is_void() { self.overwritten_next } else { self.overwritten }
    }

    /// Returns the valid slots inside `bytes`, each with its index in the chunk (1 to 63).
    pub fn slots<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (u32, Slot)> + 'a {
        (1..self.valid_slots()).map_while(move |index| {
            let start = index as usize * layout::SLOT_SIZE;
            let mut words = [0; layout::SLOT_WORDS];
            for (number, word) in words.iter_mut().enumerate() {
                *word = u64_at(bytes, start + number * 8)?;
            }
            Some((index, Record::decode(words)))
        })
    }
}
