//! Totals by return address and outcome, from which the totals by outcome are summed.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::bytes::Bytes;
use super::histogram::Histogram;
use super::key::Key;
use super::times::Time;

/// Call sites kept apart in one process; calls from further ones count for address 0.
pub const MAX_SITES: usize = 8192;

/// Totals of a call site.
#[derive(Clone, Debug, Default)]
pub struct SiteStats {
    /// Durations, nanoseconds.
    pub times: Histogram,
    /// Bytes of calls. Failed ones count only what they moved before they failed.
    pub bytes: Bytes,
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

    /// Adds a call.
    pub fn take(&mut self, time: Time, bytes: &Bytes) {
        self.times.add(time.ns);
        self.bytes.add(bytes);
    }

    /// Adds the calls of another one.
    pub fn merge(&mut self, other: &Self) {
        self.times.merge(&other.times);
        self.bytes.add(&other.bytes);
        self.failed += other.failed;
    }
}

/// The call sites of a process, by outcome.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    indices: HashMap<Key, u32, RandomState>,
    sums: Vec<(Key, SiteStats)>,
    /// Whether there were more sites than are kept apart.
    pub are_too_many: bool,
}

impl Sites {
    /// Totals of a key, which is added if there is room.
    pub fn get(&mut self, key: Key) -> &mut SiteStats {
        let known = self.indices.contains_key(&key) || self.sums.len() < MAX_SITES;
        self.are_too_many |= !known;
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
        self.are_too_many |= other.are_too_many;
        for (key, site) in &other.sums {
            self.get(*key).merge(site);
        }
    }

    /// Every key with its totals.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &SiteStats)> {
        self.sums.iter().map(|(key, site)| (*key, site))
    }
}
