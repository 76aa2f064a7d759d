//! The report as text.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::Result;
use mremap_trace::{FoundBy, Outcome};

use super::table::TextStyle;
use super::{Options, heads, sections, sections::Section};
use crate::load::Traces;
use crate::model::names::found_by;
use crate::model::units::{count, counted, duration, percent, size};
use crate::stats::Overview;
use crate::symbols::Symbols;

/// Longer emulated moves are counted: other threads can see the range half-moved meanwhile.
const LONG_EXPOSURE: u64 = 1_000_000;

/// Writes the report.
pub fn write(
    traces: &Traces,
    overview: &Overview,
    symbols: &Symbols,
    options: &Options,
    out: &mut dyn Write,
) -> Result<()> {
    let style = TextStyle::of_stdout();
    heads::write(traces, overview, &style, out)?;
    if overview.calls == 0 {
        let text = "No mremap call was recorded, or none passes the filters. `mremap-analyzer doctor PROGRAM` says \
                    which calls the shim can record.";
        writeln!(out, "\n{}", style.wrap(text, 0))?;
        return write_damage(traces, &style, out);
    }
    write_summary(overview, &style, out)?;
    write_emulation(overview, &style, out)?;
    let section = Section { traces, overview, symbols, options, style };
    for part in sections::ALL {
        out.write_all(part(&section).as_bytes())?;
    }
    let notes = super::notes(traces, overview, symbols);
    for note in notes.iter().take(options.top) {
        writeln!(out, "\n{}", style.wrap(note, 2))?;
    }
    write_damage(traces, &style, out)
}

/// One sentence about emulated moves, if there are any.
fn write_emulation(overview: &Overview, style: &TextStyle, out: &mut dyn Write) -> Result<()> {
    let Some(emulated) = overview.outcomes.get(Outcome::Emulated as usize - 1) else {
        return Ok(());
    };
    if emulated.times.count() == 0 {
        return Ok(());
    }
    let moves = &overview.moves;
    let sources: Vec<String> = FoundBy::ALL
        .into_iter()
        .zip(moves.sources)
        .filter(|(_, moves)| *moves > 0)
        .map(|(method, moves)| format!("{} {}", found_by(method), count(moves)))
        .collect();
    let mut text = format!(
        "emulated {}; VMAs found by {}; {} retried; other threads could see a half-moved range for at most {}",
        counted(emulated.times.count(), "move"),
        sources.join(", "),
        counted(moves.retries.sum(), "part"),
        duration(emulated.times.max()),
    );
    let long = emulated.times.above(LONG_EXPOSURE);
    if long > 0 {
        let _ = write!(text, ", over {} in {}", duration(LONG_EXPOSURE), counted(long, "move"));
    }
    writeln!(out, "{}", style.wrap(&text, 2))?;
    Ok(())
}

fn write_damage(traces: &Traces, style: &TextStyle, out: &mut dyn Write) -> Result<()> {
    let damage = traces.damage();
    if traces.not_begun() > 0 && !traces.processes.is_empty() {
        let files = counted(traces.not_begun() as u64, "file");
        let text = format!(
            "{files} of processes that ended before their trace was open: no call recorded or lost"
        );
        writeln!(out, "\n{}", style.wrap(&text, 2))?;
    }
    if damage.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.bad("DAMAGED: these parts of the traces could not be read"))?;
    for damage in damage {
        writeln!(out, "  {damage}")?;
    }
    Ok(())
}

fn write_summary(overview: &Overview, style: &TextStyle, out: &mut dyn Write) -> Result<()> {
    let total = overview.total();
    let (failed, time, bytes) = (total.failed, total.times.sum(), total.bytes);
    let columns = style.width.clamp(40, 160) - 4;
    let (bins, each) = overview.timeline.columns(columns);
    let failures = if failed == 0 {
        "none failed".to_owned()
    } else {
        style.bad(&format!("{} failed", count(failed)))
    };
    let span = overview.timeline.span();
    writeln!(
        out,
        "\n{}, {failures}, {} in mremap ({} of {})",
        style.heading(&calls(overview.calls)),
        duration(time),
        percent(time, span),
        duration(span)
    )?;
    let memory = format!(
        "{} relocated, {} grown in place; {} requested",
        size(bytes.relocated()),
        size(bytes.grown_in_place()),
        size(bytes.requested())
    );
    writeln!(out, "{}", style.wrap(&memory, 2))?;
    let calls: Vec<u64> = bins.iter().map(|bin| bin.calls).collect();
    if calls.len() > 1 {
        let span = each.saturating_mul(calls.len() as u64);
        writeln!(out, "  {}", style.spark(&calls))?;
        writeln!(
            out,
            "  {}",
            style.dim(&format!(
                "calls over {}; one column is {}, the highest has {}",
                duration(span),
                duration(each),
                self::calls(calls.iter().copied().max().unwrap_or(0))
            ))
        )?;
    }
    Ok(())
}

fn calls(number: u64) -> String {
    counted(number, "call")
}
