//! Every call, one line each, for people or as JSON lines.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::cli::Filter;
use crate::load::Loaded;
use crate::model::{Event, Process, errno_name, flag_names, outcome_name};

/// The JSON of an event. Fields are added over time, never renamed.
#[derive(Serialize)]
struct JsonEvent<'a> {
    event: usize,
    pid: u32,
    tid: u32,
    wall_clock_ns: u64,
    since_start_ns: u64,
    duration_ns: u64,
    outcome: &'a str,
    old: u64,
    old_len: u64,
    new_len: u64,
    flags: u32,
    new: u64,
    result: i64,
    errno: Option<String>,
    caller: u64,
    site: String,
    parts: usize,
    gaps: usize,
    bytes_moved: Option<u64>,
}

/// Writes the events that pass the filter.
pub fn write(loaded: &Loaded, filter: &Filter, json: bool, out: &mut dyn Write) -> Result<()> {
    for process in &loaded.processes {
        for event in process.events.iter().filter(|event| passes(event, filter)) {
            if json {
                serde_json::to_writer(&mut *out, &as_json(process, event))?;
                writeln!(out)?;
            } else {
                write_line(process, event, out)?;
            }
        }
    }
    Ok(())
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
}

fn as_json<'a>(process: &Process, event: &Event) -> JsonEvent<'a> {
    let call = &event.call;
    JsonEvent {
        event: event.number,
        pid: process.header.pid,
        tid: event.tid,
        wall_clock_ns: process.wall_clock(call.ticks),
        since_start_ns: process.since_start(call.ticks),
        duration_ns: process.nanoseconds(call.duration),
        outcome: outcome_name(call.outcome),
        old: call.old,
        old_len: call.old_len,
        new_len: call.new_len,
        flags: call.flags,
        new: call.new,
        result: call.result,
        errno: call.errno().map(errno_name),
        caller: call.caller,
        site: process.site(call.caller),
        parts: event.parts.len(),
        gaps: event.gaps.len(),
        bytes_moved: event.summary.map(|summary| summary.bytes),
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
