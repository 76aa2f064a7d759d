//! The record of a call.

use super::words::{LOW_56, commit, high, low, pack_duration, pair, tag_of, unpack_duration};
use crate::layout::SLOT_WORDS;

/// What was done with a call. The numbers are the tags in the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// No move, or the shim only records: the kernel got the call as it was.
    PassedThrough = 1,
    /// A move, on a kernel with the multi-VMA move: the kernel got the call as it was.
    Native = 2,
    /// A move inside one VMA, which any kernel can do: one call to the kernel.
    OneVma = 3,
    /// A move that was split, one call for each part.
    Emulated = 4,
    /// A move that Linux 6.17 refuses before it touches anything: the kernel was not called.
    Refused = 5,
    /// A move that was being split when the record was last written.
    Begun = 6,
}

impl Outcome {
    /// Every outcome, in the order of the tags.
    pub const ALL: [Self; 6] = [
        Self::PassedThrough,
        Self::Native,
        Self::OneVma,
        Self::Emulated,
        Self::Refused,
        Self::Begun,
    ];

    /// The outcome that a record's tag stands for, if it is a call's.
    #[inline]
    pub const fn of_tag(tag: u8) -> Option<Self> {
        Some(match tag {
            1 => Self::PassedThrough,
            2 => Self::Native,
            3 => Self::OneVma,
            4 => Self::Emulated,
            5 => Self::Refused,
            6 => Self::Begun,
            _ => return None,
        })
    }
}

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
            outcome: Outcome::of_tag(tag_of(words))?,
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
