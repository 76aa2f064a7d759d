//! What calls are told apart by: where they came from, and what was done with them.

use mremap_trace::{Outcome, StoredCall};

/// Bits of a return address that the format keeps.
const ADDRESS_BITS: u32 = 56;

/// A return address and an outcome in one number, the one that a record has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// No call's.
    pub const NONE: Self = Self(u64::MAX);

    /// Of a call.
    #[inline]
    pub fn of(call: StoredCall<'_>) -> Self {
        Self(call.origin())
    }

    /// Of calls from an address with an outcome.
    pub fn new(caller: u64, outcome: Outcome) -> Self {
        Self(caller | (outcome as u64) << ADDRESS_BITS)
    }

    /// Of calls from an address, whatever their outcome.
    pub fn of_caller(caller: u64) -> Self {
        Self(caller)
    }

    /// The return address.
    #[inline]
    pub fn caller(self) -> u64 {
        self.0 & ((1 << ADDRESS_BITS) - 1)
    }

    /// Which outcome it is, in the order of the tags, from 0 on.
    pub fn outcome(self) -> usize {
        ((self.0 >> ADDRESS_BITS) as usize).wrapping_sub(1)
    }

    /// The same outcome at address 0, "unknown".
    pub fn anywhere(self) -> Self {
        Self(self.0 >> ADDRESS_BITS << ADDRESS_BITS)
    }

    /// A place in a table of 2^(64 - `shift`) places.
    #[inline]
    pub fn place(self, shift: u32) -> usize {
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (shift % u64::BITS)) as usize
    }
}
