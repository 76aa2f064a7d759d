//! The key that calls are grouped by: return address and outcome.

use mremap_trace::{Outcome, StoredCall};

/// Width of a return address in the trace format.
const ADDRESS_BITS: u32 = 56;

/// A return address and an outcome, packed as in a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// Equals no call's key.
    pub const NONE: Self = Self(u64::MAX);

    /// The key of a call.
    #[inline]
    pub fn of(call: StoredCall<'_>) -> Self {
        Self(call.origin())
    }

    /// The key of calls from an address with an outcome.
    pub fn new(caller: u64, outcome: Outcome) -> Self {
        Self(caller | (outcome as u64) << ADDRESS_BITS)
    }

    /// A key with the address alone.
    pub fn of_caller(caller: u64) -> Self {
        Self(caller)
    }

    /// The return address.
    #[inline]
    pub fn caller(self) -> u64 {
        self.0 & ((1 << ADDRESS_BITS) - 1)
    }

    /// Index of the outcome in `OUTCOMES`.
    pub fn outcome(self) -> usize {
        ((self.0 >> ADDRESS_BITS) as usize).wrapping_sub(1)
    }

    /// The key for the same outcome at address 0, which means unknown.
    pub fn anywhere(self) -> Self {
        Self(self.0 >> ADDRESS_BITS << ADDRESS_BITS)
    }

    /// Index in a hash table of 2^(64 - `shift`) entries.
    #[inline]
    pub fn index(self, shift: u32) -> usize {
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (shift % u64::BITS)) as usize
    }
}
