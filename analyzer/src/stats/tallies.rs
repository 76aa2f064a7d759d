//! The sums of call sites while calls are taken.
//!
//! Calls of hundreds of sites come at random, so what is added to for each must fit a core's first caches: one line a
//! site, and eight bits a bucket. Full buckets, and the rare call whose numbers are too large for the line, go to the
//! site's true sums at once.

use super::columns::{Columns, Row};
use super::key::Key;
use super::sites::{MOST_SITES, Sites};

/// Places of the table to begin with, as a power of two.
const FIRST_PLACES: u32 = 6;
/// Nanoseconds or bytes of a call from here on go to the true sums: 2^20 calls below it fit 64 bits.
const LARGE: u64 = 1 << 44;
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
        Self {
            key,
            time: 0,
            bytes: 0,
            least: u64::MAX,
            most: 0,
            counts: Vec::new(),
        }
    }
}

/// Call sites by key, in a table with room to spare: a key stands at its place or behind it.
pub struct Tallies {
    table: Vec<Tally>,
    bits: u32,
    used: usize,
    calls: usize,
    sites: Sites,
}

impl Default for Tallies {
    fn default() -> Self {
        Self {
            table: vec![Tally::new(Key::NONE); 1 << FIRST_PLACES],
            bits: FIRST_PLACES,
            used: 0,
            calls: 0,
            sites: Sites::default(),
        }
    }
}

impl Tallies {
    /// Takes the calls of a chunk, once failed ones are silent; their bytes.
    pub fn add(&mut self, calls: &Columns) -> u128 {
        self.calls += calls.len();
        if self.calls > MOST_CALLS {
            self.settle();
            self.calls = calls.len();
        }
        let mut all = 0;
        for row in calls.rows() {
            let bytes = row.from.1.max(row.to.1);
            all += u128::from(bytes);
            self.add_row(&row, bytes);
        }
        all
    }

    #[inline]
    fn add_row(&mut self, row: &Row, bytes: u64) {
        match self.place(row.key) {
            Some(place) if bytes | row.duration < LARGE => self.take(place, row, bytes),
            _ => self.sites.get(row.key).take(row, bytes),
        }
    }

    /// A call that failed; [`Tallies::add`] takes it, too.
    pub fn fail(&mut self, key: Key) {
        self.sites.get(key).failed += 1;
    }

    /// What all calls came to.
    pub fn finish(mut self) -> Sites {
        self.settle();
        self.sites
    }

    #[inline]
    fn take(&mut self, place: usize, row: &Row, bytes: u64) {
        let Some(tally) = self.table.get_mut(place) else {
            return;
        };
        tally.time += row.duration;
        tally.bytes += bytes;
        // Branches, not minimum and maximum: nothing is stored where nothing changes.
        if row.duration < tally.least {
            tally.least = row.duration;
        }
        if row.duration > tally.most {
            tally.most = row.duration;
        }
        match tally.counts.get_mut(row.bucket as usize) {
            Some(count) if *count < u8::MAX => *count += 1,
            _ => self.count_on(place, row.bucket as usize),
        }
    }

    /// Counts a call in a bucket that is full or not there yet.
    #[cold]
    fn count_on(&mut self, place: usize, bucket: usize) {
        let Some(tally) = self.table.get_mut(place) else {
            return;
        };
        if tally.counts.len() <= bucket {
            tally.counts.resize(bucket + 1, 0);
        }
        let full = std::mem::replace(&mut tally.counts[bucket], 1);
        self.sites.get(tally.key).times.count_in(bucket, full.into());
    }

    /// Where a key stands; nowhere once there are too many.
    #[inline]
    fn place(&mut self, key: Key) -> Option<usize> {
        let place = key.place(self.bits);
        match self.table.get(place) {
            Some(tally) if tally.key == key => Some(place),
            _ => self.find(key),
        }
    }

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
        let first = key.place(self.bits);
        let mut places = (first..self.table.len()).chain(0..first);
        places.find(|place| [key, Key::NONE].contains(&self.table[*place].key))
    }

    fn widen(&mut self) {
        self.bits += 1;
        let wider = vec![Tally::new(Key::NONE); 1 << self.bits];
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
            for (bucket, count) in tally.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                site.times.count_in(bucket, (*count).into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE, MOST_SITES, Tallies};
    use crate::stats::columns::Row;
    use crate::stats::histogram::bucket_of;
    use crate::stats::key::Key;
    use mremap_trace::Outcome;

    fn row(caller: u64, duration: u64) -> Row {
        Row {
            ticks: 0,
            duration,
            bucket: bucket_of(duration) as u64,
            from: (0, 4096),
            to: (0, 8192),
            key: Key::new(caller, Outcome::Native),
            failed: false,
        }
    }

    #[test]
    fn nothing_is_lost_of_full_buckets_large_numbers_and_many_sites() {
        let mut tallies = Tallies::default();
        for round in 0..3_u64 {
            for call in 0..1000 {
                tallies.add_row(&row(64, 500 + call % 2), 8192);
                tallies.add_row(&row(128, LARGE + round), 8192);
            }
            for caller in 0..MOST_SITES as u64 + 10 {
                tallies.add_row(&row(1 << 20 | caller, caller), 8192);
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
