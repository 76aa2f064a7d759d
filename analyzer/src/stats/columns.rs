//! A chunk's calls as columns: sums over columns take a few instructions a call, since the loops have no
//! branches and work on two numbers at a time.

use mremap_trace::Call;
use mremap_trace::layout::SLOTS_PER_CHUNK;

use super::counts::Placement;
use super::histogram::buckets;
use super::key::Key;
use crate::load::{Calls, Clock};

/// Calls of a chunk, at most.
const ROOM: usize = SLOTS_PER_CHUNK as usize;

/// The calls of one chunk. What stands behind the last call is left over from an earlier chunk.
pub struct Columns {
    len: usize,
    ticks: [u64; ROOM],
    durations: [u64; ROOM],
    buckets: [u64; ROOM],
    old: [u64; ROOM],
    old_len: [u64; ROOM],
    new_len: [u64; ROOM],
    result: [u64; ROOM],
    keys: [Key; ROOM],
    /// Nanoseconds in all calls.
    pub time: u64,
    /// Bit n: call n failed. [`Columns::silence`] makes it one that changes nothing.
    pub failed: u64,
    /// Those that failed, as they were.
    pub failures: Vec<Call>,
}

/// One of them.
pub struct Row {
    /// Clock ticks at entry.
    pub ticks: u64,
    /// Nanoseconds until return.
    pub duration: u64,
    /// The bucket of the duration.
    pub bucket: u64,
    /// Where the mapping lay, and its length.
    pub from: (u64, u64),
    /// The same afterwards.
    pub to: (u64, u64),
    /// Call site and outcome.
    pub key: Key,
    /// The call failed.
    pub failed: bool,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            len: 0,
            ticks: [0; ROOM],
            durations: [0; ROOM],
            buckets: [0; ROOM],
            old: [0; ROOM],
            old_len: [0; ROOM],
            new_len: [0; ROOM],
            result: [0; ROOM],
            keys: [Key::NONE; ROOM],
            time: 0,
            failed: 0,
            failures: Vec::new(),
        }
    }
}

impl Columns {
    /// Takes the calls of a chunk in the place of those of an earlier one.
    pub fn fill(&mut self, clock: Clock, calls: &Calls<'_>) {
        (self.len, self.failed) = (calls.len(), 0);
        self.failures.clear();
        calls.for_each(|at, call| self.put(at, &call));
        let durations = &mut self.durations[..self.len];
        clock.convert(durations);
        self.time = durations.iter().sum();
        buckets(durations, &mut self.buckets);
    }

    #[inline]
    fn put(&mut self, at: usize, call: &Call) {
        let at = at % ROOM;
        self.ticks[at] = call.ticks;
        self.durations[at] = call.duration;
        self.old[at] = call.old;
        self.old_len[at] = call.old_len;
        self.new_len[at] = call.new_len;
        self.result[at] = call.result as u64;
        self.keys[at] = Key::new(call.caller, call.outcome);
        if call.errno().is_some() {
            self.failed |= 1 << at;
            self.failures.push(*call);
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Makes a failed call one that changes nothing; what it asked for may be anything.
    pub fn silence(&mut self, at: usize) {
        let at = at % ROOM;
        (self.old_len[at], self.new_len[at], self.result[at]) = (0, 0, self.old[at]);
    }

    /// One call.
    #[inline]
    pub fn row(&self, at: usize) -> Row {
        let at = at % ROOM;
        Row {
            ticks: self.ticks[at],
            duration: self.durations[at],
            bucket: self.buckets[at],
            from: (self.old[at], self.old_len[at]),
            to: (self.result[at], self.new_len[at]),
            key: self.keys[at],
            failed: self.failed >> at & 1 != 0,
        }
    }

    /// All calls.
    #[inline]
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        (0..self.len.min(ROOM)).map(|at| self.row(at))
    }

    /// Two moments, in ticks, that all calls began between or at; as close as a power of two allows.
    pub fn within(&self) -> (u64, u64) {
        let ticks = &self.ticks[..self.len.min(ROOM)];
        let Some(one) = ticks.first() else { return (0, 0) };
        let differ = ticks.iter().fold(0, |all, other| all | (one ^ other));
        let below = u64::MAX.checked_shr(differ.leading_zeros()).unwrap_or(0);
        (one & !below, one | below)
    }

    /// The latest entry, in ticks.
    pub fn latest(&self) -> u64 {
        let ticks = &self.ticks[..self.len.min(ROOM)];
        ticks.iter().copied().max().unwrap_or(0)
    }

    /// Where the mappings came to lie, once failed calls are silent.
    pub fn placement(&self, page_size: u32) -> Placement {
        let within = u64::from(page_size.saturating_sub(1));
        let longest = self.rows().fold(0, |all, row| all | row.from.1 | row.to.1);
        let mut sums = Placement::default();
        if longest >= 1 << 62 {
            let pages = |len: u64| len.saturating_add(within) & !within;
            for Row { from, to, .. } in self.rows() {
                sums.add(pages(from.1), pages(to.1), from.0 != to.0);
            }
        } else {
            let pages = |len: u64| (len + within) & !within;
            // No instruction of a baseline processor compares several 64-bit numbers: the sign of a difference does.
            for Row { from, to, .. } in self.rows() {
                let (old, new) = (pages(from.1), pages(to.1));
                let grown = old.wrapping_sub(new) >> 63;
                let shrunk = new.wrapping_sub(old) >> 63;
                let away = from.0 ^ to.0;
                let elsewhere = (away | away.wrapping_neg()) >> 63;
                sums.grown_in_place += grown & !elsewhere;
                sums.grown_and_moved += grown & elsewhere;
                sums.shrunk += shrunk;
                sums.moved += elsewhere & !(grown | shrunk);
            }
            let changed = sums.grown_in_place + sums.grown_and_moved + sums.shrunk + sums.moved;
            sums.unchanged = self.len as u64 - changed;
        }
        sums.unchanged -= u64::from(self.failed.count_ones());
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::Columns;

    fn columns(lengths: &[(u64, u64, bool)]) -> Columns {
        let mut columns = Columns::default();
        for (at, (old, new, elsewhere)) in lengths.iter().enumerate() {
            (columns.old_len[at], columns.new_len[at]) = (*old, *new);
            columns.result[at] = u64::from(*elsewhere) << 40;
        }
        columns.len = lengths.len();
        columns
    }

    #[test]
    fn mappings_are_placed_by_whole_pages_whatever_their_length() {
        let all = [
            (1, 4096, false),
            (4096, 4097, false),
            (4096, 8192, true),
            (8192, 1, true),
            (4096, 4000, true),
            (0, 0, false),
        ];
        for longest in [0, u64::MAX] {
            let mut lengths = all.to_vec();
            lengths.push((longest, longest, false));
            let mut columns = columns(&lengths);
            columns.failed = 1 << 6;
            let placement = columns.placement(4096);
            assert_eq!(
                (
                    placement.grown_in_place,
                    placement.grown_and_moved,
                    placement.shrunk
                ),
                (1, 1, 1)
            );
            assert_eq!((placement.moved, placement.unchanged), (1, 2));
        }
    }
}
