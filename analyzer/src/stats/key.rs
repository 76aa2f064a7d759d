//! What calls are told apart by: where they came from, and what was done with them.

use mremap_trace::Outcome;

/// Bits of a return address that the format keeps.
const ADDRESS_BITS: u32 = 56;

/// A return address and the index of an outcome in one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// No call's.
    pub const NONE: Self = Self(u64::MAX);

    /// Of a call.
    #[inline]
    pub fn new(caller: u64, outcome: Outcome) -> Self {
        Self(caller | (outcome as u64 - 1) << ADDRESS_BITS)
    }

    /// The return address.
    #[inline]
    pub fn caller(self) -> u64 {
        self.0 & ((1 << ADDRESS_BITS) - 1)
    }

    /// Which outcome it is, in the order of the tags, from 0 on.
    pub fn outcome(self) -> usize {
        (self.0 >> ADDRESS_BITS) as usize
    }

    /// The same outcome at address 0, "unknown".
    pub fn anywhere(self) -> Self {
        Self(self.0 >> ADDRESS_BITS << ADDRESS_BITS)
    }

    /// A place in a table of 2^`bits` places.
    #[inline]
    pub fn place(self, bits: u32) -> usize {
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - bits)) as usize
    }
}
