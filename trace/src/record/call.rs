//! The record of a call.

use super::words::{LOW_56, commit, high, low, pack_duration, pair, tag_of, unpack_duration};
use crate::layout::SLOT_WORDS;
use crate::numbers::Outcome;

/// One call of `mremap`, arguments as the program gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was done.
    pub outcome: Outcome,
    /// Clock ticks at entry.
    pub ticks: u64,
    /// Clock ticks until return; beyond 2^31 kept to a multiple of 1024.
    pub duration: u64,
    /// First argument.
    pub old: u64,
    /// Second argument.
    pub old_len: u64,
    /// Third argument.
    pub new_len: u64,
    /// Fourth argument.
    pub flags: u32,
    /// Fifth argument; whatever was in its register when the flags ask for none.
    pub new: u64,
    /// What the kernel's own call returns: an address, or minus the errno.
    pub result: i64,
    /// Return address of the call; 56 bits are kept.
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

    /// The call in a slot, if its words hold one. What is not asked for is not decoded.
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

    /// The errno of a failed call.
    #[inline]
    pub fn errno(&self) -> Option<u32> {
        is_errno(self.result).then(|| self.result.unsigned_abs() as u32)
    }
}

#[inline]
pub(super) fn is_errno(result: i64) -> bool {
    (-4095..0).contains(&result)
}
