//! The report for people.

use std::io::Write;

use anyhow::Result;

use super::sections;
use super::table::Paper;
use super::{Options, sections::Section};
use crate::load::{Process, Traces};
use crate::model::names::{DETAILS, MODES, SOURCES, setting};
use crate::model::units::{count, date_and_time, duration, size};
use crate::stats::Overview;
use crate::symbols::Symbols;

/// Processes introduced in full; the table of processes names the rest.
const MOST_HEADS: usize = 4;

/// Writes the report.
///
/// # Errors
/// Standard output cannot be written.
pub fn write(
    traces: &Traces,
    overview: &Overview,
    symbols: &Symbols,
    options: &Options,
    out: &mut dyn Write,
) -> Result<()> {
    let paper = Paper::of_stdout();
    for process in traces.processes.iter().take(MOST_HEADS) {
        write_process(process, &paper, out)?;
    }
    if traces.processes.len() > MOST_HEADS {
        writeln!(
            out,
            "... and {} more processes",
            traces.processes.len() - MOST_HEADS
        )?;
    }
    if overview.calls == 0 {
        writeln!(
            out,
            "\nNo call of mremap was recorded, or none passes the filters."
        )?;
        return write_damage(traces, &paper, out);
    }
    write_summary(overview, &paper, out)?;
    let section = Section {
        traces,
        overview,
        symbols,
        options,
        paper,
    };
    for part in sections::ALL {
        out.write_all(part(&section).as_bytes())?;
    }
    let notes = symbols.notes();
    for note in notes.iter().take(options.top) {
        writeln!(out, "\n{}", paper.wrap(note, 2))?;
    }
    write_damage(traces, &paper, out)
}

fn write_damage(traces: &Traces, paper: &Paper, out: &mut dyn Write) -> Result<()> {
    let damage = traces.damage();
    if damage.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{}",
        paper.bad("DAMAGED: what stands here could not be read")
    )?;
    for damage in damage {
        writeln!(out, "  {damage}")?;
    }
    Ok(())
}

fn write_process(process: &Process, paper: &Paper, out: &mut dyn Write) -> Result<()> {
    let header = &process.header;
    let ability = match header.capability {
        _ if header.mode == 1 => "was not relied on: emulation was asked for (MREMAP_SHIM_MODE=emulate)",
        _ if header.mode == 2 => "got every call as it came (MREMAP_SHIM_MODE=passthrough)",
        1 => "moves one VMA at a time (the shim splits moves)",
        2 => "moves several VMAs itself",
        _ => "was not asked for a move of several VMAs",
    };
    let command = paper.fit(&process.command_line, paper.width.max(120) * 2);
    writeln!(
        out,
        "{} on {}: {command}",
        paper.heading(&format!("{} (pid {})", process.exe, header.pid)),
        process.host
    )?;
    writeln!(
        out,
        "  kernel {} {ability}; shim {}",
        process.kernel, process.shim_version
    )?;
    writeln!(
        out,
        "  mode {}, VMA source {}, detail {}, {} {}",
        setting(&MODES, header.mode),
        setting(&SOURCES, header.vma_source),
        setting(&DETAILS, header.detail),
        if header.keep == 1 { "the last" } else { "at most" },
        size(header.capacity)
    )?;
    let running = if process.alive { ", still running" } else { "" };
    writeln!(
        out,
        "  started {} UTC{running}",
        date_and_time(header.realtime_ns)
    )?;
    if let Some(note) = &process.clock_note {
        writeln!(
            out,
            "{}",
            paper.doubtful(&paper.wrap(&format!("CLOCK: {note}"), 2))
        )?;
    }
    for message in &process.found.notes.messages {
        writeln!(out, "  shim: {message}")?;
    }
    write_losses(process, paper, out)
}

fn write_losses(process: &Process, paper: &Paper, out: &mut dyn Write) -> Result<()> {
    let header = &process.header;
    let losses = [
        (
            header.lost_full,
            "the trace was full: raise MREMAP_SHIM_TRACE_SIZE",
        ),
        (header.lost_early, "made before the trace was open"),
        (
            header.lost_overwritten,
            "overwritten by later ones: raise MREMAP_SHIM_TRACE_SIZE",
        ),
        (header.lost_no_space, "the file system had no space"),
        (header.lost_truncated, "somebody had truncated the file"),
    ];
    for (calls, why) in losses.into_iter().filter(|(calls, _)| *calls > 0) {
        let text = format!("NOT RECORDED: {} calls ({why})", count(calls));
        writeln!(out, "{}", paper.bad(&paper.wrap(&text, 2)))?;
    }
    let (unbegun, unfinished) = (process.found.unbegun, process.found.unfinished);
    if unbegun > 0 {
        writeln!(
            out,
            "  {unbegun} chunks were claimed and never begun; they hold no call"
        )?;
    }
    if unfinished > 0 {
        writeln!(out, "  {unfinished} records are being written right now")?;
    }
    Ok(())
}

fn write_summary(overview: &Overview, paper: &Paper, out: &mut dyn Write) -> Result<()> {
    let failed: u64 = overview.outcomes.iter().map(|outcome| outcome.failed).sum();
    let time: u64 = overview.outcomes.iter().map(|outcome| outcome.times.sum()).sum();
    let columns = paper.width.clamp(40, 160) - 4;
    let (bins, each) = overview.timeline.columns(columns);
    let failures = if failed == 0 {
        "none failed".to_owned()
    } else {
        paper.bad(&format!("{} failed", count(failed)))
    };
    writeln!(
        out,
        "\n{}, {failures}, {} in mremap",
        paper.heading(&calls(overview.calls)),
        duration(time)
    )?;
    let calls: Vec<u64> = bins.iter().map(|bin| bin.calls).collect();
    if calls.len() > 1 {
        let span = each.saturating_mul(calls.len() as u64);
        writeln!(out, "  {}", paper.spark(&calls))?;
        writeln!(
            out,
            "  {}",
            paper.faint(&format!(
                "calls over {}; one column is {}, the highest {}",
                duration(span),
                duration(each),
                self::calls(calls.iter().copied().max().unwrap_or(0))
            ))
        )?;
    }
    Ok(())
}

fn calls(number: u64) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} call{plural}", count(number))
}
