//! What a call is understood by: modules, stacks, the shim's own messages, and their text.

use super::tag;
use super::words::{commit, high, low, pair};
use crate::layout::{SLOT_WORDS, TEXT_PER_SLOT};
use crate::numbers::Level;

/// An executable mapping of a file; its path follows in text slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// First byte of the mapping.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// Offset in the file of the first byte.
    pub offset: u64,
    /// Bytes of the path, in the text slots that follow.
    pub path_len: u32,
    /// Bytes of the build id that count.
    pub build_id_len: u8,
    /// GNU build id.
    pub build_id: [u8; 20],
}

/// Most frames one stack record holds; a deeper stack takes several.
pub const FRAMES_PER_RECORD: usize = 6;

/// Return addresses above a call's own caller, innermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// File-wide slot number of the call.
    pub call: u32,
    /// Place of the first of these frames in the whole stack; the call's own caller is 0.
    pub first: u16,
    /// Frames that count.
    pub count: u16,
    /// Return addresses.
    pub frames: [u64; FRAMES_PER_RECORD],
}

/// A diagnostic of the shim's own; its text follows in text slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// How serious it is.
    pub level: Level,
    /// Bytes of the text.
    pub text_len: u32,
    /// Clock ticks.
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
            commit(tag::MODULE, 0),
        ]
    }

    pub(super) fn decode([start, end, offset, w3, id @ .., _]: [u64; SLOT_WORDS]) -> Self {
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

impl Stack {
    #[inline]
    pub(super) fn encode(&self) -> [u64; SLOT_WORDS] {
        let [f0, f1, f2, f3, f4, f5] = self.frames;
        let place = u32::from(self.first) | u32::from(self.count) << 16;
        let call = pair(self.call, place);
        [call, f0, f1, f2, f3, f4, f5, commit(tag::STACK, 0)]
    }

    pub(super) fn decode([w0, frames @ .., _]: [u64; SLOT_WORDS]) -> Self {
        Self {
            call: low(w0),
            first: high(w0) as u16,
            count: (high(w0) >> 16).min(FRAMES_PER_RECORD as u32) as u16,
            frames,
        }
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
