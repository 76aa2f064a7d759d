//! Totals of one process, counted call by call.

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

/// Threads kept apart; calls of further ones count for thread 0.
const MOST_THREADS: usize = 16_384;

/// Totals of a process, or of a part of its trace.
pub struct Stats {
    /// Moves with recorded VMAs.
    pub moves: Moves,
    /// By errno and reason.
    pub failures: BTreeMap<Why, Failure>,
    /// By return address.
    pub sites: Sites,
    /// By thread.
    pub threads: HashMap<u32, ThreadStats, RandomState>,
    /// Over time.
    pub timeline: Timeline,
    /// How mappings grew, shrank and moved.
    pub placement: Placement,
    /// Mappings that grew several times.
    pub chains: Chains,
}

impl Stats {
    /// Empty totals.
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

    /// Calls by outcome, in the order of `OUTCOMES`.
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

    /// Adds a thread's totals.
    pub fn add_thread(&mut self, tid: u32, share: &ThreadStats) {
        if share.calls == 0 {
            return;
        }
        let known = self.threads.contains_key(&tid) || self.threads.len() < MOST_THREADS;
        let tid = if known { tid } else { 0 };
        self.threads.entry(tid).or_default().merge(share);
    }

    /// Adds the totals of a later part of the same trace.
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

    /// Frees what the overview has already added. No call can be added afterwards.
    pub fn seal(&mut self) {
        self.moves = Moves::default();
        self.timeline = Timeline::default();
        self.chains.seal();
    }
}

/// Counts the records of a scan.
pub struct Counter<'a> {
    process: &'a Process,
    of: usize,
    filter: Option<&'a Filter>,
    place: u32,
    tid: u32,
    thread: ThreadStats,
    /// Bit n: the call in slot n of this chunk passes the filter. A move's summary refers to it.
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

    /// Whether the call in a slot passes the filter; a call in another chunk is read again.
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
        let failed = self.count_failed(&calls.failed());
        let succeeded = self.count_succeeded(&calls.succeeded());
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
    /// Counts the failed calls of a chunk. Their lengths may be anything, so no bytes are added.
    fn count_failed(&mut self, calls: &Calls<'_>) -> ThreadStats {
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

    /// Counts the successful calls of a chunk.
    #[inline(never)] // Inlined, the loop spills registers.
    fn count_succeeded(&mut self, calls: &Calls<'_>) -> ThreadStats {
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

    /// Start of the trace: wall clock, nanoseconds since 1970.
    pub fn base(&self) -> u64 {
        self.process.header.realtime_ns
    }

    /// The totals.
    pub fn finish(mut self) -> Stats {
        self.stats.add_thread(self.tid, &self.thread);
        self.stats.placement = self.placement.finish();
        self.stats.sites = self.sites.finish();
        self.stats.chains.convert_ticks(|ticks| self.process.since_start(ticks));
        self.stats
    }
}
