//! Calls by return address and outcome. What outcomes came to is summed up from here afterwards.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::histogram::Histogram;
use super::key::Key;
use super::times::Time;

/// Addresses told apart in one process; the calls of any further one are counted together.
pub const MOST_SITES: usize = 8192;

/// What one call site came to.
#[derive(Clone, Debug, Default)]
pub struct SiteStats {
    /// Nanoseconds of each call.
    pub times: Histogram,
    /// Bytes of calls that succeeded.
    pub bytes: u128,
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

    /// Takes a call of so many bytes.
    pub fn take(&mut self, time: Time, bytes: u64) {
        self.times.add(time.ns);
        self.bytes += u128::from(bytes);
    }

    /// Takes another one's calls.
    pub fn merge(&mut self, other: &Self) {
        self.times.merge(&other.times);
        self.bytes += other.bytes;
        self.failed += other.failed;
    }
}

/// All call sites of a process, each outcome apart.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    places: HashMap<Key, u32, RandomState>,
    sums: Vec<(Key, SiteStats)>,
}

impl Sites {
    /// What a call site came to with one outcome.
    pub fn get(&mut self, key: Key) -> &mut SiteStats {
        let known = self.places.contains_key(&key) || self.sums.len() < MOST_SITES;
        // Address 0, "unknown", takes the rest.
        let key = if known { key } else { key.anywhere() };
        let next = self.sums.len() as u32;
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.sums.push((key, SiteStats::default()));
        }
        &mut self.sums[place as usize].1
    }

    /// Takes another one's calls.
    pub fn merge(&mut self, other: &Self) {
        for (key, site) in &other.sums {
            self.get(*key).merge(site);
        }
    }

    /// Every key with what its calls came to.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &SiteStats)> {
        self.sums.iter().map(|(key, site)| (*key, site))
    }
}
