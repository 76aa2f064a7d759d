//! The comparison as one JSON object. Fields are only added, never renamed; `docs/json.md` lists
//! them.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use super::compare::Spread;
use super::sites::Row;
use super::{Difference, Pair, Runs};
use crate::stats::SiteStats;

/// Writes the object.
pub fn write(difference: &Difference, out: &mut dyn Write) -> Result<()> {
    let total = side_times(&difference.total);
    let value = json!({
        "differ": difference.verdict != super::Verdict::Same,
        "verdict": difference.verdict.name(),
        "tolerance_percent": difference.tolerance.totals * 100.0,
        "latency_tolerance_percent": difference.tolerance.latency * 100.0,
        "total": row(&difference.total, total),
        "outcomes": difference.outcomes.iter().map(pair).collect::<Vec<_>>(),
        "failures": difference.failures.iter().map(pair).collect::<Vec<_>>(),
        "sites": difference.rows.iter().map(|it| row(it, total)).collect::<Vec<_>>(),
        "notes": difference.notes,
    });
    serde_json::to_writer_pretty(&mut *out, &value)?;
    writeln!(out)?;
    Ok(())
}

/// Median of the total time of both sides.
fn side_times(total: &Row) -> [u64; 2] {
    total.spreads(|stats| stats.times.sum()).map(|spread| spread.map_or(0, |it| it.median))
}

fn row(row: &Row, [before, after]: [u64; 2]) -> Value {
    json!({
        "site": row.name,
        "change": row.change.name(),
        "before": row.before.as_ref().map(|runs| side(runs, before)),
        "after": row.after.as_ref().map(|runs| side(runs, after)),
    })
}

/// Medians over the runs of a side, and the extremes of the total time.
fn side(runs: &Runs, total: u64) -> Value {
    let spread = |number: fn(&SiteStats) -> u64| Spread::of(runs.iter().map(number).collect());
    let median = |number: fn(&SiteStats) -> u64| spread(number).median;
    let time = spread(|run| run.times.sum());
    let calls = median(SiteStats::calls);
    json!({
        "runs": runs.len(),
        "calls": calls,
        "failed": median(|run| run.failed),
        "median_ns": median(|run| run.times.percentile(50.0)),
        "mean_ns": time.median / calls.max(1),
        "time_ns": time.median,
        "time_least_ns": time.min,
        "time_most_ns": time.max,
        "time_share": time.median as f64 / total.max(1) as f64,
        "bytes_relocated": median(|run| run.bytes.relocated()),
        "bytes_grown_in_place": median(|run| run.bytes.grown_in_place()),
    })
}

fn pair(pair: &Pair) -> Value {
    json!({
        "name": pair.name,
        "before": pair.before[0],
        "before_failed": pair.before[1],
        "after": pair.after[0],
        "after_failed": pair.after[1],
    })
}
