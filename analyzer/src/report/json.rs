//! The report as one JSON object. Fields are only added, never renamed; `docs/json.md` lists them.

use std::io::Write;

use anyhow::Result;
use mremap_trace::{Capability, Detail, FoundBy, Header, Keep, Mode, Outcome, VmaSource};
use serde_json::{Value, json};

use super::{Options, sorted};
use crate::load::{Process, Traces};
use crate::model::Why;
use crate::stats::{Histogram, Moves, NamedFailure, NamedSite, Overview, ThreadStats};
use crate::symbols::Symbols;

/// Writes the report.
pub fn write(
    traces: &Traces,
    overview: &Overview,
    symbols: &Symbols,
    options: &Options,
    out: &mut dyn Write,
) -> Result<()> {
    let mut report = of(traces, overview, options);
    if let Some(object) = report.as_object_mut() {
        object.insert("chains".to_owned(), chains(traces, overview, symbols, options));
        object.insert("symbol_notes".to_owned(), json!(super::notes(traces, overview, symbols)));
    }
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)?;
    Ok(())
}

fn of(traces: &Traces, overview: &Overview, options: &Options) -> Value {
    let damage: Vec<Value> = traces
        .damage()
        .iter()
        .map(|damage| {
            json!({"file": damage.file.display().to_string(), "offset": damage.offset, "what": damage.what})
        })
        .collect();
    let sites = sorted(&overview.sites, options.sort);
    let total = overview.total();
    json!({
        "processes": processes(traces, overview),
        "calls": overview.calls,
        "failed": total.failed,
        "time_ns": total.times.sum(),
        "span_ns": overview.timeline.span(),
        "bytes_requested": total.bytes.requested(),
        "bytes_relocated": total.bytes.relocated(),
        "bytes_grown_in_place": total.bytes.grown_in_place(),
        "outcomes": outcomes(overview),
        "placement": {
            "grown_in_place": overview.placement.grown_in_place,
            "grown_and_moved": overview.placement.grown_and_moved,
            "shrunk": overview.placement.shrunk,
            "moved": overview.placement.moved,
            "unchanged": overview.placement.unchanged,
        },
        "moves": moves(overview),
        "failures": failures(overview),
        "sites": sites.into_iter().take(options.top).map(site).collect::<Vec<_>>(),
        "timeline": timeline(overview),
        "damage": damage,
        "files_not_begun": traces.not_begun(),
        "pids_with_too_many_sites": crowded(traces, overview),
    })
}

/// One call site as JSON: its name and its totals.
pub fn site(named: &NamedSite) -> Value {
    json!({
        "site": named.site.name(),
        "module": named.site.module,
        "offset": format!("{:#x}", named.site.offset),
        "build_id": named.site.build_id,
        "frames": named.site.frames,
        "calls": named.stats.calls(),
        "time_ns": named.stats.times.sum(),
        "p50_ns": named.stats.times.percentile(50.0),
        "p99_ns": named.stats.times.percentile(99.0),
        "bytes": named.stats.bytes.requested(),
        "failed": named.stats.failed,
        "bytes_requested": named.stats.bytes.requested(),
        "bytes_relocated": named.stats.bytes.relocated(),
        "bytes_grown_in_place": named.stats.bytes.grown_in_place(),
    })
}

fn processes(traces: &Traces, overview: &Overview) -> Vec<Value> {
    let share = |process_index: usize| {
        overview.processes.iter().find(|stats| stats.process == process_index)
    };
    let value = |(process_index, traced): (usize, &Process)| {
        let mut value = process(traced);
        if let Some(object) = value.as_object_mut() {
            if let Some(stats) = share(process_index)
                && let Value::Object(totals) = totals(&stats.total)
            {
                object.extend(totals);
            }
            let threads = share(process_index).map_or(&[][..], |stats| &stats.threads);
            let threads: Vec<Value> = threads
                .iter()
                .map(|(tid, share)| {
                    let mut value = totals(share);
                    value["tid"] = json!(tid);
                    value
                })
                .collect();
            object.insert("threads".to_owned(), json!(threads));
        }
        value
    };
    let counted = traces.processes.iter().enumerate();
    counted.filter(|(_, process)| overview.counts(process)).map(value).collect()
}

fn crowded(traces: &Traces, overview: &Overview) -> Vec<u32> {
    let processes =
        overview.crowded.iter().filter_map(|process_index| traces.processes.get(*process_index));
    processes.map(|process| process.header.pid).collect()
}

fn totals(stats: &ThreadStats) -> Value {
    json!({
        "calls": stats.calls,
        "time_ns": stats.time,
        "failed": stats.failed,
        "bytes": stats.bytes.requested(),
        "bytes_requested": stats.bytes.requested(),
        "bytes_relocated": stats.bytes.relocated(),
        "bytes_grown_in_place": stats.bytes.grown_in_place(),
    })
}

fn process(process: &Process) -> Value {
    let header = &process.header;
    json!({
        "file": process.file.display().to_string(),
        "pid": header.pid,
        "parent_pid": header.parent_pid,
        "exe": process.exe,
        "command_line": process.command_line,
        "host": process.host,
        "kernel": process.kernel,
        "kernel_moves_several_vmas": several_vmas(header),
        "shim_version": process.shim_version,
        "mode": header.mode.map(Mode::name),
        "vma_source": header.vma_source.map(VmaSource::name),
        "detail": header.detail.map(Detail::name),
        "started_ns": header.realtime_ns,
        "running": process.running,
        "lost_full": header.lost_full,
        "lost_early": header.lost_early,
        "lost_overwritten": header.lost_overwritten,
        "lost_no_space": header.lost_no_space,
        "lost_truncated": header.lost_truncated,
        "lost_no_memory": header.lost_no_memory,
        "lost_filtered": header.lost_filtered,
        "keep": header.keep.map(Keep::name),
        "forked_from": (header.forked_from > 0).then_some(header.forked_from),
        "chunks_never_begun": process.found.unbegun,
        "records_unfinished": process.found.unfinished,
        "messages": process.found.notes.messages,
        "clock_note": process.clock_note,
    })
}

/// Whether the kernel moves several VMAs in one call, where that was tried.
fn several_vmas(header: &Header) -> Option<bool> {
    match header.capability? {
        Capability::Unknown => None,
        Capability::OneVma => Some(false),
        Capability::MultiVma => Some(true),
    }
}

fn outcomes(overview: &Overview) -> Vec<Value> {
    let named = Outcome::NAMES.iter().zip(&overview.outcomes);
    named
        .filter(|(_, outcome)| outcome.times.count() > 0)
        .map(|(name, outcome)| {
            let at = |percent| outcome.times.percentile(percent);
            json!({
                "outcome": name,
                "calls": outcome.times.count(),
                "failed": outcome.failed,
                "p50_ns": at(50.0),
                "p90_ns": at(90.0),
                "p99_ns": at(99.0),
                "p999_ns": at(99.9),
                "max_ns": outcome.times.max(),
                "time_ns": outcome.times.sum(),
            })
        })
        .collect()
}

fn moves(overview: &Overview) -> Value {
    let moves = &overview.moves;
    let spread = |values: &Histogram| json!({"least": values.min(), "median": values.percentile(50.0), "most": values.max()});
    json!({
        "moves": moves.parts.count(),
        "parts": moves.parts.sum(),
        "gaps": moves.gaps.sum(),
        "bytes": moves.bytes.sum(),
        "retries": moves.retries.sum(),
        "parts_per_move": spread(&moves.parts),
        "gaps_per_move": spread(&moves.gaps),
        "bytes_per_move": spread(&moves.bytes),
        "vmas_learnt_from": learnt_from(moves),
    })
}

fn learnt_from(moves: &Moves) -> Value {
    let named = FoundBy::NAMES.iter().zip(moves.sources).filter(|(_, moves)| *moves > 0);
    named.map(|(name, moves)| ((*name).to_owned(), Value::from(moves))).collect()
}

fn failures(overview: &Overview) -> Vec<Value> {
    let value = |(why, failure): (&Why, &NamedFailure)| {
        json!({
            "errno": why.errno(),
            "calls": failure.calls,
            "cause": why.reason.cause(),
            "first_site": failure.site.name(),
            "reason": why.reason.name(),
            "remedy": why.reason.remedy(),
        })
    };
    overview.failures.iter().map(value).collect()
}

fn timeline(overview: &Overview) -> Value {
    let (bins, each) = overview.timeline.columns(200);
    json!({
        "start_ns": overview.timeline.base,
        "bin_ns": each,
        "calls": bins.iter().map(|bin| bin.calls).collect::<Vec<_>>(),
        "failed": bins.iter().map(|bin| bin.failed).collect::<Vec<_>>(),
    })
}

fn chains(traces: &Traces, overview: &Overview, symbols: &Symbols, options: &Options) -> Value {
    let worth = overview.chains.iter().filter(|(_, chain)| chain.calls_saved() > 0);
    let value = |(process_index, chain): &(usize, crate::stats::Chain)| {
        let process = traces.processes.get(*process_index)?;
        Some(json!({
            "pid": process.header.pid,
            "tid": chain.tid,
            "site": overview.chain_site(process, *process_index, chain, symbols).name(),
            "first": format!("{:#x}", chain.first),
            "last": format!("{:#x}", chain.last),
            "first_len": chain.first_len,
            "most_len": chain.max_len,
            "growths": chain.growths,
            "moves": chain.moves,
            "time_ns": chain.time,
            "begin_ns": chain.begin,
            "end_ns": chain.end,
            "growths_by_doubling": chain.growths_by_doubling(),
            "time_saved_by_doubling_ns": chain.time_saved(),
        }))
    };
    worth.take(options.top).filter_map(value).collect()
}
