//! A call in its slot's bytes, for readers of hundreds of millions of calls.

use super::call::is_errno;
use super::words::{low, unpack_duration};
use crate::layout::SLOT_SIZE;
use crate::numbers::Outcome;

/// A slot that may hold a call. Each field is loaded when it is read. Unless
/// [`StoredCall::is_call`], the other fields are meaningless.
#[derive(Clone, Copy, Debug)]
pub struct StoredCall<'a>(pub &'a [u8; SLOT_SIZE]);

impl StoredCall<'_> {
    #[inline]
    fn word<const INDEX: usize>(self) -> u64 {
        u64::from_ne_bytes(self.0.as_chunks().0[INDEX])
    }

    /// Whether the slot holds a call.
    #[inline]
    pub fn is_call(self) -> bool {
        let tag = (self.origin() >> 56) as u8;
        tag.wrapping_sub(Outcome::PassedThrough as u8) < Outcome::ALL.len() as u8
    }

    /// Returns the ticks when the call was made.
    #[inline]
    pub fn ticks(self) -> u64 {
        self.word::<0>()
    }

    /// Returns the ticks until the call returned.
    #[inline]
    pub fn duration(self) -> u64 {
        unpack_duration(self.packed_duration())
    }

    /// Returns the duration as stored: in ticks if below 2^31.
    #[inline]
    pub fn packed_duration(self) -> u32 {
        low(self.word::<1>())
    }

    /// Returns the first argument.
    #[inline]
    pub fn old(self) -> u64 {
        self.word::<2>()
    }

    /// Returns the second argument.
    #[inline]
    pub fn old_len(self) -> u64 {
        self.word::<3>()
    }

    /// Returns the third argument.
    #[inline]
    pub fn new_len(self) -> u64 {
        self.word::<4>()
    }

    /// Returns the result: an address, or `-errno`.
    #[inline]
    pub fn result(self) -> u64 {
        self.word::<6>()
    }

    /// Whether the call failed.
    #[inline]
    pub fn has_failed(self) -> bool {
        is_errno(self.result() as i64)
    }

    /// Returns the caller, with the tag in the top byte.
    #[inline]
    pub fn origin(self) -> u64 {
        self.word::<7>()
    }
}
