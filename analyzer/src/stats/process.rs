//! Totals of one process, counted call by call.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use mremap_trace::layout::SLOTS_PER_CHUNK;
use mremap_trace::{Call, Outcome, Record, Summary};

use super::bytes::Bytes;
use super::chains::Chains;
use super::counts::{Failure, Moves, OutcomeStats, ThreadStats};
use super::key::Key;
use super::placement::{Change, Placement, PlacementTally};
use super::sites::Sites;
use super::tallies::{Tallies, is_ordinary};
use super::timeline::{Bin, Timeline};
use super::times::Times;
use crate::load::{Calls, Process, Run, Visitor, slot_number};
use crate::model::{Filter, Why};

/// Threads kept apart; calls of further ones count for thread 0.
const MAX_THREADS: usize = 16_384;
/// Index of the outcome of calls that never returned.
const BEGUN: usize = Outcome::Begun as usize - 1;

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
        let known = self.threads.contains_key(&tid) || self.threads.len() < MAX_THREADS;
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

/// Sums over the ordinary successful calls of a chunk. In memory: as variables of the loop, they
/// took registers that it needs.
#[derive(Default)]
struct Sums {
    time: u64,
    requested: u64,
    /// Bytes grown in place, and bytes relocated.
    changed: [u64; 2],
}

/// Counts the records of a scan.
pub struct Counter<'a> {
    process: &'a Process,
    process_index: usize,
    filter: Option<&'a Filter>,
    place: u32,
    tid: u32,
    thread: ThreadStats,
    /// Number of the chunk, in the order in which chunks were begun.
    number: u32,
    times: Times,
    placement: PlacementTally,
    sums: Sums,
    sites: Tallies,
    stats: Stats,
}

impl<'a> Counter<'a> {
    /// Counts the calls of a process that pass a filter.
    pub fn new(process: &'a Process, process_index: usize, filter: &'a Filter) -> Self {
        Self {
            process,
            process_index,
            filter: (filter.is_set() || filter.sites.is_some()).then_some(filter),
            place: 0,
            tid: 0,
            thread: ThreadStats::default(),
            number: 0,
            times: Times::default(),
            placement: PlacementTally::new(process.header.page_size),
            sums: Sums::default(),
            sites: Tallies::default(),
            stats: Stats::new(process.header.realtime_ns),
        }
    }

    /// The call of a summary, if it passes the filter. It may be in an earlier chunk, at whose
    /// position there is a newer one if the last records are kept.
    fn call_of(&self, summary: &Summary, calls: &Calls<'_>) -> Option<Call> {
        let (place, index) = (summary.call / SLOTS_PER_CHUNK, summary.call % SLOTS_PER_CHUNK);
        let call = if place == self.place {
            calls.get(index)?
        } else {
            self.process.call_at(place, index, self.number)?
        };
        let passes = |filter: &Filter| self.passes(filter, place, index, &call);
        self.filter.is_none_or(passes).then_some(call)
    }

    /// Whether a call in a slot of the chunk at `place` passes a filter.
    fn passes(&self, filter: &Filter, place: u32, slot: u32, call: &Call) -> bool {
        filter.passes(self.process, self.process_index, (self.tid, slot_number(place, slot)), call)
    }
}

impl Visitor for Counter<'_> {
    fn run(&mut self, run: &Run) {
        if run.tid != self.tid {
            self.stats.add_thread(self.tid, &self.thread);
            self.thread = ThreadStats::default();
        }
        (self.place, self.tid, self.number) = (run.place, run.tid, run.number);
    }

    fn calls(&mut self, calls: &Calls<'_>) {
        let calls = match self.filter {
            None => *calls,
            Some(filter) => calls.filter(|slot, call| self.passes(filter, self.place, slot, call)),
        };
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

    fn record(&mut self, record: &Record, calls: &Calls<'_>) {
        if let Record::Summary(summary) = record
            && let Some(call) = self.call_of(summary, calls)
        {
            self.stats.moves.add(summary);
            let correction = Bytes::correction(&call, self.process.header.page_size, summary);
            self.sites.correct(Key::new(call.caller, call.outcome), &correction);
            self.thread.bytes.add(&correction);
        }
    }
}

impl Counter<'_> {
    /// Counts the failed calls of a chunk. Their lengths may be anything, so no bytes are added.
    fn count_failed(&mut self, calls: &Calls<'_>) -> ThreadStats {
        let mut share = ThreadStats::default();
        for (slot, call) in calls {
            let time = self.times.of(slot as usize);
            let key = Key::new(call.caller, call.outcome);
            self.sites.fail(key);
            self.sites.take(key, time, 0, Change::default());
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
        self.sums = Sums::default();
        let mut large = Bytes::default();
        calls.for_each(|slot, call| {
            let (key, took) = (Key::of(call), self.times.of(slot));
            let len = call.old_len().max(call.new_len());
            self.sums.time += took.ns;
            if is_ordinary(len, took) && key.outcome() != BEGUN {
                let change = self.placement.take_ordinary(call);
                self.sums.requested += len;
                self.sums.changed[usize::from(change.moved)] += change.bytes;
                self.sites.take_ordinary(key, took, len, change);
            } else {
                // A call that was begun has no result: it changed nothing that is known.
                let has_result = key.outcome() != BEGUN;
                let change = if has_result { self.placement.take(call) } else { Change::default() };
                large.add(&change.bytes(len));
                self.sites.take(key, took, len, change);
            }
        });
        self.stats.chains.take(calls, &self.times, self.tid);
        let Sums { time, requested, changed } = self.sums;
        let [grown, relocated] = changed.map(u128::from);
        let mut bytes = Bytes::new(requested.into(), relocated, grown);
        bytes.add(&large);
        ThreadStats { calls: calls.len() as u64, time, failed: 0, bytes }
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
