//! Totals over all processes, with names for call sites.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::bytes::Bytes;
use super::chain::Chain;
use super::counts::{Moves, OutcomeStats, ThreadStats};
use super::placement::Placement;
use super::process::{Counter, Stats};
use super::sites::SiteStats;
use super::timeline::Timeline;
use crate::load::{Candidate, Index, Process, Traces, in_order, scan};
use crate::model::{Filter, PickedSites, SlotSet, Why};
use crate::named::Namer;
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
    /// Whether `site` is the caller, because the stack is not known yet.
    is_by_caller: bool,
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
    /// By process and address: the site of the last call that returned the address.
    growers: HashMap<(usize, u64), Arc<Site>>,
}

impl Overview {
    /// Whether a process is counted: `--pid` leaves out all others.
    pub fn counts(&self, process: &Process) -> bool {
        self.pid.is_none_or(|pid| process.header.pid == pid)
    }

    /// The call site that grew a mapping last.
    pub fn chain_site(
        &self,
        process: &Process,
        process_index: usize,
        chain: &Chain,
        symbols: &Symbols,
    ) -> Arc<Site> {
        let grower = self.growers.get(&(process_index, chain.last));
        grower.cloned().unwrap_or_else(|| {
            symbols.site(process, process_index, process.code_at(chain.caller, 0))
        })
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
            growers: HashMap::new(),
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
        if traces.processes.iter().any(Process::has_sites_by_event) {
            overview.add_sites_by_event(traces, filter, symbols);
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
                site: symbols.site(process, index, process.code_at(failure.caller, 0)),
                is_by_caller: process.has_sites_by_event(),
            });
            named.calls += failure.calls;
        }
        // The sites of the others are counted event by event.
        let by_caller = stats.sites.iter().filter(|_| !process.has_sites_by_event());
        for (key, more) in by_caller {
            let code = process.code_at(key.caller(), 0);
            let site = self.site(symbols.site(process, index, code));
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

    /// Adds the sites of processes whose events must be looked at: of stacks, the first frames
    /// outside libc and allocators.
    fn add_sites_by_event(&mut self, traces: &mut Traces, filter: &Filter, symbols: &Symbols) {
        let index = Index::build(traces);
        let mut namer = Namer::new(symbols);
        let wanted = |candidate: &Candidate<'_>| {
            candidate.process.has_sites_by_event() && filter.selects(candidate)
        };
        // The callback returns no error.
        let _ = in_order(traces, &index, wanted, |process, event| {
            let process_index = event.process;
            let named = namer.name(process, event);
            match named.why.and_then(|why| self.failures.get_mut(&why)) {
                None => {
                    let address = named.event.call.result as u64;
                    self.growers.insert((process_index, address), Arc::clone(&named.site.site));
                }
                Some(failure) if failure.is_by_caller => {
                    failure.site = Arc::clone(&named.site.site);
                    failure.is_by_caller = false;
                }
                Some(_) => {}
            }
            let site = self.site(Arc::clone(&named.site.site));
            site.times.add(named.duration);
            // Failed calls count only what they moved before they failed.
            let has_failed = named.why.is_some();
            let requested = if has_failed { 0 } else { named.bytes.requested() };
            site.bytes.add(&Bytes::new(
                requested.into(),
                named.bytes.relocated().into(),
                named.bytes.grown_in_place().into(),
            ));
            site.failed += u64::from(has_failed);
            if let Some(calls) = site.outcomes.get_mut(named.event.call.outcome as usize - 1) {
                *calls += 1;
            }
            Ok(ControlFlow::Continue(()))
        });
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
        |process, process_index| Counter::new(process, process_index, filter),
        |process_index, counter| {
            while all.len() <= process_index {
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

/// Picks the calls that `--site` matches: by their return address, by symbolising all that occur;
/// of processes with recorded stacks, each call by the name that the report gives its site.
pub fn pick_sites(traces: &mut Traces, filter: &mut Filter, symbols: &Symbols) {
    let Some(text) = filter.site.clone() else { return };
    let stats = count(traces, &Filter::default(), |_| ());
    let mut callers = HashSet::new();
    for (process_index, stats) in stats.iter().enumerate() {
        callers.extend(stats.sites.iter().map(|(key, _)| (process_index, key.caller())));
    }
    let callers = symbols.sites_named(traces, &text, &callers);
    let mut picked = PickedSites { callers, calls: HashMap::new() };
    let by_event = traces.processes.iter().enumerate();
    let by_event = by_event.filter(|(_, process)| process.has_sites_by_event());
    picked.calls.extend(by_event.map(|(process_index, _)| (process_index, SlotSet::default())));
    if !picked.calls.is_empty() {
        let index = Index::build(traces);
        let mut namer = Namer::new(symbols);
        let wanted = |candidate: &Candidate<'_>| candidate.process.has_sites_by_event();
        // The callback returns no error.
        let _ = in_order(traces, &index, wanted, |process, event| {
            let (process_index, slot) = (event.process, event.slot);
            let is_named = namer.name(process, event).site.site.matches(&text);
            if let Some(slots) = picked.calls.get_mut(&process_index).filter(|_| is_named) {
                slots.insert(slot);
            }
            Ok(ControlFlow::Continue(()))
        });
    }
    filter.sites = Some(picked);
}
