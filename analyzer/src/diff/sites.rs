//! Call sites of both sides, matched.
//!
//! A rebuild changes offsets and build ids: call sites are then matched by function and line, and
//! what remains by function alone, in the order of lines.

use std::collections::{BTreeMap, BTreeSet};

use super::Runs;
use super::compare::{Spread, Tolerance, changed, latency_change};
use crate::stats::{Overview, SiteStats};
use crate::symbols::Site;

/// How a call site changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    New,
    Gone,
    Slower,
    Faster,
    Outcomes,
    Calls,
    Same,
}

impl Change {
    /// Its name in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gone => "gone",
            Self::Slower => "slower",
            Self::Faster => "faster",
            Self::Outcomes => "other outcomes",
            Self::Calls => "other count",
            Self::Same => "same",
        }
    }
}

/// A call site on both sides, or all call sites.
pub struct Row {
    /// Name on the later side if it is there.
    pub name: String,
    /// How it changed.
    pub change: Change,
    /// Totals of each run before; none where the site is new.
    pub before: Option<Runs>,
    /// Totals of each run after; none where the site is gone.
    pub after: Option<Runs>,
    tolerance: Tolerance,
}

impl Row {
    fn new(name: String, before: Option<Runs>, after: Option<Runs>, tolerance: Tolerance) -> Self {
        let mut row = Self { name, change: Change::Same, before, after, tolerance };
        row.change = row.judge();
        row
    }

    /// All call sites together.
    pub fn total(before: &[Overview], after: &[Overview], tolerance: Tolerance) -> Self {
        let totals = |side: &[Overview]| Some(side.iter().map(Overview::total).collect());
        Self::new("all call sites".to_owned(), totals(before), totals(after), tolerance)
    }

    /// Whether anything changed.
    pub fn differs(&self) -> bool {
        self.change != Change::Same
    }

    /// A number over the runs of each side.
    pub fn spreads(&self, number: impl Fn(&SiteStats) -> u64) -> [Option<Spread>; 2] {
        let spread = |side: &Option<Runs>| {
            side.as_ref().map(|runs| Spread::of(runs.iter().map(&number).collect()))
        };
        [spread(&self.before), spread(&self.after)]
    }

    fn has_changed(&self, number: impl Fn(&SiteStats) -> u64) -> bool {
        let [before, after] = self.spreads(number).map(Option::unwrap_or_default);
        changed(&before, &after, self.tolerance.totals)
    }

    /// Whether total time went up (true) or down (false). The total of a single run is noisy: calls
    /// or latency must have changed with it.
    pub fn time_change(&self) -> Option<bool> {
        let runs = self.before.as_ref().zip(self.after.as_ref());
        let latency = runs.and_then(|(a, b)| latency_change(a, b, self.tolerance.latency));
        let is_single = runs.is_none_or(|(a, b)| a.len() == 1 || b.len() == 1);
        let [before, after] =
            self.spreads(|stats| stats.times.sum()).map(Option::unwrap_or_default);
        let is_real = !is_single || latency.is_some() || self.has_changed(SiteStats::calls);
        let has_changed = changed(&before, &after, self.tolerance.totals) && is_real;
        has_changed.then_some(after.median > before.median)
    }

    /// Whether these rows account for the change of this one's total time. Without that, a few slow
    /// calls of a site that has not changed may be its cause.
    pub fn is_explained_by(&self, rows: &[Self]) -> bool {
        let times = |row: &Self| {
            row.spreads(|stats| stats.times.sum())
                .map(|side| i128::from(side.unwrap_or_default().median))
        };
        let [before, after] = times(self);
        let change: i128 = rows.iter().map(times).map(|[before, after]| after - before).sum();
        let spread = |time: i128| Spread::of(vec![u64::try_from(time).unwrap_or(0)]);
        let is_slower = after > before;
        is_slower == (change > 0)
            && changed(&spread(before), &spread(before + change), self.tolerance.totals)
    }

    /// Judges the row again, by its number of calls alone.
    pub fn discount_time(&mut self) {
        if matches!(self.change, Change::Slower | Change::Faster) {
            let has_changed = self.has_changed(SiteStats::calls);
            self.change = if has_changed { Change::Calls } else { Change::Same };
        }
    }

    /// Total time first, then calls, then latency.
    fn judge(&self) -> Change {
        let (Some(before), Some(after)) = (&self.before, &self.after) else {
            return if self.before.is_none() { Change::New } else { Change::Gone };
        };
        let outcomes =
            |runs: &Runs| runs.iter().flat_map(present_outcomes).collect::<BTreeSet<usize>>();
        if outcomes(before) != outcomes(after) {
            return Change::Outcomes;
        }
        let slower = |is_slower| if is_slower { Change::Slower } else { Change::Faster };
        if let Some(change) = self.time_change() {
            return slower(change);
        }
        if self.has_changed(SiteStats::calls) {
            return Change::Calls;
        }
        latency_change(before, after, self.tolerance.latency).map_or(Change::Same, slower)
    }
}

/// The outcomes that a site has calls with; one number more for failures.
fn present_outcomes(stats: &SiteStats) -> impl Iterator<Item = usize> {
    let calls = stats.outcomes.iter().chain([&stats.failed]);
    let present: Vec<usize> =
        calls.enumerate().filter(|(_, calls)| **calls > 0).map(|(index, _)| index).collect();
    present.into_iter()
}

/// A call site of one side.
struct Found<'a> {
    site: &'a Site,
    runs: Runs,
}

/// Call sites of a side by module and name. Addresses outside every module change from run to run
/// and are one site.
fn collect(side: &[Overview]) -> BTreeMap<(String, String), Found<'_>> {
    let mut sites: BTreeMap<(String, String), Found<'_>> = BTreeMap::new();
    for (run, overview) in side.iter().enumerate() {
        for named in &overview.sites {
            let site = &named.site;
            let name = if site.module.is_some() { site.name() } else { "no module".to_owned() };
            let found = sites
                .entry((module(site).to_owned(), name))
                .or_insert_with(|| Found { site, runs: vec![SiteStats::default(); side.len()] });
            if let Some(stats) = found.runs.get_mut(run) {
                stats.merge(&named.stats);
                for (calls, more) in stats.outcomes.iter_mut().zip(named.stats.outcomes) {
                    *calls += more;
                }
            }
        }
    }
    sites
}

fn module(site: &Site) -> &str {
    let path = site.module.as_deref().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

/// Every call site of either side, by change of total time, and notes on those that cannot be
/// matched.
pub fn rows(
    before: &[Overview],
    after: &[Overview],
    tolerance: Tolerance,
) -> (Vec<Row>, Vec<String>) {
    let (mut before, mut after) = (collect(before), collect(after));
    let mut rows = Vec::new();
    let same: Vec<_> = before
        .iter()
        .filter(|(key, found)| after.get(*key).is_some_and(|other| may_match(found, other)))
        .map(|(key, _)| key.clone())
        .collect();
    for key in same {
        if let Some((a, b)) = before.remove(&key).zip(after.remove(&key)) {
            rows.push(Row::new(key.1, Some(a.runs), Some(b.runs), tolerance));
        }
    }
    let (mut before, mut after) = (by_function(before), by_function(after));
    for (key, sites) in &mut before {
        let others = after.entry(key.clone()).or_default();
        let pairs = if key.1.is_some() { sites.len().min(others.len()) } else { 0 };
        for (a, b) in sites.drain(..pairs).zip(others.drain(..pairs)) {
            rows.push(Row::new(b.site.name(), Some(a.runs), Some(b.runs), tolerance));
        }
    }
    let notes = unmatched(&before, &after);
    for found in before.into_values().flatten() {
        rows.push(Row::new(found.site.name(), Some(found.runs), None, tolerance));
    }
    for found in after.into_values().flatten() {
        rows.push(Row::new(found.site.name(), None, Some(found.runs), tolerance));
    }
    let time = |row: &Row| {
        let [before, after] = row.spreads(|stats| stats.times.sum()).map(Option::unwrap_or_default);
        before.median.abs_diff(after.median)
    };
    rows.sort_by_key(|row| std::cmp::Reverse(time(row)));
    (rows, notes)
}

/// An offset means the same call site only in the same build.
fn may_match(a: &Found<'_>, b: &Found<'_>) -> bool {
    let (a, b) = (a.site, b.site);
    let is_named = a.frames.first().is_some_and(|frame| frame.function.is_some());
    is_named || a.build_id == b.build_id || a.build_id.is_empty() || b.build_id.is_empty()
}

/// Module, and function if it is known.
type ByFunction<'a> = BTreeMap<(String, Option<String>), Vec<Found<'a>>>;

fn by_function(sites: BTreeMap<(String, String), Found<'_>>) -> ByFunction<'_> {
    let mut functions: ByFunction<'_> = BTreeMap::new();
    for ((module, _), found) in sites {
        let frame = found.site.frames.first();
        let function = frame.and_then(|frame| frame.function.clone());
        functions.entry((module, function)).or_default().push(found);
    }
    for sites in functions.values_mut() {
        let line = |found: &Found<'_>| found.site.frames.first().and_then(|frame| frame.line);
        sites.sort_by_key(|found| (line(found), found.site.offset));
    }
    functions
}

fn unmatched(before: &ByFunction<'_>, after: &ByFunction<'_>) -> Vec<String> {
    let notes = before.iter().filter_map(|((module, function), sites)| {
        let others = after.get(&(module.clone(), None))?;
        (function.is_none() && !sites.is_empty() && !others.is_empty()).then(|| {
            format!(
                "{module}: its build ids differ and {} of its call sites have no function names, so \
                 they are not matched; install debug information or pass --debug-path",
                sites.len() + others.len()
            )
        })
    });
    notes.collect()
}
