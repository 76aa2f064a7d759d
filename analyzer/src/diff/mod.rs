//! `diff`: compares two sides, each of one or several runs, by total time, calls and latency.
//!
//! A number has changed if the values of all runs of one side are above those of the other, and the
//! medians differ by more than the tolerance. Latencies of single runs are compared by the 99 %
//! confidence intervals of their medians.

mod compare;
mod json;
mod sites;
mod text;

use std::io::Write;

use anyhow::Result;
use mremap_trace::Outcome;

use crate::model::names;
use crate::stats::{OutcomeStats, Overview, SiteStats};
use compare::{Spread, Tolerance, changed};
use sites::{Row, rows};
pub use text::write_folded;

/// Options of `diff`.
pub struct Options {
    /// One JSON object instead of tables.
    pub json: bool,
    /// Rows of each table.
    pub top: usize,
    /// Changes up to this many percent are ignored.
    pub tolerance: Option<f64>,
}

/// How time in `mremap` changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No difference beyond noise.
    Same,
    /// Something differs, but not the total time.
    Different,
    /// Less time in total.
    Faster,
    /// More time in total.
    Slower,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
            Self::Faster => "faster",
            Self::Slower => "slower",
        }
    }
}

/// Everything that differs.
struct Difference {
    verdict: Verdict,
    tolerance: Tolerance,
    runs: [usize; 2],
    total: Row,
    /// Call sites that differ, largest change of total time first.
    rows: Vec<Row>,
    outcomes: Vec<Pair>,
    failures: Vec<Pair>,
    /// Why call sites could not be matched.
    notes: Vec<String>,
}

/// Calls and failures of an outcome or an errno, as medians of each side.
struct Pair {
    name: String,
    before: [u64; 2],
    after: [u64; 2],
}

/// Compares two sides.
pub struct Comparison(Difference);

impl Comparison {
    /// Compares the runs of one side with those of the other.
    pub fn of(before: &[Overview], after: &[Overview], options: &Options) -> Self {
        let several = before.len() > 1 && after.len() > 1;
        let tolerance = Tolerance::new(options.tolerance, several);
        let (mut rows, notes) = rows(before, after, tolerance);
        rows.retain(Row::differs);
        let mut total = Row::total(before, after, tolerance);
        let outcomes = outcome_changes(before, after, tolerance.totals);
        let failures = failure_changes(before, after, tolerance.totals);
        let is_same = rows.is_empty() && outcomes.is_empty() && failures.is_empty();
        let time_change = total.time_change().filter(|_| several || total.is_explained_by(&rows));
        if time_change.is_none() {
            total.discount_time();
        }
        let verdict = match time_change {
            _ if is_same => Verdict::Same,
            Some(true) => Verdict::Slower,
            Some(false) => Verdict::Faster,
            None => Verdict::Different,
        };
        let runs = [before.len(), after.len()];
        Self(Difference { verdict, tolerance, runs, total, rows, outcomes, failures, notes })
    }

    /// Whether the sides differ.
    pub fn differ(&self) -> bool {
        self.0.verdict != Verdict::Same
    }

    /// Writes the comparison.
    pub fn write(&self, options: &Options, out: &mut dyn Write) -> Result<()> {
        if options.json {
            json::write(&self.0, out)
        } else {
            text::write(&self.0, options.top, out)
        }
    }
}

/// Medians of a count over the runs of both sides, if it changed.
fn pair(name: String, counts: &[Vec<[u64; 2]>; 2], tolerance: f64) -> Option<Pair> {
    let spread = |side: &[[u64; 2]], which: usize| {
        Spread::of(side.iter().map(|counts| counts[which]).collect())
    };
    let of = |which| counts.each_ref().map(|side| spread(side, which));
    let ([calls_a, calls_b], [failed_a, failed_b]) = (of(0), of(1));
    let differs =
        changed(&calls_a, &calls_b, tolerance) || changed(&failed_a, &failed_b, tolerance);
    differs.then_some(Pair {
        name,
        before: [calls_a.median, failed_a.median],
        after: [calls_b.median, failed_b.median],
    })
}

fn outcome_changes(before: &[Overview], after: &[Overview], tolerance: f64) -> Vec<Pair> {
    let counts = |outcome: &OutcomeStats| [outcome.times.count(), outcome.failed];
    let of = |side: &[Overview], at: usize| -> Vec<[u64; 2]> {
        side.iter().filter_map(|run| run.outcomes.get(at)).map(counts).collect()
    };
    let names = Outcome::ALL.iter().enumerate();
    let pairs = names.map(|(at, outcome)| {
        pair(outcome.name().to_owned(), &[of(before, at), of(after, at)], tolerance)
    });
    pairs.flatten().collect()
}

fn failure_changes(before: &[Overview], after: &[Overview], tolerance: f64) -> Vec<Pair> {
    let runs = before.iter().chain(after);
    let mut errnos: Vec<u32> =
        runs.flat_map(|run| run.failures.keys()).map(|why| why.errno).collect();
    errnos.sort_unstable();
    errnos.dedup();
    let of = |side: &[Overview], errno: u32| -> Vec<[u64; 2]> {
        let calls = |run: &Overview| -> u64 {
            let of_errno = run.failures.iter().filter(|(why, _)| why.errno == errno);
            of_errno.map(|(_, failure)| failure.calls).sum()
        };
        side.iter().map(|run| [calls(run); 2]).collect()
    };
    let pairs = errnos
        .into_iter()
        .map(|errno| pair(names::errno(errno), &[of(before, errno), of(after, errno)], tolerance));
    pairs.flatten().collect()
}

/// Totals of each run of a side.
type Runs = Vec<SiteStats>;
