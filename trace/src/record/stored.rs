//! A call where it stands, for readers of hundreds of millions.

use super::call::is_errno;
use super::words::{low, unpack_duration};
use crate::layout::SLOT_SIZE;
use crate::numbers::Outcome;

/// A slot that may hold a call. Nothing is loaded before it is asked for, and nothing is checked: what is not said by
/// [`StoredCall::is_call`] means nothing where there is none.
#[derive(Clone, Copy, Debug)]
pub struct StoredCall<'a>(pub &'a [u8; SLOT_SIZE]);

impl StoredCall<'_> {
    #[inline]
    fn word<const INDEX: usize>(self) -> u64 {
        u64::from_ne_bytes(self.0.as_chunks().0[INDEX])
    }

    /// Whether there is a call.
    #[inline]
    pub fn is_call(self) -> bool {
        let tag = (self.origin() >> 56) as u8;
        tag.wrapping_sub(Outcome::PassedThrough as u8) < Outcome::ALL.len() as u8
    }

    /// Clock ticks at entry.
    #[inline]
    pub fn ticks(self) -> u64 {
        self.word::<0>()
    }

    /// Clock ticks until return.
    #[inline]
    pub fn duration(self) -> u64 {
        unpack_duration(self.packed_duration())
    }

    /// The same as it is stored: the number itself where it is below 2^31.
    #[inline]
    pub fn packed_duration(self) -> u32 {
        low(self.word::<1>())
    }

    /// First argument.
    #[inline]
    pub fn old(self) -> u64 {
        self.word::<2>()
    }

    /// Second argument.
    #[inline]
    pub fn old_len(self) -> u64 {
        self.word::<3>()
    }

    /// Third argument.
    #[inline]
    pub fn new_len(self) -> u64 {
        self.word::<4>()
    }

    /// An address, or minus the errno.
    #[inline]
    pub fn result(self) -> u64 {
        self.word::<6>()
    }

    /// Whether it failed.
    #[inline]
    pub fn has_failed(self) -> bool {
        is_errno(self.result() as i64)
    }

    /// Return address, with the tag of the outcome in the top byte.
    #[inline]
    pub fn origin(self) -> u64 {
        self.word::<7>()
    }
}
