//! Totals by call site while calls are counted.
//!
//! Calls of hundreds of sites alternate, so the memory touched for each must fit the L1 and L2
//! caches: one cache line a site, and eight bits a bucket. Full buckets, and the rare call whose
//! numbers do not fit the line, are added to [`Sites`] at once.

use super::bytes::Bytes;
use super::histogram::first_of_next_power;
use super::key::Key;
use super::placement::Change;
use super::sites::{MAX_SITES, Sites};
use super::times::Time;

/// log2 of the initial size of the table.
const INITIAL_BITS: u32 = 6;
/// Calls of at least this many bytes are added to [`Sites`] at once, so that the sums of
/// [`MAX_CALLS`] calls fit 64 bits.
const LARGE: u64 = 1 << 44;
/// Calls after which the tallies are flushed to [`Sites`].
const MAX_CALLS: usize = 1 << 20;

/// Whether a tally can count a call: its bytes are below [`LARGE`], and its nanoseconds fit the
/// 32 bits of `Tally::min` and `Tally::max`.
#[inline]
pub fn is_ordinary(requested: u64, time: Time) -> bool {
    (requested >> LARGE.trailing_zeros()) | (time.ns >> u32::BITS) == 0
}

/// Totals of one call site with one outcome: one cache line.
#[derive(Clone)]
#[repr(align(64))]
struct Tally {
    key: Key,
    time: u64,
    requested: u64,
    /// Bytes grown in place, and bytes relocated.
    changed: [u64; 2],
    min: u32,
    max: u32,
    /// Calls by histogram bucket of their duration.
    counts: Box<[u8]>,
}

const _: () = assert!(size_of::<Tally>() == 64);

impl Tally {
    fn new(key: Key) -> Self {
        Self {
            key,
            time: 0,
            requested: 0,
            changed: [0; 2],
            min: u32::MAX,
            max: 0,
            counts: Box::default(),
        }
    }

    /// Adds a call. Returns false if its bucket is full or missing and still has to be counted.
    #[inline]
    fn take(&mut self, time: Time, requested: u64, change: Change) -> bool {
        self.time += time.ns;
        self.requested += requested;
        self.changed[usize::from(change.moved)] += change.bytes;
        // Branches avoid a store when nothing changes, which `min` and `max` would make.
        let ns = time.ns as u32;
        if ns < self.min {
            self.min = ns;
        }
        if ns > self.max {
            self.max = ns;
        }
        match self.counts.get_mut(time.bucket) {
            Some(count) if *count < u8::MAX => {
                *count += 1;
                true
            }
            _ => false,
        }
    }
}

/// A hash table of tallies with linear probing.
pub struct Tallies {
    table: Vec<Tally>,
    /// 64 minus log2 of the table's size.
    shift: u32,
    used: usize,
    calls: usize,
    sites: Sites,
}

impl Default for Tallies {
    fn default() -> Self {
        Self {
            table: vec![Tally::new(Key::NONE); 1 << INITIAL_BITS],
            shift: u64::BITS - INITIAL_BITS,
            used: 0,
            calls: 0,
            sites: Sites::default(),
        }
    }
}

impl Tallies {
    /// Announces `calls` calls, at most [`MAX_CALLS`].
    pub fn expect(&mut self, calls: usize) {
        self.calls += calls;
        if self.calls > MAX_CALLS {
            self.flush();
            self.calls = calls;
        }
    }

    /// Adds an announced call.
    #[cold]
    pub fn take(&mut self, key: Key, time: Time, requested: u64, change: Change) {
        let index = self.find(key).filter(|_| is_ordinary(requested, time));
        match index.and_then(|index| self.table.get_mut(index)) {
            Some(tally) => {
                if !tally.take(time, requested, change) {
                    self.count_in_new_bucket(key, time.bucket);
                }
            }
            None => self.sites.get(key).take(time, &change.bytes(requested)),
        }
    }

    /// Adds an announced call that [`is_ordinary`].
    #[inline]
    pub fn take_ordinary(&mut self, key: Key, time: Time, requested: u64, change: Change) {
        match self.table.get_mut(key.index(self.shift)) {
            Some(tally) if tally.key == key => {
                if !tally.take(time, requested, change) {
                    self.count_in_new_bucket(key, time.bucket);
                }
            }
            _ => self.take(key, time, requested, change),
        }
    }

    /// Counts a failure. The call itself is added by [`Tallies::take`].
    pub fn fail(&mut self, key: Key) {
        self.sites.get(key).failed += 1;
    }

    /// Corrects the bytes of a call that was added.
    pub fn correct(&mut self, key: Key, correction: &Bytes) {
        self.sites.get(key).bytes.add(correction);
    }

    /// The totals.
    pub fn finish(mut self) -> Sites {
        self.flush();
        self.sites
    }

    /// Counts a call in a bucket that is full or missing.
    #[cold]
    fn count_in_new_bucket(&mut self, key: Key, bucket: usize) {
        let index = self.find(key);
        let Some(tally) = index.and_then(|index| self.table.get_mut(index)) else {
            return;
        };
        if tally.counts.len() <= bucket {
            // Grows by powers of two, so that longer calls seldom come here again.
            let mut wider = std::mem::take(&mut tally.counts).into_vec();
            wider.resize(first_of_next_power(bucket), 0);
            tally.counts = wider.into();
        }
        let full = std::mem::replace(&mut tally.counts[bucket], 1);
        if full > 0 {
            self.sites.get(key).times.count_in(bucket, full.into());
        }
    }

    /// Index of a key, which is added unless there are too many.
    #[cold]
    fn find(&mut self, key: Key) -> Option<usize> {
        let index = self.probe(key)?;
        if self.table.get(index)?.key == key {
            return Some(index);
        }
        if self.used == MAX_SITES {
            return None;
        }
        self.used += 1;
        self.sites.get(key);
        if self.used * 4 > self.table.len() {
            self.widen();
        }
        let index = self.probe(key)?;
        *self.table.get_mut(index)? = Tally::new(key);
        Some(index)
    }

    /// Index of a key, or of the empty entry for it.
    fn probe(&self, key: Key) -> Option<usize> {
        let first = key.index(self.shift);
        let mut indices = (first..self.table.len()).chain(0..first);
        indices.find(|index| [key, Key::NONE].contains(&self.table[*index].key))
    }

    fn widen(&mut self) {
        self.shift -= 1;
        let wider = vec![Tally::new(Key::NONE); 2 * self.table.len()];
        for tally in std::mem::replace(&mut self.table, wider) {
            if tally.key != Key::NONE
                && let Some(index) = self.probe(tally.key)
            {
                self.table[index] = tally;
            }
        }
    }

    /// Moves all totals to [`Sites`].
    fn flush(&mut self) {
        for tally in self.table.iter_mut().filter(|tally| tally.key != Key::NONE) {
            let site = self.sites.get(tally.key);
            let tally = std::mem::replace(tally, Tally::new(tally.key));
            let [grown, relocated] = tally.changed.map(u128::from);
            site.bytes.add(&Bytes::new(tally.requested.into(), relocated, grown));
            // If all calls were large, there is no minimum here.
            if tally.min <= tally.max {
                site.times.measure(tally.time.into(), tally.min.into(), tally.max.into());
            }
            site.times.count_all(&tally.counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE, MAX_SITES, Tallies};
    use crate::stats::bytes::Bytes;
    use crate::stats::key::Key;
    use crate::stats::placement::Change;
    use crate::stats::times::Time;
    use mremap_trace::Outcome;

    fn take(tallies: &mut Tallies, caller: u64, nanoseconds: u64) {
        let change = Change { moved: nanoseconds.is_multiple_of(2), bytes: 4096 };
        tallies.take(Key::new(caller, Outcome::Native), Time::of(nanoseconds), 8192, change);
    }

    #[test]
    fn counts_full_buckets_large_numbers_and_too_many_sites() {
        let mut tallies = Tallies::default();
        for round in 0..3_u64 {
            for call in 0..1000 {
                take(&mut tallies, 64, 500 + call % 2);
                take(&mut tallies, 128, LARGE + round);
            }
            for caller in 0..MAX_SITES as u64 + 10 {
                take(&mut tallies, 1 << 20 | caller, caller);
            }
        }
        let sites = tallies.finish();
        let of = |caller| {
            let (_, site) = sites.iter().find(|(key, _)| key.caller() == caller).unwrap();
            let times = &site.times;
            (site.calls(), times.sum(), (times.min(), times.max()), site.bytes)
        };
        let bytes = |moved: u128| Bytes::new(3000 * 8192, moved * 4096, (3000 - moved) * 4096);
        assert_eq!(of(64), (3000, 1_501_500, (500, 501), bytes(1500)));
        assert_eq!(of(128), (3000, 3000 * (LARGE + 1), (LARGE, LARGE + 2), bytes(2000)));
        // Two sites were there before them.
        assert_eq!(of(0).0, 3 * 12);
        assert_eq!(
            sites.iter().map(|(_, site)| site.calls()).sum::<u64>(),
            6000 + 3 * (MAX_SITES as u64 + 10)
        );
    }
}
