//! What all processes did, with names for call sites.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::chain::Chain;
use super::counts::{Moves, OutcomeStats, ThreadStats};
use super::placement::Placement;
use super::process::{Counter, Stats};
use super::sites::SiteStats;
use super::timeline::Timeline;
use crate::load::{Traces, scan};
use crate::model::{Filter, Why};
use crate::symbols::{Site, Symbols};

/// A call site by name, over all processes.
pub struct NamedSite {
    /// Its name.
    pub site: Arc<Site>,
    /// What it came to.
    pub stats: SiteStats,
}

/// Calls that failed with one errno, over all processes.
#[derive(Default)]
pub struct NamedFailure {
    /// How many.
    pub calls: u64,
    /// One of the call sites.
    pub site: Arc<Site>,
}

/// One process's share.
pub struct ProcessStats {
    /// Its index among those read.
    pub process: usize,
    /// All its threads together.
    pub total: ThreadStats,
    /// Its threads, the busiest first.
    pub threads: Vec<(u32, ThreadStats)>,
}

/// What all processes did.
pub struct Overview {
    /// Calls.
    pub calls: u64,
    /// By outcome, in the order of the tags.
    pub outcomes: [OutcomeStats; 6],
    /// Moves that were taken apart.
    pub moves: Moves,
    /// By errno and reason.
    pub failures: BTreeMap<Why, NamedFailure>,
    /// By call site.
    pub sites: Vec<NamedSite>,
    /// By process.
    pub processes: Vec<ProcessStats>,
    /// Over time.
    pub timeline: Timeline,
    /// In place or elsewhere.
    pub placement: Placement,
    /// Growth chains, with the index of their process.
    pub chains: Vec<(usize, Chain)>,
    places: HashMap<String, usize>,
}

impl Overview {
    /// Nothing yet; `base` is the wall clock the timeline starts from.
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
            chains: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Reads traces and counts the calls that pass a filter.
    pub fn of(traces: &mut Traces, filter: &mut Filter, symbols: &Symbols) -> Self {
        filter.start = traces.start();
        if filter.site.is_some() {
            pick_sites(traces, filter, symbols);
        }
        let mut overview = Self::new(traces.start());
        let stats = count(traces, filter, |stats| overview.take_sums(stats));
        for (index, stats) in stats.iter().enumerate() {
            overview.take_named(traces, index, stats, symbols);
        }
        overview.finish();
        overview
    }

    /// What needs no names.
    fn take_sums(&mut self, stats: &Stats) {
        for (outcome, more) in self.outcomes.iter_mut().zip(&stats.outcomes()) {
            self.calls += more.times.count();
            outcome.merge(more);
        }
        self.moves.merge(&stats.moves);
        self.placement.merge(&stats.placement);
        self.timeline.merge(&stats.timeline);
    }

    fn take_named(&mut self, traces: &Traces, index: usize, stats: &Stats, symbols: &Symbols) {
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
        let chains = stats.chains.longest();
        self.chains.extend(chains.into_iter().map(|chain| (index, chain)));
        self.take_threads(index, stats);
    }

    /// Sites of the same name are one, whatever process they ran in.
    fn site(&mut self, site: Arc<Site>) -> &mut SiteStats {
        let known = self.sites.len();
        let name = format!("{}\0{}", site.name(), site.module.as_deref().unwrap_or_default());
        let at = *self.places.entry(name).or_insert(known);
        if at == known {
            self.sites.push(NamedSite { site, stats: SiteStats::default() });
        }
        &mut self.sites[at].stats
    }

    fn take_threads(&mut self, process: usize, stats: &Stats) {
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

/// Counts the calls of each process that pass a filter. Each process is handed on whole once; what is kept of
/// it is what needs names, since there may be thousands.
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

/// Finds the addresses that `--site` means: all that occur are named once.
pub fn pick_sites(traces: &mut Traces, filter: &mut Filter, symbols: &Symbols) {
    let stats = count(traces, &Filter::default(), |_| ());
    let mut callers = HashSet::new();
    for (of, stats) in stats.iter().enumerate() {
        callers.extend(stats.sites.iter().map(|(key, _)| (of, key.caller())));
    }
    symbols.pick_sites(traces, filter, &callers);
}
