//! The comparison as text.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::Result;

use super::compare::{Spread, changed};
use super::sites::Row;
use super::{Difference, Pair, Verdict};
use crate::export::Lines;
use crate::model::units::{aligned_size, count, counted, duration, percent};
use crate::report::table::{Table, TextStyle};
use crate::stats::SiteStats;

/// Writes the verdict, then what differs.
pub fn write(difference: &Difference, top: usize, out: &mut dyn Write) -> Result<()> {
    let style = TextStyle::of_stdout();
    for note in &difference.notes {
        writeln!(out, "{}", style.warning(&style.wrap(note, 0)))?;
    }
    let [a, b] = difference.runs.map(|runs| counted(runs as u64, "run"));
    let [totals, latency] =
        [difference.tolerance.totals, difference.tolerance.latency].map(|it| it * 100.0);
    let basis = format!("({a} against {b}; tolerance {totals:.0} %, of latency {latency:.0} %)");
    if difference.verdict == Verdict::Same {
        writeln!(out, "No difference beyond noise. {}", style.dim(&basis))?;
        return Ok(());
    }
    let verdict = match difference.verdict {
        Verdict::Faster => style.good("B is faster"),
        Verdict::Slower => style.bad("B is slower"),
        Verdict::Different | Verdict::Same => style.warning(if has_noisy_time(difference) {
            "A and B differ; the change of total time may be noise, so compare several runs"
        } else {
            "A and B differ, not in total time"
        }),
    };
    writeln!(out, "{verdict} {}", style.dim(&basis))?;
    write_rows(&[&difference.total], difference, &style, out)?;
    write_pairs("Outcomes", &difference.outcomes, &style, out)?;
    write_pairs("Failures", &difference.failures, &style, out)?;
    if difference.rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.heading("Call sites that differ"))?;
    let shown: Vec<&Row> = difference.rows.iter().take(top).collect();
    write_rows(&shown, difference, &style, out)?;
    if difference.rows.len() > top {
        writeln!(out, "  ... and {} more (raise --top)", difference.rows.len() - top)?;
    }
    Ok(())
}

/// Whether the total times of both sides differ by more than the tolerance.
fn has_noisy_time(difference: &Difference) -> bool {
    let [before, after] = difference.total.spreads(|stats| stats.times.sum());
    let spreads = before.zip(after);
    spreads.is_some_and(|(a, b)| changed(&a, &b, difference.tolerance.totals))
}

/// Writes `stack A B`, the mean weights of both sides: the input of differential flame graphs.
pub fn write_folded(sides: &[Vec<Lines>; 2], out: &mut dyn Write) -> Result<()> {
    let stacks: BTreeSet<&String> = sides.iter().flatten().flat_map(Lines::keys).collect();
    for stack in stacks {
        let [before, after] = sides.each_ref().map(|runs| {
            let sum: u64 =
                runs.iter().filter_map(|run| run.get(stack).copied()).fold(0, u64::saturating_add);
            sum / (runs.len() as u64).max(1)
        });
        writeln!(out, "{stack} {before} {after}")?;
    }
    Ok(())
}

/// Three lines for each row: both sides, and the change between them.
fn write_rows(
    rows: &[&Row],
    difference: &Difference,
    style: &TextStyle,
    out: &mut dyn Write,
) -> Result<()> {
    let columns = ["", "calls", "failed", "time", "share", "per call", "p50", "relocated", "noise"];
    let several = difference.runs.iter().any(|runs| *runs > 1);
    let columns = columns.get(..columns.len() - usize::from(!several)).unwrap_or(&columns);
    let mut table = Table::new(columns).optional(&[7, 6, 2]);
    let totals = difference.total.spreads(|stats| stats.times.sum());
    for row in rows {
        let mut title = vec![String::new(); columns.len()];
        row.name.clone_into(&mut title[0]);
        if row.name != difference.total.name {
            title[0] = format!("{}: {}", row.change.name(), row.name);
        }
        table.row(title);
        let numbers = numbers(row);
        let sides = [("  A", &row.before, 0), ("  B", &row.after, 1)];
        for (name, _, side) in sides.into_iter().filter(|(_, runs, _)| runs.is_some()) {
            let at = |which: usize| numbers[which][side].unwrap_or_default();
            let total = totals[side].map_or(0, |total| total.median);
            let noise = if several { format!("±{:.0} %", at(2).noise()) } else { String::new() };
            table.row([
                name.to_owned(),
                count(at(0).median),
                count(at(1).median),
                duration(at(2).median),
                percent(at(2).median, total),
                duration(at(3).median),
                duration(at(4).median),
                aligned_size(at(5).median),
                if style.utf8 { noise } else { noise.replace('±', "+-") },
            ]);
        }
        if row.before.is_some() && row.after.is_some() {
            let change = |which: usize| relative(&numbers[which]);
            table.row([
                "  change".to_owned(),
                change(0),
                change(1),
                change(2),
                String::new(),
                change(3),
                change(4),
                change(5),
            ]);
        }
    }
    write!(out, "{}", table.draw(style))?;
    Ok(())
}

/// Calls, failures, total time, mean time, median time, bytes relocated, over the runs of each
/// side.
fn numbers(row: &Row) -> [[Option<Spread>; 2]; 6] {
    [
        row.spreads(SiteStats::calls),
        row.spreads(|stats| stats.failed),
        row.spreads(|stats| stats.times.sum()),
        row.spreads(|stats| stats.times.sum() / stats.calls().max(1)),
        row.spreads(|stats| stats.times.percentile(50.0)),
        row.spreads(|stats| stats.bytes.relocated()),
    ]
}

/// `-98.0 %`; empty where the value is the same.
fn relative(sides: &[Option<Spread>; 2]) -> String {
    match sides.map(|side| side.map_or(0, |side| side.median)) {
        [before, after] if before == after => String::new(),
        [0, _] => "new".to_owned(),
        [before, after] => format!("{:+.1} %", (after as f64 / before as f64 - 1.0) * 100.0),
    }
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
    let mut table = Table::new(&["", "calls A", "failed", "calls B", "failed"]);
    for pair in pairs {
        let [[calls_a, failed_a], [calls_b, failed_b]] = [pair.before, pair.after];
        table.row([
            pair.name.clone(),
            count(calls_a),
            count(failed_a),
            count(calls_b),
            count(failed_b),
        ]);
    }
    write!(out, "\n{}\n{}", style.heading(heading), table.draw(style))?;
    Ok(())
}
