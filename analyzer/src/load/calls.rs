//! The calls of one chunk, in their slots' bytes: fields that a visitor does not read are not
//! decoded.

use mremap_trace::layout::{SLOT_SIZE, SLOT_WORDS, SLOTS_PER_CHUNK};
use mremap_trace::{Call, StoredCall};

/// A chunk's slots.
pub type Slots = [[u8; SLOT_SIZE]; SLOTS_PER_CHUNK as usize];

/// Some of the calls of one chunk.
#[derive(Clone, Copy)]
pub struct Calls<'a> {
    slots: &'a Slots,
    /// Bit n: slot n holds one of the calls.
    mask: u64,
    /// Bit n: slot n failed, if it holds a call.
    failed: u64,
}

impl<'a> Calls<'a> {
    /// Finds the calls among the slots that a mask selects.
    pub fn among(slots: &'a Slots, picked: u64) -> Self {
        let (mut mask, mut failed) = (0, 0);
        // Each step rotates the masks by one bit: after 64 the first slot's bit is the lowest.
        for slot in slots {
            let call = StoredCall(slot);
            mask = (mask | u64::from(call.is_call())).rotate_right(1);
            failed = (failed | u64::from(call.has_failed())).rotate_right(1);
        }
        Self { slots, mask: mask & picked, failed }
    }

    /// Returns a mask: bit n is set if slot n holds one of the calls.
    pub fn mask(&self) -> u64 {
        self.mask
    }

    /// Returns the number of calls.
    pub fn len(&self) -> usize {
        self.mask.count_ones() as usize
    }

    /// Whether there are no calls.
    pub fn is_empty(&self) -> bool {
        self.mask == 0
    }

    /// Iterates over the calls, each with its slot's index in the chunk.
    #[inline]
    pub fn iter(&self) -> Iter<'a> {
        Iter { slots: self.slots, left: Bits(self.mask) }
    }

    /// Returns the call in a slot, if it is one of these.
    pub fn get(&self, index: u32) -> Option<Call> {
        let is_one = self.mask.checked_shr(index).unwrap_or(0) & 1 == 1;
        let slot = self.slots.get(index as usize).filter(|_| is_one)?;
        Call::decode(&words(slot))
    }

    /// Returns the calls in the slots that a mask selects.
    #[must_use]
    pub fn within(&self, picked: u64) -> Self {
        Self { mask: self.mask & picked, ..*self }
    }

    /// Returns the calls that failed.
    #[must_use]
    pub fn failed(&self) -> Self {
        Self { mask: self.mask & self.failed, ..*self }
    }

    /// Returns the calls that succeeded.
    #[must_use]
    pub fn succeeded(&self) -> Self {
        Self { mask: self.mask & !self.failed, ..*self }
    }

    /// Calls `take` with each call and its slot's index. Faster than `iter`: calls mostly fill
    /// slots in a row.
    #[inline]
    pub fn for_each(&self, mut take: impl FnMut(usize, StoredCall<'a>)) {
        let mut left = self.mask;
        while left != 0 {
            let first = left.trailing_zeros();
            let end = first + (left >> first).trailing_ones();
            let run = self.slots.get(first as usize..end as usize).unwrap_or(&[]);
            for (slot, index) in run.iter().zip(first as usize..) {
                take(index, StoredCall(slot));
            }
            left &= u64::MAX.checked_shl(end).unwrap_or(0);
        }
    }

    /// Returns a slot of the chunk, of any kind.
    pub fn slot(&self, index: u32) -> Option<&'a [u8; SLOT_SIZE]> {
        self.slots.get(index as usize)
    }

    /// Iterates over all slots of the chunk, of any kind.
    #[inline]
    pub fn slots(&self) -> impl Iterator<Item = StoredCall<'a>> + use<'a> {
        self.slots.iter().map(StoredCall)
    }

    /// Keeps the calls that match a predicate.
    #[must_use]
    pub fn filter(&self, mut holds: impl FnMut(u32, &Call) -> bool) -> Self {
        let passed = self.iter().filter(|(slot, call)| holds(*slot, call));
        Self { mask: passed.fold(0, |mask, (index, _)| mask | 1 << index), ..*self }
    }
}

impl<'a> IntoIterator for &Calls<'a> {
    type Item = (u32, Call);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterator over calls, each with its slot's index.
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

/// Iterator over the indices of the set bits, lowest first.
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

/// Returns a slot's bytes as words.
#[inline]
pub fn words(slot: &[u8; SLOT_SIZE]) -> [u64; SLOT_WORDS] {
    let mut words = [0; SLOT_WORDS];
    for (word, bytes) in words.iter_mut().zip(slot.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use mremap_trace::{Call, Outcome, Record, StoredCall};

    use super::{Calls, SLOT_SIZE};

    fn slot(record: &Record) -> [u8; SLOT_SIZE] {
        let mut slot = [0; SLOT_SIZE];
        for (bytes, word) in slot.as_chunks_mut().0.iter_mut().zip(record.encode()) {
            *bytes = word.to_ne_bytes();
        }
        slot
    }

    #[test]
    fn finds_calls_and_failed_calls_among_other_records() {
        let call = |index: usize| Call {
            outcome: Outcome::ALL[index % 6],
            ticks: index as u64,
            duration: 1 << (index % 41),
            old: 1,
            old_len: 2,
            new_len: 3,
            flags: 4,
            new: 5,
            result: [1 << 40, -1, -4095, -4096][index % 4],
            caller: 6,
        };
        // Slots 0 to 6 and every seventh hold no call.
        let is_call = |index: usize| index > 6 && !index.is_multiple_of(7);
        let slots = std::array::from_fn(|index| match index {
            0..=6 => [[0, 7, 8, 16, 20, 21, 255][index]; SLOT_SIZE],
            _ if is_call(index) => slot(&Record::Call(call(index))),
            _ => slot(&Record::Padding),
        });
        let picked = !(1 << 63);
        let calls = Calls::among(&slots, picked);
        let those = |calls: &Calls<'_>| {
            let mut found = Vec::new();
            calls.for_each(|slot, _| found.push(slot));
            let by_iter: Vec<_> = calls.iter().map(|(slot, _)| slot as usize).collect();
            assert_eq!(found, by_iter);
            found
        };
        let among = |holds: fn(usize) -> bool| {
            (0..63).filter(|at| is_call(*at) && holds(*at)).collect::<Vec<_>>()
        };
        assert_eq!(those(&calls), among(|_| true));
        assert_eq!(those(&calls.failed()), among(|at| [1, 2].contains(&(at % 4))));
        assert_eq!(those(&calls.succeeded()), among(|at| [0, 3].contains(&(at % 4))));
        calls.for_each(|at, stored| assert_eq!(fields(stored), fields_of(&call(at))));
    }

    fn fields(call: StoredCall<'_>) -> ([u64; 6], bool) {
        let place = [call.old(), call.old_len(), call.new_len(), call.result()];
        let [old, old_len, new_len, result] = place;
        let failed = call.has_failed();
        ([call.ticks(), call.duration(), old, old_len, new_len, result], failed)
    }

    fn fields_of(call: &Call) -> ([u64; 6], bool) {
        let Call { ticks, duration, old, old_len, new_len, result, .. } = *call;
        // As it is stored.
        let duration = if duration < 1 << 31 { duration } else { duration >> 10 << 10 };
        ([ticks, duration, old, old_len, new_len, result as u64], call.errno().is_some())
    }
}
