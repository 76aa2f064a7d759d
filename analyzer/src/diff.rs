//! `diff`: compares two runs by call sites, outcomes and failures.
//!
//! A latency has changed if the 99 % confidence intervals of both medians are disjoint and the
//! medians differ by more than 5 %.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use mremap_trace::Outcome;
use serde_json::{Value, json};

use crate::model::names;
use crate::model::units::{count, duration};
use crate::report::table::{Table, TextStyle};
use crate::stats::{Histogram, NamedSite, OutcomeStats, Overview};

/// Smaller relative changes of a median are noise.
const LEAST_CHANGE: f64 = 0.05;
/// Half the width of a 99 % confidence interval, in standard deviations.
const SIGMAS: f64 = 2.576;
/// Medians of fewer calls are not compared.
const FEWEST_CALLS: u64 = 10;

/// How a call site changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    New,
    Gone,
    Slower,
    Faster,
    Outcomes,
    Calls,
    Same,
}

impl Change {
    fn name(self) -> &'static str {
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

struct Row<'a> {
    name: String,
    change: Change,
    before: Option<&'a NamedSite>,
    after: Option<&'a NamedSite>,
}

/// Writes the differences. Returns whether there are any.
///
/// # Errors
/// Standard output cannot be written.
pub fn write(
    before: &Overview,
    after: &Overview,
    json: bool,
    top: usize,
    out: &mut dyn Write,
) -> Result<bool> {
    let mut rows = rows(before, after);
    let outcomes = outcome_changes(before, after);
    let failures = failure_changes(before, after);
    rows.retain(|row| row.change != Change::Same);
    let differ = !(rows.is_empty() && outcomes.is_empty() && failures.is_empty());
    if json {
        let value = as_json(&rows, &outcomes, &failures, differ);
        serde_json::to_writer_pretty(&mut *out, &value)?;
        writeln!(out)?;
        return Ok(differ);
    }
    let style = TextStyle::of_stdout();
    write_pairs("Outcomes (calls, failed)", &outcomes, &style, out)?;
    write_pairs("Failures", &failures, &style, out)?;
    write_rows(&rows, top, &style, out)?;
    if !differ {
        writeln!(out, "No difference beyond noise.")?;
    }
    Ok(differ)
}

/// Every call site of either run, those whose total time changed most first.
fn rows<'a>(before: &'a Overview, after: &'a Overview) -> Vec<Row<'a>> {
    let mut by_name: BTreeMap<String, (Option<&NamedSite>, Option<&NamedSite>)> = BTreeMap::new();
    for named in &before.sites {
        by_name.entry(key(named)).or_default().0 = Some(named);
    }
    for named in &after.sites {
        by_name.entry(key(named)).or_default().1 = Some(named);
    }
    let mut rows: Vec<Row> = by_name
        .into_values()
        .filter_map(|(before, after)| {
            Some(Row {
                name: after.or(before)?.site.name(),
                change: change(before, after),
                before,
                after,
            })
        })
        .collect();
    let time = |site: Option<&NamedSite>| site.map_or(0, |named| named.stats.times.sum());
    rows.sort_by_key(|row| std::cmp::Reverse(time(row.before).abs_diff(time(row.after))));
    rows
}

/// Matches call sites by module and function, since line numbers and offsets change with a rebuild.
fn key(named: &NamedSite) -> String {
    let function = named.site.frames.first().and_then(|frame| frame.function.clone());
    let module = named.site.module.as_deref().unwrap_or_default();
    let module = module.rsplit('/').next().unwrap_or_default();
    match function {
        Some(function) => format!("{module}\0{function}"),
        None => named.site.place(),
    }
}

fn change(before: Option<&NamedSite>, after: Option<&NamedSite>) -> Change {
    let (Some(before), Some(after)) = (before, after) else {
        return if before.is_none() { Change::New } else { Change::Gone };
    };
    let (a, b) = (&before.stats, &after.stats);
    let present = |outcomes: &[u64; 6]| outcomes.map(|calls| calls > 0);
    if present(&a.outcomes) != present(&b.outcomes) || (a.failed == 0) != (b.failed == 0) {
        return Change::Outcomes;
    }
    match compare(&a.times, &b.times) {
        Some(true) => Change::Slower,
        Some(false) => Change::Faster,
        None if a.calls() != b.calls() => Change::Calls,
        None => Change::Same,
    }
}

/// Whether `after` is slower (true) or faster (false); `None` if the difference may be noise.
fn compare(before: &Histogram, after: &Histogram) -> Option<bool> {
    let (a, b) = (median(before)?, median(after)?);
    let (middle_a, middle_b) = (before.percentile(50.0) as f64, after.percentile(50.0) as f64);
    let apart = a.1 < b.0 || b.1 < a.0;
    let large = (middle_b - middle_a).abs() > middle_a * LEAST_CHANGE;
    (apart && large).then_some(middle_b > middle_a)
}

/// The 99 % confidence interval of the median, by order statistics: valid for any distribution.
fn median(times: &Histogram) -> Option<(u64, u64)> {
    let calls = times.count();
    if calls < FEWEST_CALLS {
        return None;
    }
    let half = SIGMAS * (calls as f64).sqrt() / 2.0;
    let middle = calls as f64 / 2.0;
    Some((
        times.at_rank((middle - half).max(1.0) as u64),
        times.at_rank((middle + half).ceil() as u64),
    ))
}

type Pair = (String, (u64, u64), (u64, u64));

/// Outcomes whose counts differ.
fn outcome_changes(before: &Overview, after: &Overview) -> Vec<Pair> {
    let pairs = Outcome::NAMES.iter().zip(before.outcomes.iter().zip(&after.outcomes));
    pairs
        .map(|(name, (a, b))| {
            let counts = |outcome: &OutcomeStats| (outcome.times.count(), outcome.failed);
            ((*name).to_owned(), counts(a), counts(b))
        })
        .filter(|(_, a, b)| a != b)
        .collect()
}

fn failure_changes(before: &Overview, after: &Overview) -> Vec<Pair> {
    let mut errnos: Vec<u32> =
        before.failures.keys().chain(after.failures.keys()).map(|why| why.errno).collect();
    errnos.sort_unstable();
    errnos.dedup();
    let calls = |overview: &Overview, errno| -> u64 {
        let of_errno = overview.failures.iter().filter(|(why, _)| why.errno == errno);
        of_errno.map(|(_, failure)| failure.calls).sum()
    };
    errnos
        .into_iter()
        .map(|errno| {
            let (a, b) = (calls(before, errno), calls(after, errno));
            (names::errno(errno), (a, a), (b, b))
        })
        .filter(|(_, a, b)| a != b)
        .collect()
}

fn write_pairs(
    heading: &str,
    pairs: &[Pair],
    style: &TextStyle,
    out: &mut dyn Write,
) -> Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["", "A", "failed", "B", "failed"]);
    for (name, a, b) in pairs {
        table.row([name.clone(), count(a.0), count(a.1), count(b.0), count(b.1)]);
    }
    writeln!(out, "{}\n{}", style.heading(heading), table.draw(style))?;
    Ok(())
}

fn write_rows(rows: &[Row<'_>], top: usize, style: &TextStyle, out: &mut dyn Write) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table =
        Table::new(&["call site", "", "calls A", "calls B", "median A", "median B", "change"]);
    let calls = |site: Option<&NamedSite>| {
        site.map_or_else(|| "-".to_owned(), |named| count(named.stats.calls()))
    };
    let middle = |site: Option<&NamedSite>| site.map(|named| named.stats.times.percentile(50.0));
    for row in rows.iter().take(top) {
        let (a, b) = (middle(row.before), middle(row.after));
        let text = |median: Option<u64>| median.map_or_else(|| "-".to_owned(), duration);
        let percent = match (a, b) {
            (Some(a), Some(b)) if a > 0 => format!("{:+.0} %", (b as f64 / a as f64 - 1.0) * 100.0),
            _ => "-".to_owned(),
        };
        table.row([
            row.name.clone(),
            row.change.name().to_owned(),
            calls(row.before),
            calls(row.after),
            text(a),
            text(b),
            percent,
        ]);
    }
    writeln!(out, "{}\n{}", style.heading("Call sites that differ"), table.draw(style))?;
    if rows.len() > top {
        writeln!(out, "  ... and {} more (raise --top)", rows.len() - top)?;
    }
    Ok(())
}

fn as_json(rows: &[Row<'_>], outcomes: &[Pair], failures: &[Pair], differ: bool) -> Value {
    let side = |site: Option<&NamedSite>| {
        site.map(|named| {
            json!({
                "calls": named.stats.calls(),
                "failed": named.stats.failed,
                "median_ns": named.stats.times.percentile(50.0),
                "time_ns": named.stats.times.sum(),
            })
        })
    };
    let pairs = |pairs: &[Pair]| -> Vec<Value> {
        let value = |(name, a, b): &Pair| json!({"name": name, "before": a.0, "before_failed": a.1, "after": b.0, "after_failed": b.1});
        pairs.iter().map(value).collect()
    };
    json!({
        "differ": differ,
        "outcomes": pairs(outcomes),
        "failures": pairs(failures),
        "sites": rows.iter().map(|row| json!({
            "site": row.name,
            "change": row.change.name(),
            "before": side(row.before),
            "after": side(row.after),
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Histogram, compare};

    fn histogram(values: impl Iterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        values.for_each(|value| histogram.add(value));
        histogram
    }

    #[test]
    fn ignores_noise_and_finds_a_shift() {
        let spread = |base: u64| (0..2_000).map(move |step: u64| base + step * 7919 % 1_000);
        let base = histogram(spread(10_000));
        assert_eq!(compare(&base, &histogram(spread(10_050))), None);
        assert_eq!(compare(&base, &histogram(spread(14_000))), Some(true));
        assert_eq!(compare(&histogram(spread(14_000)), &base), Some(false));
        assert_eq!(compare(&base, &histogram([90_000; 5].into_iter())), None);
    }
}
