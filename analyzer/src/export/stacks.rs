//! Totals by stack, for folded stacks, pprof and flame graphs.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::HashMap;

use super::Weight;
use crate::named::{Named, NamedPlace, Origin};
use crate::stats::Bytes;

/// Distinct stacks kept; further ones are counted without their frames.
const MAX_STACKS: usize = 1 << 18;

/// Totals of the calls with the same stack.
pub struct Sample {
    /// A process that made such a call.
    pub origin: Arc<Origin>,
    /// The frames of allocators, the call site and its callers, innermost first; empty for the
    /// stacks that were too many.
    pub places: Vec<Arc<NamedPlace>>,
    /// Calls.
    pub calls: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Time in them, nanoseconds.
    pub time: u64,
    /// Bytes of them.
    pub bytes: Bytes,
}

impl Sample {
    /// The total that a weight selects.
    pub fn weight(&self, weight: Weight) -> u64 {
        match weight {
            Weight::Calls => self.calls,
            Weight::Time => self.time,
            Weight::Bytes => self.bytes.relocated(),
        }
    }

    /// Names from the program to the innermost frame, inlined functions included.
    pub fn names(&self) -> Vec<String> {
        let program = self.origin.exe.rsplit('/').next().unwrap_or_default();
        let mut names = vec![program.to_owned()];
        for place in self.places.iter().rev() {
            names.extend(place.site.stack());
        }
        if self.places.is_empty() {
            names.push("other".to_owned());
        }
        names
    }

    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.time = self.time.saturating_add(other.time);
        self.bytes.add(&other.bytes);
    }
}

/// Sums calls by stack.
#[derive(Default)]
pub struct Stacks {
    /// By the ids of process, call site and callers.
    by_ids: HashMap<Vec<usize>, Sample>,
    /// By executable and places, of all processes: what was in `by_ids` when it was full.
    by_name: BTreeMap<(String, Vec<String>), Sample>,
    key: Vec<usize>,
}

impl Stacks {
    /// Adds a call.
    pub fn add(&mut self, named: &Named) {
        self.key.clear();
        self.key.extend([named.origin.id, named.site.id]);
        // The number of frames below the site keeps stacks of the same frames apart.
        self.key.push(named.inner.len());
        self.key.extend(named.inner.iter().chain(&named.stack).map(|place| place.id));
        let mut call = Sample {
            origin: Arc::clone(&named.origin),
            places: Vec::new(),
            calls: 1,
            failed: named.event.call.errno().is_some().into(),
            time: named.duration,
            bytes: named.bytes,
        };
        if let Some(sample) = self.by_ids.get_mut(&self.key) {
            sample.add(&call);
            return;
        }
        if self.by_ids.len() >= MAX_STACKS {
            self.merge_equal();
        }
        let places = named.inner.iter().chain([&named.site]).chain(&named.stack);
        call.places = places.map(Arc::clone).collect();
        self.by_ids.insert(self.key.clone(), call);
    }

    /// Merges stacks of different processes that have the same names.
    fn merge_equal(&mut self) {
        for (_, mut sample) in std::mem::take(&mut self.by_ids) {
            let places = sample.places.iter().map(|place| place.place.clone()).collect();
            let mut key = (sample.origin.exe.clone(), places);
            if self.by_name.len() >= MAX_STACKS && !self.by_name.contains_key(&key) {
                sample.places.clear();
                key.1.clear();
            }
            match self.by_name.get_mut(&key) {
                Some(sum) => sum.add(&sample),
                None => drop(self.by_name.insert(key, sample)),
            }
        }
    }

    /// Every stack, in the order of names.
    pub fn finish(mut self) -> Vec<Sample> {
        self.merge_equal();
        self.by_name.into_values().collect()
    }
}
