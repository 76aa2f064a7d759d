//! What one process came to, taken call by call.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use mremap_trace::layout::SLOTS_PER_CHUNK;
use mremap_trace::{ChunkHeader, Record};

use super::chains::Chains;
use super::counts::{Failure, Moves, OutcomeStats, ThreadStats};
use super::key::Key;
use super::placement::{Placement, PlacementTally};
use super::sites::Sites;
use super::tallies::{LARGE, Tallies};
use super::timeline::{Bin, Timeline};
use super::times::Times;
use crate::load::{Calls, Process, Visitor};
use crate::model::{Filter, Why};

/// Threads told apart; the calls of any further one are counted for thread 0.
const MOST_THREADS: usize = 16_384;

/// The sums of a process, or of a piece of its trace.
pub struct Stats {
    /// Moves that were taken apart.
    pub moves: Moves,
    /// By errno and reason.
    pub failures: BTreeMap<Why, Failure>,
    /// By return address.
    pub sites: Sites,
    /// By thread.
    pub threads: HashMap<u32, ThreadStats, RandomState>,
    /// Over time.
    pub timeline: Timeline,
    /// In place or elsewhere.
    pub placement: Placement,
    /// Mappings grown again and again.
    pub chains: Chains,
}

impl Stats {
    /// Nothing yet.
    pub fn new(base: u64) -> Self {
        Self {
            moves: Moves::default(),
            failures: BTreeMap::new(),
            sites: Sites::default(),
            threads: HashMap::default(),
            timeline: Timeline::new(base),
            placement: Placement::default(),
            chains: Chains::default(),
        }
    }

    /// Calls by outcome, in the order of the tags.
    pub fn outcomes(&self) -> [OutcomeStats; 6] {
        let mut outcomes: [OutcomeStats; 6] = Default::default();
        for (key, site) in self.sites.iter() {
            if let Some(stats) = outcomes.get_mut(key.outcome()) {
                stats.times.merge(&site.times);
                stats.failed += site.failed;
            }
        }
        outcomes
    }

    fn add_failure(&mut self, why: Why, caller: u64) {
        let failure = self.failures.entry(why).or_default();
        if failure.calls == 0 {
            failure.caller = caller;
        }
        failure.calls += 1;
    }

    /// Adds a thread's share.
    pub fn add_thread(&mut self, tid: u32, share: &ThreadStats) {
        if share.calls == 0 {
            return;
        }
        let known = self.threads.contains_key(&tid) || self.threads.len() < MOST_THREADS;
        let tid = if known { tid } else { 0 };
        self.threads.entry(tid).or_default().merge(share);
    }

    /// Takes what a later piece of the same trace came to.
    pub fn merge(&mut self, later: &Self) {
        self.moves.merge(&later.moves);
        for (why, more) in &later.failures {
            let failure = self.failures.entry(*why).or_default();
            if failure.calls == 0 {
                failure.caller = more.caller;
            }
            failure.calls += more.calls;
        }
        self.sites.merge(&later.sites);
        for (tid, share) in &later.threads {
            self.add_thread(*tid, share);
        }
        self.timeline.merge(&later.timeline);
        self.placement.merge(&later.placement);
        self.chains.merge(&later.chains);
    }

    /// Lets go of what has been handed on: no further call is taken.
    pub fn seal(&mut self) {
        self.moves = Moves::default();
        self.timeline = Timeline::default();
        self.chains.seal();
    }
}

/// Takes records as a scan hands them out.
pub struct Counter<'a> {
    process: &'a Process,
    of: usize,
    filter: Option<&'a Filter>,
    place: u32,
    tid: u32,
    thread: ThreadStats,
    /// Whether the calls of this chunk's slots pass the filter; a move's summary follows its call.
    passed: u64,
    times: Times,
    placement: PlacementTally,
    sites: Tallies,
    stats: Stats,
}

impl<'a> Counter<'a> {
    /// Counts the calls of a process that pass a filter.
    pub fn new(process: &'a Process, of: usize, filter: &'a Filter) -> Self {
        Self {
            process,
            of,
            filter: (filter.is_set() || filter.sites.is_some()).then_some(filter),
            place: 0,
            tid: 0,
            thread: ThreadStats::default(),
            passed: 0,
            times: Times::default(),
            placement: PlacementTally::new(process.header.page_size),
            sites: Tallies::default(),
            stats: Stats::new(process.header.realtime_ns),
        }
    }

    /// Whether the call in a slot passes: known in this chunk, looked up elsewhere.
    fn call_passes(&self, slot: u32) -> bool {
        let Some(filter) = self.filter else { return true };
        let (place, index) = (slot / SLOTS_PER_CHUNK, slot % SLOTS_PER_CHUNK);
        if place == self.place {
            return self.passed & 1 << index != 0;
        }
        let call = self.process.call_at(place, index);
        call.is_some_and(|call| filter.passes(self.process, self.of, self.tid, &call))
    }
}

impl Visitor for Counter<'_> {
    fn chunk(&mut self, place: u32, header: &ChunkHeader) {
        if header.tid != self.tid {
            self.stats.add_thread(self.tid, &self.thread);
            self.thread = ThreadStats::default();
        }
        (self.place, self.tid, self.passed) = (place, header.tid, 0);
    }

    fn calls(&mut self, calls: &Calls<'_>) {
        let calls = match self.filter {
            None => *calls,
            Some(filter) => {
                calls.filter(|call| filter.passes(self.process, self.of, self.tid, call))
            }
        };
        self.passed = calls.mask();
        self.times.fill(self.process.clock(), &calls);
        self.sites.expect(calls.len());
        let failed = self.take_failed(&calls.failed());
        let succeeded = self.take_succeeded(&calls.succeeded());
        self.thread.merge(&failed);
        self.thread.merge(&succeeded);
        let whole = Bin {
            calls: failed.calls + succeeded.calls,
            failed: failed.calls,
            time: failed.time + succeeded.time,
        };
        let since_start = |ticks| self.process.since_start(ticks);
        self.stats.timeline.add(&calls, &self.times, whole, since_start);
    }

    fn record(&mut self, record: &Record) {
        match record {
            Record::Summary(summary) if self.call_passes(summary.call) => {
                self.stats.moves.add(summary)
            }
            _ => {}
        }
    }
}

impl Counter<'_> {
    /// Takes the calls of a chunk that failed. What they asked for may be anything: it is not added up.
    fn take_failed(&mut self, calls: &Calls<'_>) -> ThreadStats {
        let mut share = ThreadStats::default();
        for (slot, call) in calls.iter() {
            let time = self.times.of(slot as usize);
            let key = Key::new(call.caller, call.outcome);
            self.sites.fail(key);
            self.sites.take(key, time, 0);
            if let Some(why) = Why::of(&call, &self.process.header) {
                self.stats.add_failure(why, call.caller);
            }
            share.calls += 1;
            share.time += time.ns;
        }
        share.failed = share.calls;
        share
    }

    /// Takes the others, which are one thread's.
    #[inline(never)] // A loop by itself has the processor's registers for itself.
    fn take_succeeded(&mut self, calls: &Calls<'_>) -> ThreadStats {
        let (mut all_ns, mut bytes, mut large) = (0, 0, 0_u128);
        calls.for_each(|slot, call| {
            let took = self.times.of(slot);
            let len = call.old_len().max(call.new_len());
            all_ns += took.ns;
            if len | took.ns < LARGE {
                bytes += len;
                self.sites.take_ordinary(Key::of(call), took, len);
                self.placement.take_ordinary(call);
            } else {
                large += u128::from(len);
                self.sites.take(Key::of(call), took, len);
                self.placement.take(call);
            }
        });
        self.stats.chains.take(calls, &self.times, self.tid);
        ThreadStats {
            calls: calls.len() as u64,
            time: all_ns,
            failed: 0,
            bytes: u64::try_from(large + u128::from(bytes)).unwrap_or(u64::MAX),
        }
    }

    /// Wall clock of the trace's start.
    pub fn base(&self) -> u64 {
        self.process.header.realtime_ns
    }

    /// What it came to.
    pub fn finish(mut self) -> Stats {
        self.stats.add_thread(self.tid, &self.thread);
        self.stats.placement = self.placement.finish();
        self.stats.sites = self.sites.finish();
        self.stats.chains.date(|ticks| self.process.since_start(ticks));
        self.stats
    }
}
