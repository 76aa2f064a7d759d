//! Totals over all processes, with names for call sites.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::chain::Chain;
use super::counts::{Moves, OutcomeStats, ThreadStats};
use super::placement::Placement;
use super::process::{Counter, Stats};
use super::sites::SiteStats;
use super::timeline::Timeline;
use crate::load::{Process, Traces, scan};
use crate::model::{Filter, Why};
use crate::symbols::{Site, Symbols};

/// A call site by name, over all processes.
pub struct NamedSite {
    /// Its name.
    pub site: Arc<Site>,
    /// Its totals.
    pub stats: SiteStats,
}

/// Calls of all processes that failed for the same reason.
#[derive(Default)]
pub struct NamedFailure {
    /// Their number.
    pub calls: u64,
    /// Call site of the first one.
    pub site: Arc<Site>,
}

/// Totals of a process.
pub struct ProcessStats {
    /// Its index in `Traces::processes`.
    pub process: usize,
    /// All its threads.
    pub total: ThreadStats,
    /// Its threads, by calls.
    pub threads: Vec<(u32, ThreadStats)>,
}

/// Totals over all processes.
pub struct Overview {
    /// Calls.
    pub calls: u64,
    /// By outcome, in the order of `OUTCOMES`.
    pub outcomes: [OutcomeStats; 6],
    /// Moves with recorded VMAs.
    pub moves: Moves,
    /// By errno and reason.
    pub failures: BTreeMap<Why, NamedFailure>,
    /// By call site.
    pub sites: Vec<NamedSite>,
    /// By process.
    pub processes: Vec<ProcessStats>,
    /// Over time.
    pub timeline: Timeline,
    /// How mappings grew, shrank and moved.
    pub placement: Placement,
    /// Indices of processes with more call sites than are kept apart.
    pub crowded: Vec<usize>,
    /// The only process that is counted, if the filter has one.
    pub pid: Option<u32>,
    /// Growth chains, each with the index of its process.
    pub chains: Vec<(usize, Chain)>,
    places: HashMap<String, usize>,
}

impl Overview {
    /// Whether a process is counted: `--pid` leaves out all others.
    pub fn counts(&self, process: &Process) -> bool {
        self.pid.is_none_or(|pid| process.header.pid == pid)
    }

    /// All call sites together.
    pub fn total(&self) -> SiteStats {
        let mut total = SiteStats::default();
        for named in &self.sites {
            total.merge(&named.stats);
        }
        total
    }

    /// Empty totals. `base` is the start of the timeline: wall clock, nanoseconds since 1970.
    pub fn new(base: u64) -> Self {
        Self {
            calls: 0,
            outcomes: Default::default(),
            moves: Moves::default(),
            failures: BTreeMap::new(),
            sites: Vec::new(),
            processes: Vec::new(),
            timeline: Timeline::new(base),
            placement: Placement::default(),
            crowded: Vec::new(),
            pid: None,
            chains: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Totals of the calls that pass a filter.
    pub fn of(traces: &mut Traces, filter: &mut Filter, symbols: &Symbols) -> Self {
        filter.start = traces.start();
        if filter.site.is_some() {
            pick_sites(traces, filter, symbols);
        }
        let mut overview = Self::new(traces.start());
        overview.pid = filter.pid;
        let stats = count(traces, filter, |stats| overview.add_totals(stats));
        for (index, stats) in stats.iter().enumerate() {
            overview.add_symbolised(traces, index, stats, symbols);
        }
        overview.finish();
        overview
    }

    /// Adds the totals that need no symbols.
    fn add_totals(&mut self, stats: &Stats) {
        for (outcome, more) in self.outcomes.iter_mut().zip(&stats.outcomes()) {
            self.calls += more.times.count();
            outcome.merge(more);
        }
        self.moves.merge(&stats.moves);
        self.placement.merge(&stats.placement);
        self.timeline.merge(&stats.timeline);
    }

    fn add_symbolised(&mut self, traces: &Traces, index: usize, stats: &Stats, symbols: &Symbols) {
        let Some(process) = traces.processes.get(index) else {
            return;
        };
        for (why, failure) in &stats.failures {
            let named = self.failures.entry(*why).or_insert_with(|| NamedFailure {
                calls: 0,
                site: symbols.site(process, index, failure.caller),
            });
            named.calls += failure.calls;
        }
        for (key, more) in stats.sites.iter() {
            let site = self.site(symbols.site(process, index, key.caller()));
            site.merge(more);
            if let Some(calls) = site.outcomes.get_mut(key.outcome()) {
                *calls += more.calls();
            }
        }
        if stats.sites.are_too_many {
            self.crowded.push(index);
        }
        let chains = stats.chains.longest();
        self.chains.extend(chains.into_iter().map(|chain| (index, chain)));
        self.add_threads(index, stats);
    }

    /// The totals of a site. Sites with the same name and module share them across processes.
    fn site(&mut self, site: Arc<Site>) -> &mut SiteStats {
        let known = self.sites.len();
        let name = format!("{}\0{}", site.name(), site.module.as_deref().unwrap_or_default());
        let at = *self.places.entry(name).or_insert(known);
        if at == known {
            self.sites.push(NamedSite { site, stats: SiteStats::default() });
        }
        &mut self.sites[at].stats
    }

    fn add_threads(&mut self, process: usize, stats: &Stats) {
        let mut total = ThreadStats::default();
        for share in stats.threads.values() {
            total.merge(share);
        }
        let mut threads: Vec<_> = stats.threads.iter().map(|(tid, share)| (*tid, *share)).collect();
        threads.sort_by_key(|(tid, share)| (std::cmp::Reverse(share.calls), *tid));
        self.processes.push(ProcessStats { process, total, threads });
    }

    fn finish(&mut self) {
        self.sites
            .sort_by_key(|site| std::cmp::Reverse((site.stats.calls(), site.stats.times.sum())));
        self.chains
            .sort_by_key(|(_, chain)| std::cmp::Reverse((chain.calls_saved(), chain.growths)));
    }
}

/// Counts the calls of each process that pass a filter. `whole` receives the totals of each process
/// once; afterwards only those that need symbols are kept, since there may be thousands of
/// processes.
fn count(traces: &mut Traces, filter: &Filter, mut whole: impl FnMut(&Stats)) -> Vec<Stats> {
    let mut all: Vec<Stats> = Vec::new();
    let mut close = |stats: &mut Stats| {
        whole(stats);
        stats.seal();
    };
    let found = scan(
        traces,
        |process, of| Counter::new(process, of, filter),
        |of, counter| {
            while all.len() <= of {
                if let Some(former) = all.last_mut() {
                    close(former);
                }
                all.push(Stats::new(counter.base()));
            }
            let piece = counter.finish();
            if let Some(stats) = all.last_mut() {
                stats.merge(&piece);
            }
        },
    );
    if let Some(last) = all.last_mut() {
        close(last);
    }
    traces.take_found(found);
    all
}

/// Finds the return addresses that `--site` matches, by symbolising all that occur.
pub fn pick_sites(traces: &mut Traces, filter: &mut Filter, symbols: &Symbols) {
    let stats = count(traces, &Filter::default(), |_| ());
    let mut callers = HashSet::new();
    for (of, stats) in stats.iter().enumerate() {
        callers.extend(stats.sites.iter().map(|(key, _)| (of, key.caller())));
    }
    symbols.pick_sites(traces, filter, &callers);
}
