//! The calls of one chunk, where they stand: what a visitor does not ask for is never decoded.

use mremap_trace::layout::{SLOT_SIZE, SLOT_WORDS, SLOTS_PER_CHUNK};
use mremap_trace::{Call, Outcome, tag_of};

/// A chunk's slots.
pub type Slots = [[u8; SLOT_SIZE]; SLOTS_PER_CHUNK as usize];

/// Every slot but the chunk's header.
const ALL: u64 = !1;

/// Some calls of one chunk.
#[derive(Clone, Copy)]
pub struct Calls<'a> {
    slots: &'a Slots,
    /// Bit n: slot n is one of them.
    mask: u64,
}

impl<'a> Calls<'a> {
    /// The calls among the slots that a mask picks.
    pub fn among(slots: &'a Slots, picked: u64) -> Self {
        let is_call = |slot| Outcome::of_tag(tag_of(&words(slot))).is_some();
        let mask = if picked == ALL && slots.iter().skip(1).all(is_call) {
            ALL
        } else {
            let bits = slots
                .iter()
                .zip(0..)
                .map(|(slot, index)| u64::from(is_call(slot)) << index);
            bits.fold(0, std::ops::BitOr::bitor)
        };
        Self {
            slots,
            mask: mask & picked,
        }
    }

    /// Bit n: the call in slot n is one of them.
    pub fn mask(&self) -> u64 {
        self.mask
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.mask.count_ones() as usize
    }

    /// Each with its slot's index in the chunk.
    #[inline]
    pub fn iter(&self) -> Iter<'a> {
        Iter {
            slots: self.slots,
            left: Bits(self.mask),
        }
    }

    /// Hands each on with its place among them, in the order of slots. Nearly always every slot holds a call.
    #[inline]
    pub fn for_each(&self, mut take: impl FnMut(usize, Call)) {
        if self.mask != ALL {
            self.iter().enumerate().for_each(|(at, (_, call))| take(at, call));
            return;
        }
        for (at, slot) in self.slots.iter().skip(1).enumerate() {
            if let Some(call) = Call::decode(&words(slot)) {
                take(at, call);
            }
        }
    }

    /// Those that something holds for.
    pub fn filter(&self, mut holds: impl FnMut(&Call) -> bool) -> Self {
        let passed = self.iter().filter(|(_, call)| holds(call));
        Self {
            slots: self.slots,
            mask: passed.fold(0, |mask, (index, _)| mask | 1 << index),
        }
    }
}

/// Calls with their slots' indices.
pub struct Iter<'a> {
    slots: &'a Slots,
    left: Bits,
}

impl Iterator for Iter<'_> {
    type Item = (u32, Call);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let index = self.left.next()?;
        let call = Call::decode(&words(self.slots.get(index as usize)?))?;
        Some((index, call))
    }
}

/// The numbers of the bits that are set, lowest first.
pub struct Bits(pub u64);

impl Iterator for Bits {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let index = (self.0 != 0).then(|| self.0.trailing_zeros())?;
        self.0 &= self.0 - 1;
        Some(index)
    }
}

/// A slot's bytes as the words they were written as.
#[inline]
pub fn words(slot: &[u8; SLOT_SIZE]) -> [u64; SLOT_WORDS] {
    let mut words = [0; SLOT_WORDS];
    for (word, bytes) in words.iter_mut().zip(slot.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}
