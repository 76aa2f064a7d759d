//! The record of a call.

use super::words::{LOW_56, commit, high, low, pack_duration, pair, tag_of, unpack_duration};
use crate::layout::SLOT_WORDS;
use crate::numbers::Outcome;

/// One call of `mremap`, with the arguments that the program gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was done.
    pub outcome: Outcome,
    /// Ticks when the call was made.
    pub ticks: u64,
    /// Ticks until it returned. From 2^31 on, rounded down to a multiple of 1024.
    pub duration: u64,
    /// First argument.
    pub old: u64,
    /// Second argument.
    pub old_len: u64,
    /// Third argument.
    pub new_len: u64,
    /// Fourth argument.
    pub flags: u32,
    /// Fifth argument. Arbitrary if the flags do not use it.
    pub new: u64,
    /// An address, or `-errno`.
    pub result: i64,
    /// Return address of the call; the low 56 bits are stored.
    pub caller: u64,
}

impl Call {
    #[inline]
    pub(super) fn encode(&self) -> [u64; SLOT_WORDS] {
        [
            self.ticks,
            pair(pack_duration(self.duration), self.flags),
            self.old,
            self.old_len,
            self.new_len,
            self.new,
            self.result as u64,
            commit(self.outcome as u8, self.caller),
        ]
    }

    /// Decodes the call in a slot's words, if they hold one.
    #[inline]
    pub fn decode(words: &[u64; SLOT_WORDS]) -> Option<Self> {
        let &[ticks, duration_and_flags, old, old_len, new_len, new, result, last] = words;
        Some(Self {
            outcome: Outcome::from_raw(tag_of(words))?,
            ticks,
            duration: unpack_duration(low(duration_and_flags)),
            flags: high(duration_and_flags),
            old,
            old_len,
            new_len,
            new,
            result: result as i64,
            caller: last & LOW_56,
        })
    }

    /// Returns the errno of a failed call.
    #[inline]
    pub fn errno(&self) -> Option<u32> {
        is_errno(self.result).then(|| self.result.unsigned_abs() as u32)
    }
}

#[inline]
pub(super) fn is_errno(result: i64) -> bool {
    (-4095..0).contains(&result)
}
