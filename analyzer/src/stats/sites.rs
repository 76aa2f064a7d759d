//! Calls by their return address.

use std::collections::HashMap;

use super::histogram::Histogram;

/// Addresses told apart in one process; the calls of any further one are counted together.
const MOST_SITES: usize = 8192;

/// What one call site came to.
#[derive(Clone, Debug, Default)]
pub struct SiteStats {
    /// Nanoseconds of each call.
    pub times: Histogram,
    /// Bytes asked for: the larger of both lengths.
    pub bytes: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls by outcome, in the order of the tags.
    pub outcomes: [u64; 6],
}

impl SiteStats {
    /// Calls.
    pub fn calls(&self) -> u64 {
        self.times.count()
    }

    /// Takes another one's calls.
    pub fn merge(&mut self, other: &Self) {
        self.times.merge(&other.times);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.failed += other.failed;
        for (count, more) in self.outcomes.iter_mut().zip(other.outcomes) {
            *count += more;
        }
    }
}

/// All call sites of a process.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    places: HashMap<u64, usize>,
    sites: Vec<(u64, SiteStats)>,
    /// The one asked for last; calls come in runs from the same place.
    last: (u64, usize),
}

impl Sites {
    /// The site of a return address.
    #[inline]
    pub fn get(&mut self, caller: u64) -> &mut SiteStats {
        let index = if self.last.0 == caller && !self.sites.is_empty() {
            self.last.1
        } else {
            self.find(caller)
        };
        self.last = (caller, index);
        if index >= self.sites.len() {
            self.sites.push((caller, SiteStats::default()));
        }
        let at = index.min(self.sites.len() - 1);
        &mut self.sites[at].1
    }

    fn find(&mut self, caller: u64) -> usize {
        let known = self.places.len();
        if let Some(index) = self.places.get(&caller) {
            return *index;
        }
        // Address 0, "unknown", takes the rest.
        let key = if known < MOST_SITES { caller } else { 0 };
        *self.places.entry(key).or_insert(known)
    }

    /// Takes another one's calls.
    pub fn merge(&mut self, other: &Self) {
        for (caller, site) in &other.sites {
            self.get(*caller).merge(site);
        }
    }

    /// Every address with what it came to.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &SiteStats)> {
        self.sites.iter().map(|(caller, site)| (*caller, site))
    }
}
