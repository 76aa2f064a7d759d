//! `events`: one line a call, as text or as JSON.

use std::borrow::Cow;
use std::io::Write;
use std::ops::ControlFlow;

use anyhow::Result;
use mremap_trace::{Gap, Part};
use serde::Serialize;

use crate::load::{Candidate, Index, Traces, in_order};
use crate::model::text::{self, Hex, Returned};
use crate::model::units::duration;
use crate::model::{Event, Filter, names};
use crate::named::{Named, Namer};
use crate::report::table::TextStyle;
use crate::symbols::Symbols;

/// An event as JSON. Fields are only added, never renamed. Addresses are hexadecimal strings, since
/// many readers of JSON keep only 53 bits of a number.
#[derive(Serialize)]
struct JsonEvent<'a> {
    event: u64,
    pid: u32,
    tid: u32,
    wall_clock_ns: u64,
    monotonic_ns: u64,
    since_start_ns: u64,
    duration_ns: u64,
    outcome: &'a str,
    old: Hex,
    old_len: u64,
    new_len: u64,
    flags: u32,
    flag_names: Cow<'static, str>,
    new: Option<Hex>,
    result: Returned,
    errno: Option<String>,
    caller: Hex,
    site: &'a str,
    place: &'a str,
    inner: Vec<&'a str>,
    stack: Vec<&'a str>,
    bytes_moved: Option<u64>,
    retries: Option<u32>,
    parts: usize,
    gaps: usize,
    part_list: Vec<JsonPart>,
    gap_list: Vec<JsonGap>,
    reason: Option<&'static str>,
    cause: Option<&'static str>,
    bytes_requested: u64,
    bytes_relocated: u64,
    bytes_grown_in_place: u64,
    host: &'a str,
    exe: &'a str,
    kernel: &'a str,
}

#[derive(Serialize)]
struct JsonPart {
    start: Hex,
    end: Hex,
    target: Hex,
    vma_start: Hex,
    vma_end: Hex,
    protection: String,
    duration_ns: u64,
    errno: Option<String>,
}

#[derive(Serialize)]
struct JsonGap {
    start: Hex,
    end: Hex,
    target: Hex,
    under: &'static str,
}

/// Writes the events that pass the filter. Returns their number.
pub fn write(
    traces: &Traces,
    index: &Index,
    filter: &Filter,
    symbols: &Symbols,
    json: bool,
    out: &mut dyn Write,
) -> Result<usize> {
    let mut written = 0;
    let style = TextStyle::of_stdout();
    let mut namer = Namer::new(symbols);
    let wanted = |candidate: &Candidate<'_>| filter.selects(candidate);
    in_order(traces, index, wanted, |process, event| {
        written += 1;
        let named = namer.name(process, event);
        if json {
            write_json(&named, &mut *out)?;
        } else {
            write_line(&named, traces.start(), &style, out)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(written)
}

/// Writes one event as a line of JSON.
pub fn write_json(named: &Named, mut out: impl Write) -> Result<()> {
    serde_json::to_writer(&mut out, &as_json(named))?;
    out.write_all(b"\n")?;
    Ok(())
}

fn as_json(named: &Named) -> JsonEvent<'_> {
    let event = &named.event;
    let call = &event.call;
    JsonEvent {
        event: event.number,
        pid: named.origin.pid,
        tid: event.tid,
        wall_clock_ns: named.wall_clock,
        monotonic_ns: named.monotonic,
        since_start_ns: named.since_start,
        duration_ns: named.duration,
        outcome: call.outcome.name(),
        old: Hex(call.old),
        old_len: call.old_len,
        new_len: call.new_len,
        flags: call.flags,
        flag_names: text::flags(call.flags),
        new: event.new_address().map(Hex),
        result: Returned::by(call),
        errno: call.errno().map(names::errno),
        caller: Hex(call.caller),
        site: &named.site.name,
        place: &named.site.place,
        inner: named.inner.iter().map(|site| site.name.as_str()).collect(),
        stack: named.stack.iter().map(|site| site.name.as_str()).collect(),
        bytes_moved: event.bytes_moved(),
        retries: event.summary.map(|summary| summary.retries),
        parts: event.parts.len(),
        gaps: event.gaps.len(),
        part_list: event.parts.iter().map(|part| json_part(named, part)).collect(),
        gap_list: event.gaps.iter().map(|gap| json_gap(event, gap)).collect(),
        reason: named.why.map(|why| why.reason.name()),
        cause: named.why.map(|why| why.reason.cause()),
        bytes_requested: named.bytes.requested(),
        bytes_relocated: named.bytes.relocated(),
        bytes_grown_in_place: named.bytes.grown_in_place(),
        host: &named.origin.host,
        exe: &named.origin.exe,
        kernel: &named.origin.kernel,
    }
}

fn json_part(named: &Named, part: &Part) -> JsonPart {
    JsonPart {
        start: Hex(part.start),
        end: Hex(part.end),
        target: Hex(named.event.target(part.start)),
        vma_start: Hex(part.vma_start),
        vma_end: Hex(part.vma_end),
        protection: names::protection(part.protection),
        duration_ns: named.origin.nanoseconds(part.duration.into()),
        errno: (part.errno != 0).then(|| names::errno(part.errno)),
    }
}

fn json_gap(event: &Event, gap: &Gap) -> JsonGap {
    JsonGap {
        start: Hex(gap.start),
        end: Hex(gap.end),
        target: Hex(event.target(gap.start)),
        under: gap.under.name(),
    }
}

/// Writes one event as a line of text. Its time counts from `start`, as `--since` does: wall clock
/// in nanoseconds.
pub fn write_line(named: &Named, start: u64, style: &TextStyle, out: &mut dyn Write) -> Result<()> {
    let event = &named.event;
    let call = &event.call;
    let result = call
        .errno()
        .map_or_else(|| format!("{:#x}", call.result), |errno| style.bad(&names::errno(errno)));
    let count_of_parts = event.count_of_parts().map_or_else(String::new, |it| format!(" ({it})"));
    let why = named
        .why
        .map_or_else(String::new, |why| format!(": {}", style.warning(why.reason.cause())));
    writeln!(
        out,
        "{} {}/{} +{:.6}s {} = {result} {}{count_of_parts} {} {}{why}",
        event.number,
        named.origin.pid,
        event.tid,
        named.wall_clock.saturating_sub(start) as f64 / 1e9,
        names::call(call),
        call.outcome.name(),
        duration(named.duration),
        style.heading(&named.site.name),
    )?;
    Ok(())
}
