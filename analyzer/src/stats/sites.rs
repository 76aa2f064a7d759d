//! Totals by return address and outcome, from which the totals by outcome are summed.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::histogram::Histogram;
use super::key::Key;
use super::times::Time;

/// Call sites kept apart in one process; calls from further ones count for address 0.
pub const MOST_SITES: usize = 8192;

/// Totals of a call site.
#[derive(Clone, Debug, Default)]
pub struct SiteStats {
    /// Durations, nanoseconds.
    pub times: Histogram,
    /// Bytes requested by successful calls.
    pub bytes: u128,
    /// Calls that failed.
    pub failed: u64,
    /// Calls by outcome, in the order of `OUTCOMES`. Set by `Overview` only.
    pub outcomes: [u64; 6],
}

impl SiteStats {
    /// Calls.
    pub fn calls(&self) -> u64 {
        self.times.count()
    }

    /// Bytes requested by successful calls: the larger of both lengths; at most `u64::MAX`.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.bytes).unwrap_or(u64::MAX)
    }

    /// Adds a call that requested `bytes`.
    pub fn take(&mut self, time: Time, bytes: u64) {
        self.times.add(time.ns);
        self.bytes += u128::from(bytes);
    }

    /// Adds the calls of another one.
    pub fn merge(&mut self, other: &Self) {
        self.times.merge(&other.times);
        self.bytes += other.bytes;
        self.failed += other.failed;
    }
}

/// The call sites of a process, by outcome.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    indices: HashMap<Key, u32, RandomState>,
    sums: Vec<(Key, SiteStats)>,
}

impl Sites {
    /// Totals of a key, which is added if there is room.
    pub fn get(&mut self, key: Key) -> &mut SiteStats {
        let known = self.indices.contains_key(&key) || self.sums.len() < MOST_SITES;
        // Further sites count for address 0.
        let key = if known { key } else { key.anywhere() };
        let next = self.sums.len() as u32;
        let index = *self.indices.entry(key).or_insert(next);
        if index == next {
            self.sums.push((key, SiteStats::default()));
        }
        &mut self.sums[index as usize].1
    }

    /// Adds the calls of another one.
    pub fn merge(&mut self, other: &Self) {
        for (key, site) in &other.sums {
            self.get(*key).merge(site);
        }
    }

    /// Every key with its totals.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &SiteStats)> {
        self.sums.iter().map(|(key, site)| (*key, site))
    }
}
