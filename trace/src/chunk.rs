//! A chunk: a page of slots that one thread fills, with a reading of all clocks at its start.

use crate::layout::{self, chunk as at};
use crate::record::Record;
use crate::text::{put, u32_at, u64_at};

/// Slot 0 of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkHeader {
    /// Thread that writes the chunk; 0 while the chunk is claimed and not yet begun.
    pub tid: u32,
    /// Slots claimed so far, slot 0 included; may exceed the chunk when its thread ran into the end.
    pub claimed: u32,
    /// Clock ticks when the chunk was begun.
    pub ticks: u64,
    /// `CLOCK_MONOTONIC` in ns at the same moment.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME` in ns at the same moment.
    pub realtime_ns: u64,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A whole record.
    Complete(Record),
    /// Claimed, and its writer never came to the commit word: it was killed, or is still at it.
    Torn,
    /// A tag this version does not know.
    Unknown(u8),
}

impl ChunkHeader {
    /// Writes the chunk's header to slot 0.
    pub fn encode(&self, bytes: &mut [u8]) {
        put(bytes, at::CLAIMED, &self.claimed.to_ne_bytes());
        put(bytes, at::TICKS, &self.ticks.to_ne_bytes());
        put(bytes, at::MONOTONIC_NS, &self.monotonic_ns.to_ne_bytes());
        put(bytes, at::REALTIME_NS, &self.realtime_ns.to_ne_bytes());
        put(bytes, at::TID, &self.tid.to_ne_bytes());
    }

    /// Reads a chunk's header; `None` when the bytes end before it does.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            tid: u32_at(bytes, at::TID)?,
            claimed: u32_at(bytes, at::CLAIMED)?,
            ticks: u64_at(bytes, at::TICKS)?,
            monotonic_ns: u64_at(bytes, at::MONOTONIC_NS)?,
            realtime_ns: u64_at(bytes, at::REALTIME_NS)?,
        })
    }

    /// The claimed slots of this chunk, each with its index in the chunk (1 to 63), as far as `bytes` reach.
    pub fn slots<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (u32, Slot)> + 'a {
        (1..self.claimed.min(layout::SLOTS_PER_CHUNK)).map_while(move |index| {
            let start = index as usize * layout::SLOT_SIZE;
            let mut words = [0; layout::SLOT_WORDS];
            for (number, word) in words.iter_mut().enumerate() {
                *word = u64_at(bytes, start + number * 8)?;
            }
            Some((index, Record::decode(words)))
        })
    }
}
