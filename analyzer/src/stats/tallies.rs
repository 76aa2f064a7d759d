//! The sums of call sites while calls are taken.
//!
//! Calls of hundreds of sites come at random, so what is added to for each must fit a core's first caches: one line a
//! site, and eight bits a bucket. Full buckets, and the rare call whose numbers are too large for the line, go to the
//! site's true sums at once.

use super::histogram::first_of_next_power;
use super::key::Key;
use super::sites::{MOST_SITES, Sites};
use super::times::Time;

/// Places of the table to begin with, as a power of two.
const FIRST_PLACES: u32 = 6;
/// Nanoseconds or bytes of a call from here on go to the true sums: 2^20 calls below it fit 64 bits.
pub const LARGE: u64 = 1 << 44;
/// Calls after which sums are settled.
const MOST_CALLS: usize = 1 << 20;

/// One call site with one outcome.
#[derive(Clone)]
#[repr(align(64))]
struct Tally {
    key: Key,
    time: u64,
    bytes: u64,
    least: u64,
    most: u64,
    /// Calls by bucket of their duration.
    counts: Vec<u8>,
}

impl Tally {
    fn new(key: Key) -> Self {
        Self { key, time: 0, bytes: 0, least: u64::MAX, most: 0, counts: Vec::new() }
    }

    /// Takes a call, but for its bucket when that is full or not there yet: whether it did.
    #[inline]
    fn take(&mut self, time: Time, bytes: u64) -> bool {
        self.time += time.ns;
        self.bytes += bytes;
        // Branches, not minimum and maximum: nothing is stored where nothing changes.
        if time.ns < self.least {
            self.least = time.ns;
        }
        if time.ns > self.most {
            self.most = time.ns;
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

/// Call sites by key, in a table with room to spare: a key stands at its place or behind it.
pub struct Tallies {
    table: Vec<Tally>,
    /// Bits of a hash that are too many for a place.
    shift: u32,
    used: usize,
    calls: usize,
    sites: Sites,
}

impl Default for Tallies {
    fn default() -> Self {
        Self {
            table: vec![Tally::new(Key::NONE); 1 << FIRST_PLACES],
            shift: u64::BITS - FIRST_PLACES,
            used: 0,
            calls: 0,
            sites: Sites::default(),
        }
    }
}

impl Tallies {
    /// So many calls will follow, fewer than [`MOST_CALLS`].
    pub fn expect(&mut self, calls: usize) {
        self.calls += calls;
        if self.calls > MOST_CALLS {
            self.settle();
            self.calls = calls;
        }
    }

    /// Takes a call of so many bytes, one of those expected.
    #[cold]
    pub fn take(&mut self, key: Key, time: Time, bytes: u64) {
        let is_ordinary = bytes | time.ns < LARGE;
        let place = self.find(key).filter(|_| is_ordinary);
        match place.and_then(|place| self.table.get_mut(place)) {
            Some(tally) => {
                if !tally.take(time, bytes) {
                    self.count_on(key, time.bucket);
                }
            }
            None => self.sites.get(key).take(time, bytes),
        }
    }

    /// The same for one whose bytes and nanoseconds are below [`LARGE`].
    #[inline]
    pub fn take_ordinary(&mut self, key: Key, time: Time, bytes: u64) {
        match self.table.get_mut(key.place(self.shift)) {
            Some(tally) if tally.key == key => {
                if !tally.take(time, bytes) {
                    self.count_on(key, time.bucket);
                }
            }
            _ => self.take(key, time, bytes),
        }
    }

    /// A call that failed; [`Tallies::take`] takes it, too.
    pub fn fail(&mut self, key: Key) {
        self.sites.get(key).failed += 1;
    }

    /// What all calls came to.
    pub fn finish(mut self) -> Sites {
        self.settle();
        self.sites
    }

    /// Counts a call in a bucket that is full or not there yet.
    #[cold]
    fn count_on(&mut self, key: Key, bucket: usize) {
        let place = self.find(key);
        let Some(tally) = place.and_then(|place| self.table.get_mut(place)) else {
            return;
        };
        if tally.counts.len() <= bucket {
            // Whole powers of two: the next longer call is not the next to come here.
            tally.counts.resize(first_of_next_power(bucket), 0);
        }
        let full = std::mem::replace(&mut tally.counts[bucket], 1);
        if full > 0 {
            self.sites.get(key).times.count_in(bucket, full.into());
        }
    }

    /// Where a key stands; nowhere once there are too many.
    #[cold]
    fn find(&mut self, key: Key) -> Option<usize> {
        let place = self.probe(key)?;
        if self.table.get(place)?.key == key {
            return Some(place);
        }
        if self.used == MOST_SITES {
            return None;
        }
        self.used += 1;
        self.sites.get(key);
        if self.used * 4 > self.table.len() {
            self.widen();
        }
        let place = self.probe(key)?;
        *self.table.get_mut(place)? = Tally::new(key);
        Some(place)
    }

    /// Where a key stands or may stand.
    fn probe(&self, key: Key) -> Option<usize> {
        let first = key.place(self.shift);
        let mut places = (first..self.table.len()).chain(0..first);
        places.find(|place| [key, Key::NONE].contains(&self.table[*place].key))
    }

    fn widen(&mut self) {
        self.shift -= 1;
        let wider = vec![Tally::new(Key::NONE); 2 * self.table.len()];
        for tally in std::mem::replace(&mut self.table, wider) {
            if tally.key != Key::NONE
                && let Some(place) = self.probe(tally.key)
            {
                self.table[place] = tally;
            }
        }
    }

    /// Hands everything on to the true sums.
    fn settle(&mut self) {
        for tally in self.table.iter_mut().filter(|tally| tally.key != Key::NONE) {
            let site = self.sites.get(tally.key);
            let tally = std::mem::replace(tally, Tally::new(tally.key));
            site.bytes += u128::from(tally.bytes);
            site.times.measure(tally.time.into(), tally.least, tally.most);
            site.times.count_all(&tally.counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE, MOST_SITES, Tallies};
    use crate::stats::key::Key;
    use crate::stats::times::Time;
    use mremap_trace::Outcome;

    fn take(tallies: &mut Tallies, caller: u64, nanoseconds: u64) {
        tallies.take(Key::new(caller, Outcome::Native), Time::of(nanoseconds), 8192);
    }

    #[test]
    fn nothing_is_lost_of_full_buckets_large_numbers_and_many_sites() {
        let mut tallies = Tallies::default();
        for round in 0..3_u64 {
            for call in 0..1000 {
                take(&mut tallies, 64, 500 + call % 2);
                take(&mut tallies, 128, LARGE + round);
            }
            for caller in 0..MOST_SITES as u64 + 10 {
                take(&mut tallies, 1 << 20 | caller, caller);
            }
        }
        let sites = tallies.finish();
        let of = |caller| {
            let (_, site) = sites.iter().find(|(key, _)| key.caller() == caller).unwrap();
            (site.calls(), site.times.sum(), site.times.most(), site.bytes())
        };
        assert_eq!(of(64), (3000, 1_501_500, 501, 3000 * 8192));
        assert_eq!(of(128), (3000, 3000 * (LARGE + 1), LARGE + 2, 3000 * 8192));
        // Two had come before them.
        assert_eq!(of(0).0, 3 * 12);
        assert_eq!(
            sites.iter().map(|(_, site)| site.calls()).sum::<u64>(),
            6000 + 3 * (MOST_SITES as u64 + 10)
        );
    }
}
