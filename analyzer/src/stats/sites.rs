//! Calls by return address and outcome. This is where every call is counted; what outcomes came to is summed
//! up from here afterwards.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::columns::{Columns, ROOM};
use super::histogram::Histogram;

/// Addresses told apart in one process; the calls of any further one are counted together.
const MOST_SITES: usize = 8192;
/// Places of the cache before the table, a power of two.
const CACHED: usize = 1024;
/// Bits of a return address that the format keeps.
const ADDRESS_BITS: u32 = 56;

/// What one call site came to.
#[derive(Clone, Debug, Default)]
pub struct SiteStats {
    /// Nanoseconds of each call.
    pub times: Histogram,
    bytes: u128,
    /// Calls that failed.
    pub failed: u64,
    /// Calls by outcome, in the order of the tags; filled in where outcomes are put together.
    pub outcomes: [u64; 6],
}

impl SiteStats {
    /// Calls.
    pub fn calls(&self) -> u64 {
        self.times.count()
    }

    /// Bytes of calls that succeeded, the larger of both lengths; as far as 64 bits go.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.bytes).unwrap_or(u64::MAX)
    }

    /// Takes another one's calls.
    pub fn merge(&mut self, other: &Self) {
        self.times.merge(&other.times);
        self.bytes += other.bytes;
        self.failed += other.failed;
    }
}

/// A hash of one number by one multiplication. The table is small and bounded, so nothing is lost to somebody
/// who chooses his addresses.
#[derive(Clone, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A return address and the index of an outcome in one number.
#[inline]
pub fn key(caller: u64, outcome: usize) -> u64 {
    caller | (outcome as u64) << ADDRESS_BITS
}

/// The return address of a key.
#[inline]
pub fn caller_of(key: u64) -> u64 {
    key & ((1 << ADDRESS_BITS) - 1)
}

/// All call sites of a process, each outcome apart.
#[derive(Clone, Debug)]
pub struct Sites {
    places: HashMap<u64, u32, BuildHasherDefault<Spread>>,
    sums: Vec<(u64, SiteStats)>,
    /// Key and place of the ones asked for lately: calls come from few places.
    cache: Box<[(u64, u32)]>,
}

impl Default for Sites {
    fn default() -> Self {
        Self {
            places: HashMap::default(),
            sums: Vec::new(),
            cache: vec![(u64::MAX, 0); CACHED].into_boxed_slice(),
        }
    }
}

impl Sites {
    /// Takes the calls of a chunk, once failed ones are silent; their bytes.
    ///
    /// The counts in histograms are what lies far apart in memory: a loop that does nothing else has many of
    /// them on their way at once.
    pub fn add(&mut self, calls: &Columns) -> u128 {
        let mut places = [0; ROOM];
        let mut all = 0;
        for (place, row) in places.iter_mut().zip(calls.rows()) {
            *place = self.place(row.key);
            let bytes = row.from.1.max(row.to.1);
            all += u128::from(bytes);
            let site = &mut self.sums[*place as usize].1;
            site.bytes += u128::from(bytes);
            site.times.measure(row.duration);
        }
        for (place, row) in places.iter().zip(calls.rows()) {
            self.sums[*place as usize].1.times.count_in(row.bucket as usize);
        }
        all
    }

    /// What a call site came to with one outcome.
    #[inline]
    pub fn get(&mut self, key: u64) -> &mut SiteStats {
        let place = self.place(key);
        &mut self.sums[place as usize].1
    }

    #[inline]
    fn place(&mut self, key: u64) -> u32 {
        let cached = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % CACHED;
        match self.cache.get(cached) {
            Some((known, place)) if *known == key => *place,
            _ => self.find(key, cached),
        }
    }

    #[cold]
    fn find(&mut self, key: u64, cached: usize) -> u32 {
        let next = self.sums.len() as u32;
        let room = self.sums.len() < MOST_SITES;
        let place = self.places.get(&key).copied().unwrap_or_else(|| {
            // Address 0, "unknown", takes the rest.
            let key = if room {
                key
            } else {
                key >> ADDRESS_BITS << ADDRESS_BITS
            };
            let place = *self.places.entry(key).or_insert(next);
            if place == next {
                self.sums.push((key, SiteStats::default()));
            }
            place
        });
        if let Some(cached) = self.cache.get_mut(cached) {
            *cached = (key, place);
        }
        place
    }

    /// Takes another one's calls.
    pub fn merge(&mut self, other: &Self) {
        for (key, site) in &other.sums {
            self.get(*key).merge(site);
        }
    }

    /// Every address and index of an outcome with what they came to.
    pub fn iter(&self) -> impl Iterator<Item = (u64, usize, &SiteStats)> {
        self.sums
            .iter()
            .map(|(key, site)| (caller_of(*key), (key >> ADDRESS_BITS) as usize, site))
    }
}
