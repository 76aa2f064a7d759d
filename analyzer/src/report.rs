//! What happened, in a page.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use mremap_trace::{Outcome, Summary};

use crate::load::Loaded;
use crate::model::{Event, Process, errno_name, in_order, outcome_name};
use crate::report_json;

/// Sites in the table, and in the JSON.
pub const MOST_SITES: usize = 10;

/// Writes the report.
///
/// # Errors
/// Standard output cannot be written.
pub fn write(loaded: &Loaded, json: bool, out: &mut dyn Write) -> Result<()> {
    if json {
        return report_json::write(loaded, out);
    }
    for process in &loaded.processes {
        write_process(process, out)?;
    }
    let calls = in_order(&loaded.processes);
    if calls.is_empty() {
        writeln!(out, "\nNo call of mremap was recorded.")?;
        return write_damage(loaded, out);
    }
    write_outcomes(&calls, out)?;
    write_moves(&calls, out)?;
    write_failures(&calls, out)?;
    write_sites(&calls, out)?;
    write_damage(loaded, out)
}

fn write_damage(loaded: &Loaded, out: &mut dyn Write) -> Result<()> {
    if loaded.damage.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nDAMAGED: what stands here could not be read")?;
    for damage in &loaded.damage {
        writeln!(out, "  {damage}")?;
    }
    Ok(())
}

/// `MREMAP_SHIM_MODE` by its number in the trace.
pub const MODES: [&str; 3] = ["auto", "emulate", "passthrough"];
/// `MREMAP_SHIM_VMA_SOURCE` likewise.
pub const SOURCES: [&str; 4] = ["auto", "query", "maps", "bisect"];
/// `MREMAP_SHIM_TRACE_DETAIL` likewise.
pub const DETAILS: [&str; 2] = ["calls", "vmas"];

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
    let setting =
        |names: &'static [&'static str], value: u32| names.get(value as usize).copied().unwrap_or("?");
    writeln!(
        out,
        "  mode {}, VMA source {}, detail {}, at most {}",
        setting(&MODES, header.mode),
        setting(&SOURCES, header.vma_source),
        setting(&DETAILS, header.detail),
        size(header.capacity)
    )?;
    if let Some(note) = &process.clock_note {
        writeln!(out, "  CLOCK: {note}")?;
    }
    for message in &process.messages {
        writeln!(out, "  shim: {message}")?;
    }
    if header.lost_full > 0 || header.lost_early > 0 {
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
        let at = |percent| duration(percentile(&times, percent));
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

/// The value that `percent` of the sorted values do not exceed.
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let index = sorted
        .len()
        .saturating_mul(percent)
        .div_ceil(100)
        .saturating_sub(1);
    sorted.get(index).copied().unwrap_or(0)
}

fn write_moves(calls: &[(&Process, &Event)], out: &mut dyn Write) -> Result<()> {
    let moves: Vec<_> = calls.iter().filter_map(|(_, event)| event.summary).collect();
    if moves.is_empty() {
        return Ok(());
    }
    let mut rows = table(&["per move", "least", "median", "most", "all"]);
    let mut row = |name: &str, value: fn(&Summary) -> u64| {
        let mut values: Vec<u64> = moves.iter().map(value).collect();
        values.sort_unstable();
        let at = |index: usize| values.get(index).copied().unwrap_or(0).to_string();
        let total: u64 = values.iter().fold(0, |sum, value| sum.saturating_add(*value));
        rows.add_row([
            name.to_owned(),
            at(0),
            at(values.len() / 2),
            at(values.len().saturating_sub(1)),
            total.to_string(),
        ]);
    };
    row("VMAs", |summary| summary.parts.into());
    row("gaps", |summary| summary.gaps.into());
    row("bytes", |summary| summary.bytes);
    row("retries", |summary| summary.retries.into());
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
pub fn cause(errno: u32) -> &'static str {
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

/// What one call site came to.
#[derive(Default)]
pub struct Site {
    /// Calls from there.
    pub calls: usize,
    /// Nanoseconds in them.
    pub time: u64,
    /// Calls of them that failed.
    pub failed: usize,
}

/// Call sites, the busiest first.
pub fn sites(calls: &[(&Process, &Event)]) -> Vec<(String, Site)> {
    let mut names: HashMap<(u32, u64, u64), String> = HashMap::new();
    let mut sites: BTreeMap<String, Site> = BTreeMap::new();
    for (process, event) in calls {
        let key = (process.header.pid, process.header.realtime_ns, event.call.caller);
        let name = names
            .entry(key)
            .or_insert_with(|| process.site(event.call.caller));
        if !sites.contains_key(name) {
            sites.insert(name.clone(), Site::default());
        }
        if let Some(site) = sites.get_mut(name) {
            site.calls += 1;
            site.time = site.time.saturating_add(process.nanoseconds(event.call.duration));
            site.failed += usize::from(event.call.errno().is_some());
        }
    }
    let mut sites: Vec<_> = sites.into_iter().collect();
    sites.sort_by_key(|(_, site)| std::cmp::Reverse(site.calls));
    sites
}

fn write_sites(calls: &[(&Process, &Event)], out: &mut dyn Write) -> Result<()> {
    let sites = sites(calls);
    let mut rows = table(&["call site", "calls", "time", "failed"]);
    for (name, site) in sites.iter().take(MOST_SITES) {
        rows.add_row([
            name.clone(),
            site.calls.to_string(),
            duration(site.time),
            site.failed.to_string(),
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

/// Bytes in the largest unit that keeps them whole, or nearly.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 if bytes == 0 || !bytes.is_multiple_of(1024) => format!("{bytes} B"),
        0..10_485_760 => fraction(bytes, 10, "KiB"),
        10_485_760..10_737_418_240 => fraction(bytes, 20, "MiB"),
        _ => fraction(bytes, 30, "GiB"),
    }
}

fn fraction(bytes: u64, shift: u32, unit: &str) -> String {
    if bytes.is_multiple_of(1 << shift) {
        format!("{} {unit}", bytes >> shift)
    } else {
        format!("{:.1} {unit}", bytes as f64 / (1_u64 << shift) as f64)
    }
}
