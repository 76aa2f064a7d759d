//! The report as one JSON object. Fields are added over time, never renamed.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use crate::load::Loaded;
use crate::model::{Event, Process, errno_name, in_order, outcome_name};
use crate::report::{DETAILS, MODES, MOST_SITES, SOURCES, cause, percentile, sites};

/// Writes the report.
///
/// # Errors
/// Standard output cannot be written.
pub fn write(loaded: &Loaded, out: &mut dyn Write) -> Result<()> {
    let calls = in_order(&loaded.processes);
    let damage: Vec<Value> = loaded
        .damage
        .iter()
        .map(|damage| json!({"file": damage.file.display().to_string(), "offset": damage.offset, "what": damage.what}))
        .collect();
    let top: Vec<Value> = sites(&calls)
        .into_iter()
        .take(MOST_SITES)
        .map(|(name, site)| {
            json!({"site": name, "calls": site.calls, "time_ns": site.time, "failed": site.failed})
        })
        .collect();
    let report = json!({
        "processes": loaded.processes.iter().map(process).collect::<Vec<_>>(),
        "calls": calls.len(),
        "outcomes": outcomes(&calls),
        "moves": moves(&calls),
        "failures": failures(&calls),
        "sites": top,
        "damage": damage,
    });
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)?;
    Ok(())
}

fn process(process: &Process) -> Value {
    let header = &process.header;
    let name = |names: &[&'static str], value: u32| names.get(value as usize).copied();
    json!({
        "pid": header.pid,
        "parent_pid": header.parent_pid,
        "exe": process.exe,
        "command_line": process.command_line,
        "host": process.host,
        "kernel": process.kernel,
        "kernel_moves_several_vmas": match header.capability { 1 => Some(false), 2 => Some(true), _ => None },
        "shim_version": process.shim_version,
        "mode": name(&MODES, header.mode),
        "vma_source": name(&SOURCES, header.vma_source),
        "detail": name(&DETAILS, header.detail),
        "started_ns": header.realtime_ns,
        "calls": process.events.len(),
        "lost_full": header.lost_full,
        "lost_early": header.lost_early,
        "messages": process.messages,
        "clock_note": process.clock_note,
    })
}

fn outcomes(calls: &[(&Process, &Event)]) -> Vec<Value> {
    let mut groups: BTreeMap<_, (Vec<u64>, usize)> = BTreeMap::new();
    for (process, event) in calls {
        let group = groups.entry(event.call.outcome).or_default();
        group.0.push(process.nanoseconds(event.call.duration));
        group.1 += usize::from(event.call.errno().is_some());
    }
    let value = |(outcome, (mut times, failed)): (_, (Vec<u64>, usize))| {
        times.sort_unstable();
        json!({
            "outcome": outcome_name(outcome),
            "calls": times.len(),
            "failed": failed,
            "p50_ns": percentile(&times, 50),
            "p90_ns": percentile(&times, 90),
            "p99_ns": percentile(&times, 99),
            "max_ns": percentile(&times, 100),
        })
    };
    groups.into_iter().map(value).collect()
}

fn moves(calls: &[(&Process, &Event)]) -> Value {
    let summaries: Vec<_> = calls.iter().filter_map(|(_, event)| event.summary).collect();
    let total = |value: fn(&mremap_trace::Summary) -> u64| {
        summaries.iter().map(value).fold(0_u64, u64::saturating_add)
    };
    json!({
        "moves": summaries.len(),
        "parts": total(|summary| summary.parts.into()),
        "gaps": total(|summary| summary.gaps.into()),
        "bytes": total(|summary| summary.bytes),
        "retries": total(|summary| summary.retries.into()),
    })
}

fn failures(calls: &[(&Process, &Event)]) -> Vec<Value> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for errno in calls.iter().filter_map(|(_, event)| event.call.errno()) {
        *counts.entry(errno).or_default() += 1;
    }
    let value = |(errno, calls)| json!({"errno": errno_name(errno), "calls": calls, "cause": cause(errno)});
    counts.into_iter().map(value).collect()
}
