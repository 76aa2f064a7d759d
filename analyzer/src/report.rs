//! What happened, in a page.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use mremap_trace::Outcome;

use crate::load::Loaded;
use crate::model::{Event, Process, errno_name, outcome_name};

const MOST_SITES: usize = 10;

/// Writes the report.
pub fn write(loaded: &Loaded, out: &mut dyn Write) -> Result<()> {
    for process in &loaded.processes {
        write_process(process, out)?;
    }
    let calls: Vec<(&Process, &Event)> = loaded
        .processes
        .iter()
        .flat_map(|process| process.events.iter().map(move |event| (process, event)))
        .collect();
    if calls.is_empty() {
        writeln!(out, "\nNo call of mremap was recorded.")?;
        return Ok(());
    }
    write_outcomes(&calls, out)?;
    write_moves(&calls, out)?;
    write_failures(&calls, out)?;
    write_sites(&calls, out)
}

fn write_process(process: &Process, out: &mut dyn Write) -> Result<()> {
    let header = &process.header;
    let ability = match header.capability {
        _ if header.mode == 1 => "was not relied on: emulation was asked for (MREMAP_SHIM_MODE=emulate)",
        _ if header.mode == 2 => "got every call as it came (MREMAP_SHIM_MODE=passthrough)",
        1 => "moves one VMA at a time (the shim splits moves)",
        2 => "moves several VMAs itself",
        _ => "was not asked for a move of several VMAs",
    };
    writeln!(
        out,
        "{} (pid {}) on {}: {}",
        process.exe, header.pid, process.host, process.command_line
    )?;
    writeln!(
        out,
        "  kernel {} {ability}; shim {}",
        process.kernel, process.shim_version
    )?;
    for message in &process.messages {
        writeln!(out, "  shim: {message}")?;
    }
    if header.lost_full + header.lost_early > 0 {
        writeln!(
            out,
            "  NOT RECORDED: {} calls (trace full: raise MREMAP_SHIM_TRACE_SIZE), {} calls (before the trace was open)",
            header.lost_full, header.lost_early
        )?;
    }
    Ok(())
}

fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns);
    for index in 1..columns.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn write_outcomes(calls: &[(&Process, &Event)], out: &mut dyn Write) -> Result<()> {
    let mut latencies: BTreeMap<Outcome, (Vec<u64>, usize)> = BTreeMap::new();
    for (process, event) in calls {
        let entry = latencies.entry(event.call.outcome).or_default();
        entry.0.push(process.nanoseconds(event.call.duration));
        entry.1 += usize::from(event.call.errno().is_some());
    }
    let mut rows = table(&["outcome", "calls", "failed", "p50", "p90", "p99", "max"]);
    for (outcome, (mut times, failed)) in latencies {
        times.sort_unstable();
        let at = |percent: usize| {
            let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
            duration(times.get(index).copied().unwrap_or(0))
        };
        rows.add_row([
            outcome_name(outcome).to_owned(),
            times.len().to_string(),
            failed.to_string(),
            at(50),
            at(90),
            at(99),
            at(100),
        ]);
    }
    writeln!(out, "\n{rows}")?;
    Ok(())
}

fn write_moves(calls: &[(&Process, &Event)], out: &mut dyn Write) -> Result<()> {
    let moves: Vec<_> = calls.iter().filter_map(|(_, event)| event.summary).collect();
    if moves.is_empty() {
        return Ok(());
    }
    let mut rows = table(&["per move", "least", "median", "most", "all"]);
    let mut row = |name: &str, mut values: Vec<u64>| {
        values.sort_unstable();
        let at = |index: usize| values.get(index).copied().unwrap_or(0).to_string();
        let total: u64 = values.iter().fold(0, |sum, value| sum.saturating_add(*value));
        rows.add_row([
            name.to_owned(),
            at(0),
            at(values.len() / 2),
            at(values.len() - 1),
            total.to_string(),
        ]);
    };
    row("VMAs", moves.iter().map(|summary| summary.parts.into()).collect());
    row("gaps", moves.iter().map(|summary| summary.gaps.into()).collect());
    row("bytes", moves.iter().map(|summary| summary.bytes).collect());
    row(
        "retries",
        moves.iter().map(|summary| summary.retries.into()).collect(),
    );
    writeln!(out, "\n{rows}")?;
    Ok(())
}

fn write_failures(calls: &[(&Process, &Event)], out: &mut dyn Write) -> Result<()> {
    let mut failures: BTreeMap<u32, usize> = BTreeMap::new();
    for errno in calls.iter().filter_map(|(_, event)| event.call.errno()) {
        *failures.entry(errno).or_default() += 1;
    }
    if failures.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nfailures")?;
    for (errno, count) in failures {
        writeln!(out, "  {count} x {}: {}", errno_name(errno), cause(errno))?;
    }
    Ok(())
}

/// Why mremap answers so, and what to do.
fn cause(errno: u32) -> &'static str {
    match errno {
        1 => "a sealed VMA (mseal) in the source or the destination; it can be neither moved nor replaced.",
        11 => "locked memory beyond RLIMIT_MEMLOCK; raise the limit or unlock first.",
        12 => {
            "no room to grow in place, or a limit (mappings, address space) was reached; allow MREMAP_MAYMOVE or raise the limit."
        }
        14 => {
            "nothing is mapped at the start of the range, or a VMA in it may not move with others (userfaultfd, a driver's own placing); move those alone."
        }
        22 => {
            "the request itself is wrong: unaligned, overlapping, beyond the address space, or flags that do not go together."
        }
        _ => "see mremap(2).",
    }
}

fn write_sites(calls: &[(&Process, &Event)], out: &mut dyn Write) -> Result<()> {
    let mut sites: BTreeMap<String, (usize, u64, usize)> = BTreeMap::new();
    for (process, event) in calls {
        let site = sites.entry(process.site(event.call.caller)).or_default();
        site.0 += 1;
        site.1 += process.nanoseconds(event.call.duration);
        site.2 += usize::from(event.call.errno().is_some());
    }
    let mut sites: Vec<_> = sites.into_iter().collect();
    sites.sort_by_key(|(_, (calls, ..))| std::cmp::Reverse(*calls));
    let mut rows = table(&["call site", "calls", "time", "failed"]);
    for (site, (calls, time, failed)) in sites.iter().take(MOST_SITES) {
        rows.add_row([
            site.clone(),
            calls.to_string(),
            duration(*time),
            failed.to_string(),
        ]);
    }
    writeln!(out, "\n{rows}")?;
    if sites.len() > MOST_SITES {
        writeln!(out, "  ... and {} more", sites.len() - MOST_SITES)?;
    }
    Ok(())
}

/// Nanoseconds in a unit that fits.
fn duration(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        _ => format!("{:.1} ms", ns as f64 / 1e6),
    }
}
