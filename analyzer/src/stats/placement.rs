//! Whether mappings grew in place, moved, shrank.

use std::hint::select_unpredictable;

use mremap_trace::StoredCall;

use super::bytes::Bytes;

/// How a call changed its mapping.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// Whether the address changed.
    pub moved: bool,
    /// Bytes relocated if so, else bytes grown in place.
    pub bytes: u64,
}

impl Change {
    /// The bytes of a call that requested `requested` bytes.
    pub fn bytes(self, requested: u64) -> Bytes {
        let (relocated, grown) = if self.moved { (self.bytes, 0) } else { (0, self.bytes) };
        Bytes::new(requested.into(), relocated.into(), grown.into())
    }
}

/// Successful calls by what happened to their mapping.
#[derive(Clone, Copy, Debug, Default)]
pub struct Placement {
    /// Grew at the same address.
    pub grown_in_place: u64,
    /// Grew and moved.
    pub grown_and_moved: u64,
    /// Shrank.
    pub shrunk: u64,
    /// Moved at the same size.
    pub moved: u64,
    /// Same address and size.
    pub unchanged: u64,
}

impl Placement {
    /// Adds the calls of another one.
    pub fn merge(&mut self, other: &Self) {
        self.grown_in_place += other.grown_in_place;
        self.grown_and_moved += other.grown_and_moved;
        self.shrunk += other.shrunk;
        self.moved += other.moved;
        self.unchanged += other.unchanged;
    }
}

/// Counts a process's calls with one branchless addition each.
#[derive(Default)]
pub struct PlacementTally {
    /// Indexed by the bitwise OR of [`MOVED`], [`SHRUNK`] and [`GROWN`].
    calls: [u64; 8],
    within_page: u64,
    whole_pages: u64,
}

/// The address changed.
const MOVED: u32 = 1;
/// The mapping has fewer pages.
const SHRUNK: u32 = 2;
/// The mapping has more pages.
const GROWN: u32 = 4;

impl PlacementTally {
    /// An empty tally for a page size in bytes.
    pub fn new(page_size: u32) -> Self {
        let within_page = u64::from(page_size.saturating_sub(1));
        Self { calls: [0; 8], within_page, whole_pages: !within_page }
    }

    /// Counts a call.
    pub fn take(&mut self, call: StoredCall<'_>) -> Change {
        let pages = |len: u64| len.saturating_add(self.within_page) & self.whole_pages;
        self.count(call, pages(call.old_len()), pages(call.new_len()))
    }

    /// Counts a call whose lengths are at least a page below 2^64.
    #[inline]
    pub fn take_ordinary(&mut self, call: StoredCall<'_>) -> Change {
        let pages = |len: u64| len.wrapping_add(self.within_page) & self.whole_pages;
        self.count(call, pages(call.old_len()), pages(call.new_len()))
    }

    #[inline]
    fn count(&mut self, call: StoredCall<'_>, old: u64, new: u64) -> Change {
        let moved = call.result() != call.old();
        let change = u32::from(new < old) * SHRUNK + u32::from(new > old) * GROWN;
        self.calls[(u32::from(moved) * MOVED + change) as usize % 8] += 1;
        let bytes = select_unpredictable(moved, old.min(new), new.saturating_sub(old));
        Change { moved, bytes }
    }

    /// The totals.
    pub fn finish(&self) -> Placement {
        let calls = |kind: u32| self.calls[kind as usize];
        Placement {
            grown_in_place: calls(GROWN),
            grown_and_moved: calls(GROWN + MOVED),
            shrunk: calls(SHRUNK) + calls(SHRUNK + MOVED),
            moved: calls(MOVED),
            unchanged: calls(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use mremap_trace::{Call, Outcome, Record, StoredCall};

    use super::{Change, Placement, PlacementTally};

    fn placed(
        lengths: &[(u64, u64, bool)],
        mut take: impl FnMut(&mut PlacementTally, StoredCall<'_>) -> Change,
    ) -> Placement {
        let mut tally = PlacementTally::new(4096);
        for (old_len, new_len, moved) in lengths {
            let call = Record::Call(Call {
                outcome: Outcome::Native,
                ticks: 0,
                duration: 0,
                old: 0,
                old_len: *old_len,
                new_len: *new_len,
                flags: 1,
                new: 0,
                result: i64::from(*moved) << 40,
                caller: 0,
            });
            let mut slot = [0; 64];
            for (bytes, word) in slot.as_chunks_mut().0.iter_mut().zip(call.encode()) {
                *bytes = word.to_ne_bytes();
            }
            take(&mut tally, StoredCall(&slot));
        }
        tally.finish()
    }

    #[test]
    fn classifies_calls_by_whole_pages() {
        let ordinary = [
            (1, 4096, false),
            (4096, 4097, false),
            (4096, 8192, true),
            (8192, 1, true),
            (4096, 4000, true),
            (0, 0, false),
        ];
        let huge = [(u64::MAX, u64::MAX - 9, false), (4096, u64::MAX, true)];
        let sums = |placement: Placement| {
            let grown = (placement.grown_in_place, placement.grown_and_moved);
            (grown, placement.shrunk, placement.moved, placement.unchanged)
        };
        let quickly = placed(&ordinary, PlacementTally::take_ordinary);
        assert_eq!(sums(quickly), ((1, 1), 1, 1, 2));
        let all = [&ordinary[..], &huge[..]].concat();
        let all = placed(&all, PlacementTally::take);
        assert_eq!(sums(all), ((1, 2), 1, 1, 3));
    }
}
