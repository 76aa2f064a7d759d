//! A chunk: a page of slots that one thread fills, with a reading of all clocks at its start.

use crate::layout::{self, chunk as at};
use crate::record::{Record, Slot};
use crate::text::{put, u32_at, u64_at};

/// A chunk's number, its writers and the slots claimed in one word, so that one atomic addition claims slots
/// and tells whether the chunk is still the one its thread knew.
///
/// ```text
///  63           32 31        16 15         0
/// |  number       |  writers   |  claimed   |
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimWord(pub u64);

impl ClaimWord {
    /// One writer more, added to a word.
    pub const ONE_WRITER: u64 = 1 << 16;
    /// Added to the count of slots: the chunk is being taken over, and no slot of it can be claimed. Those that were
    /// claimed before are still what they were.
    pub const CLOSED: u32 = 0x4000;
    /// Added instead: those have been counted as overwritten, and say nothing any more.
    pub const VOID: u32 = 0x6000;

    /// A word from its parts.
    pub const fn new(number: u32, claimed: u32) -> Self {
        Self((number as u64) << 32 | (claimed & 0xffff) as u64)
    }

    /// Which chunk this is; where the last records are kept, a position holds many in turn.
    pub const fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Slots claimed so far if the chunk is number `number`; for any other chunk more than a chunk can have.
    pub const fn claimed_in(self, number: u32) -> u64 {
        (self.0 ^ (number as u64) << 32) & !(0xffff << 16)
    }

    /// Writers that have claimed slots and not yet filled them. Counted only where the last records are kept.
    pub const fn writers(self) -> u32 {
        (self.0 >> 16) as u32 & 0xffff
    }

    /// Slots claimed so far, slot 0 included; may exceed the chunk when its thread ran into the end.
    pub const fn claimed(self) -> u32 {
        self.0 as u32 & 0xffff
    }
}

/// Slot 0 of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkHeader {
    /// Thread that writes the chunk; 0 while the chunk is claimed and not yet begun, `u32::MAX` when the
    /// thread could not be asked for its number.
    pub tid: u32,
    /// Number of the chunk, counted through all laps.
    pub number: u32,
    /// Slots claimed so far, slot 0 included; may exceed the chunk when its thread ran into the end. While the chunk is
    /// being taken over, [`ClaimWord::CLOSED`] or [`ClaimWord::VOID`] more.
    pub claimed: u32,
    /// Clock ticks when the chunk was begun.
    pub ticks: u64,
    /// `CLOCK_MONOTONIC` in ns at the same moment.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME` in ns at the same moment.
    pub realtime_ns: u64,
    /// Calls of earlier chunks overwritten at this position.
    pub overwritten: u64,
    /// The same with the calls of this chunk, which counts while it is void.
    pub overwritten_next: u64,
}

impl ChunkHeader {
    /// Writes the chunk's header to slot 0.
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

    /// Reads a chunk's header; `None` when the bytes end before it does.
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

    /// Slots that hold something or will, slot 0 included: at most [`layout::SLOTS_PER_CHUNK`]. None of a void chunk.
    pub fn valid_slots(&self) -> u32 {
        let claimed = match self.claimed {
            ClaimWord::VOID.. => 0,
            ClaimWord::CLOSED.. => self.claimed - ClaimWord::CLOSED,
            claimed => claimed,
        };
        claimed.min(layout::SLOTS_PER_CHUNK)
    }

    /// Whether the chunk is void: being emptied for later records.
    pub fn is_void(&self) -> bool {
        self.claimed >= ClaimWord::VOID
    }

    /// Calls overwritten at this position.
    pub fn overwritten_calls(&self) -> u64 {
        if self.is_void() { self.overwritten_next } else { self.overwritten }
    }

    /// The claimed slots of this chunk, each with its index in the chunk (1 to 63), as far as `bytes` reach.
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
