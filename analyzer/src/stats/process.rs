//! What one process came to, taken call by call.

use std::collections::{BTreeMap, HashMap};

use mremap_trace::layout::SLOTS_PER_CHUNK;
use mremap_trace::{ChunkHeader, Record};

use super::chains::Chains;
use super::columns::Columns;
use super::counts::{Failure, Moves, OutcomeStats, Placement, ThreadStats};
use super::sites::Sites;
use super::tallies::Tallies;
use super::timeline::Timeline;
use crate::load::{Bits, Calls, Process, Visitor};
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
    pub threads: HashMap<u32, ThreadStats>,
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
            threads: HashMap::new(),
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
    columns: Box<Columns>,
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
            columns: Box::default(),
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
            Some(filter) => calls.filter(|call| filter.passes(self.process, self.of, self.tid, call)),
        };
        self.passed = calls.mask();
        self.columns.fill(self.process.clock(), &calls);
        self.add_failures();
        self.add_sums();
    }

    fn record(&mut self, record: &Record) {
        match record {
            Record::Summary(summary) if self.call_passes(summary.call) => self.stats.moves.add(summary),
            _ => {}
        }
    }
}

impl Counter<'_> {
    /// Counts the failed calls of a chunk, and silences them for the sums.
    fn add_failures(&mut self) {
        let calls = &mut self.columns;
        for at in Bits(calls.failed) {
            self.sites.fail(calls.row(at as usize).key);
            calls.silence(at as usize);
        }
        for call in &calls.failures {
            if let Some(why) = Why::of(call, &self.process.header) {
                self.stats.add_failure(why, call.caller);
            }
        }
    }

    /// Adds up the calls of a chunk, which are one thread's.
    fn add_sums(&mut self) {
        let (calls, stats) = (&self.columns, &mut self.stats);
        let bytes = self.sites.add(calls);
        self.thread.merge(&ThreadStats {
            calls: calls.len() as u64,
            time: calls.time,
            failed: calls.failed.count_ones().into(),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        });
        stats.timeline.add(calls, |ticks| self.process.since_start(ticks));
        stats
            .placement
            .merge(&calls.placement(self.process.header.page_size));
        stats.chains.add(calls, self.tid);
    }

    /// Wall clock of the trace's start.
    pub fn base(&self) -> u64 {
        self.process.header.realtime_ns
    }

    /// What it came to.
    pub fn finish(mut self) -> Stats {
        self.stats.add_thread(self.tid, &self.thread);
        self.stats.sites = self.sites.finish();
        self.stats.chains.date(|ticks| self.process.since_start(ticks));
        self.stats
    }
}
