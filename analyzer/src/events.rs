//! Every call, one line each, for people or as JSON lines.

use std::io::Write;

use anyhow::Result;
use mremap_trace::{Gap, Part, Under};
use serde::Serialize;

use crate::cli::Filter;
use crate::load::Loaded;
use crate::model::{Event, Process, errno_name, flag_names, in_order, outcome_name, protection};

/// The JSON of an event. Fields are added over time, never renamed. Addresses are hexadecimal strings:
/// readers of JSON keep 53 bits of a number.
#[derive(Serialize)]
struct JsonEvent<'a> {
    event: usize,
    pid: u32,
    tid: u32,
    wall_clock_ns: u64,
    monotonic_ns: u64,
    since_start_ns: u64,
    duration_ns: u64,
    outcome: &'a str,
    old: String,
    old_len: u64,
    new_len: u64,
    flags: u32,
    flag_names: String,
    new: String,
    result: String,
    errno: Option<String>,
    caller: String,
    site: String,
    bytes_moved: Option<u64>,
    retries: Option<u32>,
    parts: usize,
    gaps: usize,
    part_list: Vec<JsonPart>,
    gap_list: Vec<JsonGap>,
}

#[derive(Serialize)]
struct JsonPart {
    start: String,
    end: String,
    target: String,
    vma_start: String,
    vma_end: String,
    protection: String,
    duration_ns: u64,
    errno: Option<String>,
}

#[derive(Serialize)]
struct JsonGap {
    start: String,
    end: String,
    target: String,
    under: &'static str,
}

/// Writes the events that pass the filter; how many there were.
///
/// # Errors
/// Standard output cannot be written.
pub fn write(loaded: &Loaded, filter: &Filter, json: bool, out: &mut dyn Write) -> Result<usize> {
    let mut written = 0;
    for (process, event) in in_order(&loaded.processes) {
        if !passes(event, filter) {
            continue;
        }
        written += 1;
        if json {
            serde_json::to_writer(&mut *out, &as_json(process, event))?;
            writeln!(out)?;
        } else {
            write_line(process, event, out)?;
        }
    }
    Ok(written)
}

fn passes(event: &Event, filter: &Filter) -> bool {
    let errno_matches = |wanted: &String| {
        event
            .call
            .errno()
            .is_some_and(|errno| *wanted == errno_name(errno) || *wanted == errno.to_string())
    };
    filter
        .outcome
        .as_ref()
        .is_none_or(|wanted| wanted == outcome_name(event.call.outcome))
        && filter.errno.as_ref().is_none_or(errno_matches)
        && filter.tid.is_none_or(|wanted| wanted == event.tid)
        && filter
            .min_len
            .is_none_or(|least| event.call.old_len.max(event.call.new_len) >= least)
        && filter.addr.is_none_or(|address| holds(event, address))
}

/// Whether an address lies in the source, or in what the call asked for or returned.
fn holds(event: &Event, address: u64) -> bool {
    let call = &event.call;
    let within = |start: u64, len: u64| address >= start && address - start < len.max(1);
    within(call.old, call.old_len)
        || (call.flags & 2 != 0 && within(call.new, call.new_len))
        || (call.errno().is_none() && within(call.result as u64, call.new_len))
}

fn hex(address: u64) -> String {
    format!("{address:#x}")
}

fn as_json<'a>(process: &Process, event: &Event) -> JsonEvent<'a> {
    let call = &event.call;
    JsonEvent {
        event: event.number,
        pid: process.header.pid,
        tid: event.tid,
        wall_clock_ns: process.wall_clock(call.ticks),
        monotonic_ns: process.monotonic(call.ticks),
        since_start_ns: process.since_start(call.ticks),
        duration_ns: process.nanoseconds(call.duration),
        outcome: outcome_name(call.outcome),
        old: hex(call.old),
        old_len: call.old_len,
        new_len: call.new_len,
        flags: call.flags,
        flag_names: flag_names(call.flags),
        new: hex(call.new),
        result: call
            .errno()
            .map_or_else(|| hex(call.result as u64), |_| call.result.to_string()),
        errno: call.errno().map(errno_name),
        caller: hex(call.caller),
        site: process.site(call.caller),
        bytes_moved: event.summary.map(|summary| summary.bytes),
        retries: event.summary.map(|summary| summary.retries),
        parts: event.parts.len(),
        gaps: event.gaps.len(),
        part_list: event
            .parts
            .iter()
            .map(|part| json_part(process, event, part))
            .collect(),
        gap_list: event.gaps.iter().map(|gap| json_gap(event, gap)).collect(),
    }
}

fn json_part(process: &Process, event: &Event, part: &Part) -> JsonPart {
    JsonPart {
        start: hex(part.start),
        end: hex(part.end),
        target: hex(event.target(part.start)),
        vma_start: hex(part.vma_start),
        vma_end: hex(part.vma_end),
        protection: protection(part.protection),
        duration_ns: process.nanoseconds(part.duration.into()),
        errno: (part.errno != 0).then(|| errno_name(part.errno)),
    }
}

fn json_gap(event: &Event, gap: &Gap) -> JsonGap {
    JsonGap {
        start: hex(gap.start),
        end: hex(gap.end),
        target: hex(event.target(gap.start)),
        under: match gap.under {
            Under::Unknown => "unknown",
            Under::Empty => "empty",
            Under::Mapped => "mapped",
        },
    }
}

fn write_line(process: &Process, event: &Event, out: &mut dyn Write) -> Result<()> {
    let call = &event.call;
    let result = call
        .errno()
        .map_or_else(|| format!("{:#x}", call.result), errno_name);
    let target = if call.flags & 6 == 0 {
        String::new()
    } else {
        format!(", {:#x}", call.new)
    };
    let taken_apart = if event.parts.is_empty() {
        String::new()
    } else {
        format!(" parts={} gaps={}", event.parts.len(), event.gaps.len())
    };
    writeln!(
        out,
        "{} {}/{} +{:.6}s mremap({:#x}, {}, {}, {}{target}) = {result} {}{taken_apart} {}ns {}",
        event.number,
        process.header.pid,
        event.tid,
        process.since_start(call.ticks) as f64 / 1e9,
        call.old,
        call.old_len,
        call.new_len,
        flag_names(call.flags),
        outcome_name(call.outcome),
        process.nanoseconds(call.duration),
        process.site(call.caller),
    )?;
    Ok(())
}
