//! Records that explain calls: modules, stacks, messages, and their text.

use super::tag;
use super::words::{LOW_56, commit, high, low, pair};
use crate::layout::{SLOT_WORDS, TEXT_PER_SLOT};
use crate::numbers::Level;

/// An executable mapping of a file; its path follows in text slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// First byte of the mapping.
    pub start: u64,
    /// End of the mapping.
    pub end: u64,
    /// Offset of the mapping in the file.
    pub offset: u64,
    /// Bytes of the path, in the text slots that follow.
    pub path_len: u32,
    /// Length of the build id, in bytes.
    pub build_id_len: u8,
    /// GNU build id.
    pub build_id: [u8; 20],
    /// Ticks from the trace's start until the module was first seen; the low 56 bits are stored. If
    /// several modules hold a caller, it is in the latest one that is not later than the call.
    pub since: u64,
}

/// Most frames, or words, that one record of a stack holds; a deeper stack takes several.
pub const FRAMES_PER_RECORD: usize = 6;

/// Return addresses above a call's caller, innermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// File-wide slot number of the call.
    pub call: u32,
    /// Index of the first of these frames in the whole stack; the caller is 0.
    pub first: u16,
    /// Number of frames.
    pub count: u16,
    /// Return addresses.
    pub frames: [u64; FRAMES_PER_RECORD],
}

/// Words of a call's stack, from which a reader with the modules' unwind tables finds the frames.
///
/// The entries of all records of a call form one list: the caller's stack pointer and frame pointer
/// as they are once the call has returned, then words of the stack in the order of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackWords {
    /// File-wide slot number of the call.
    pub call: u32,
    /// Index of the first of these entries in the whole list.
    pub first: u16,
    /// Number of entries.
    pub count: u16,
    /// The entries, made by [`StackWords::entry`].
    pub entries: [u64; FRAMES_PER_RECORD],
}

impl StackWords {
    /// Longest distance an entry can have.
    pub const LONGEST: u8 = u8::MAX;

    /// Makes an entry: a word, and its distance in words from the entry before it. The distance of
    /// the first word of the stack counts from the stack pointer, that of the two registers is 0.
    /// The value 0 is no word: it bridges a distance over [`StackWords::LONGEST`].
    #[inline]
    pub const fn entry(distance: u8, value: u64) -> u64 {
        (distance as u64) << 56 | value & LOW_56
    }

    /// Returns an entry's distance and value.
    #[inline]
    pub const fn split(entry: u64) -> (u8, u64) {
        ((entry >> 56) as u8, entry & LOW_56)
    }
}

/// A message of the shim; its text follows in text slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// How serious it is.
    pub level: Level,
    /// Bytes of the text.
    pub text_len: u32,
    /// Ticks.
    pub ticks: u64,
}

impl Module {
    #[inline]
    pub(super) fn encode(&self) -> [u64; SLOT_WORDS] {
        let id = |at: usize| {
            let mut bytes = [0; 8];
            let taken = &self.build_id[at..self.build_id.len().min(at + 8)];
            bytes[..taken.len()].copy_from_slice(taken);
            u64::from_ne_bytes(bytes)
        };
        [
            self.start,
            self.end,
            self.offset,
            pair(self.path_len, u32::from(self.build_id_len)),
            id(0),
            id(8),
            id(16),
            commit(tag::MODULE, self.since),
        ]
    }

    pub(super) fn decode([start, end, offset, w3, id @ .., last]: [u64; SLOT_WORDS]) -> Self {
        let mut build_id = [0; 20];
        let bytes = id.into_iter().flat_map(u64::to_ne_bytes);
        for (place, byte) in build_id.iter_mut().zip(bytes) {
            *place = byte;
        }
        Self {
            start,
            end,
            offset,
            path_len: low(w3),
            build_id_len: high(w3).min(20) as u8,
            build_id,
            since: last & LOW_56,
        }
    }
}

impl Message {
    #[inline]
    pub(super) fn encode(&self) -> [u64; SLOT_WORDS] {
        let text = pair(self.level as u32, self.text_len);
        [self.ticks, text, 0, 0, 0, 0, 0, commit(tag::MESSAGE, 0)]
    }

    pub(super) fn decode([ticks, w1, ..]: [u64; SLOT_WORDS]) -> Self {
        let level = Level::from_raw(low(w1)).unwrap_or_default();
        Self { level, text_len: high(w1), ticks }
    }
}

/// The words of a record that holds a piece of a list: which call's, and which piece.
#[inline]
fn encode_list(tag: u8, call: u32, [first, count]: [u16; 2], list: [u64; 6]) -> [u64; SLOT_WORDS] {
    let [v0, v1, v2, v3, v4, v5] = list;
    let piece = u32::from(first) | u32::from(count) << 16;
    [pair(call, piece), v0, v1, v2, v3, v4, v5, commit(tag, 0)]
}

/// The first entry's index and the number of entries, from a list record's first word.
fn piece_of(word: u64) -> [u16; 2] {
    let count = (high(word) >> 16).min(FRAMES_PER_RECORD as u32);
    [high(word) as u16, count as u16]
}

impl Stack {
    #[inline]
    pub(super) fn encode(&self) -> [u64; SLOT_WORDS] {
        encode_list(tag::STACK, self.call, [self.first, self.count], self.frames)
    }

    pub(super) fn decode([w0, frames @ .., _]: [u64; SLOT_WORDS]) -> Self {
        let [first, count] = piece_of(w0);
        Self { call: low(w0), first, count, frames }
    }
}

impl StackWords {
    #[inline]
    pub(super) fn encode(&self) -> [u64; SLOT_WORDS] {
        encode_list(tag::STACK_WORDS, self.call, [self.first, self.count], self.entries)
    }

    pub(super) fn decode([w0, entries @ .., _]: [u64; SLOT_WORDS]) -> Self {
        let [first, count] = piece_of(w0);
        Self { call: low(w0), first, count, entries }
    }
}

#[inline]
pub(super) fn encode_text(text: &[u8; TEXT_PER_SLOT]) -> [u64; SLOT_WORDS] {
    let mut words = [0; SLOT_WORDS];
    for (word, bytes) in words.iter_mut().zip(text.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words[SLOT_WORDS - 1] = commit(tag::TEXT, 0);
    words
}

pub(super) fn decode_text(words: [u64; SLOT_WORDS]) -> [u8; TEXT_PER_SLOT] {
    let mut text = [0; TEXT_PER_SLOT];
    for (bytes, word) in text.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.to_ne_bytes();
    }
    text
}
