//! The head of the report: program, kernel, settings, the shim's messages, lost calls.

use std::cmp::Reverse;
use std::io::Write;

use anyhow::Result;
use mremap_trace::{Capability, Detail, Keep, Mode, VmaSource};

use super::table::TextStyle;
use crate::load::{Process, Traces};
use crate::model::units::{counted, date_and_time, size};
use crate::stats::Overview;

/// Processes described in full; the table of processes lists the rest.
const MAX_HEADS: usize = 4;
/// Further processes described because calls were lost or their clock is unreliable.
const MAX_FLAWED: usize = 8;

/// Describes the busiest processes, and those with lost calls or an unreliable clock.
pub fn write(
    traces: &Traces,
    overview: &Overview,
    style: &TextStyle,
    out: &mut dyn Write,
) -> Result<()> {
    let calls = |process_index: usize| {
        let stats = overview.processes.iter().find(|stats| stats.process == process_index);
        stats.map_or(0, |stats| stats.total.calls)
    };
    let counted = traces.processes.iter().enumerate().filter(|(_, it)| overview.counts(it));
    let mut order: Vec<(u64, usize, &Process)> = counted
        .map(|(process_index, process)| (calls(process_index), process_index, process))
        .collect();
    order.sort_by_key(|(calls, process_index, _)| (Reverse(*calls), *process_index));
    let busy = order.iter().take_while(|(calls, _, _)| *calls > 0).count();
    let (shown, rest) = order.split_at(order.len().min(busy.clamp(1, MAX_HEADS)));
    let mut former = None;
    for (_, _, process) in shown {
        write_process(process, former, style, out)?;
        former = Some(*process);
    }
    let flawed = |process: &Process| process.header.lost() > 0 || process.clock_note.is_some();
    for (_, _, process) in rest.iter().filter(|entry| flawed(entry.2)).take(MAX_FLAWED) {
        write_process(process, former, style, out)?;
        former = Some(*process);
    }
    write_rest(rest.len(), busy.saturating_sub(shown.len()), out)
}

fn write_rest(all: usize, busy: usize, out: &mut dyn Write) -> Result<()> {
    let idle = all - busy;
    match (busy, idle) {
        (0, 0) => {}
        (0, _) => writeln!(out, "and {} without calls", images(idle))?,
        (_, 0) => writeln!(out, "and {} with calls", images(busy))?,
        _ => writeln!(out, "and {} with calls, {idle} without", images(busy))?,
    }
    Ok(())
}

/// Each `exec` starts a new process image, with a trace of its own.
fn images(number: usize) -> String {
    counted(number as u64, "more process image")
}

fn multi_vma_moves(process: &Process) -> &'static str {
    match (process.header.mode, process.header.capability) {
        (Some(Mode::Emulate), _) => "emulated always (mode emulate)",
        (Some(Mode::PassThrough), _) => "never emulated (mode passthrough)",
        (_, Some(Capability::OneVma)) => "emulated, this kernel lacks them",
        (_, Some(Capability::MultiVma)) => "native",
        _ => "none made, so not tested",
    }
}

/// Lines equal to the former process's are left out.
fn write_process(
    process: &Process,
    former: Option<&Process>,
    style: &TextStyle,
    out: &mut dyn Write,
) -> Result<()> {
    let header = &process.header;
    let who = format!("{} (pid {})", process.exe, header.pid);
    let (host, command) = (&process.host, &process.command_line);
    let line = format!("{who} on {host}: {command}");
    if line.chars().count() <= style.width {
        writeln!(out, "{} on {host}: {command}", style.heading(&who))?;
    } else {
        let room = style.width.saturating_sub(host.chars().count() + 4);
        writeln!(out, "{} on {host}", style.heading(&style.fit(&who, room)))?;
        writeln!(out, "  {}", style.fit(command, style.width - 2))?;
    }
    let kernel = |process: &Process| {
        let (kernel, shim) = (&process.kernel, &process.shim_version);
        format!("kernel {kernel}; multi-VMA moves: {}; shim {shim}", multi_vma_moves(process))
    };
    let settings = |process: &Process| {
        let header = &process.header;
        format!(
            "mode {}, VMA source {}, detail {}, trace of {} (keeps the {} calls)",
            header.mode.map_or("?", Mode::name),
            header.vma_source.map_or("?", VmaSource::name),
            header.detail.map_or("?", Detail::name),
            size(header.capacity),
            header.keep.map_or("?", Keep::name)
        )
    };
    let lines: [&dyn Fn(&Process) -> String; 2] = [&kernel, &settings];
    for line in lines {
        let text = line(process);
        if former.is_none_or(|former| line(former) != text) {
            writeln!(out, "{}", style.wrap(&text, 2))?;
        }
    }
    let running = if process.is_alive() { ", still running" } else { "" };
    writeln!(out, "  started {} UTC{running}", date_and_time(header.realtime_ns))?;
    if let Some(note) = &process.clock_note {
        writeln!(out, "{}", style.warning(&style.wrap(&format!("CLOCK: {note}"), 2)))?;
    }
    for message in &process.found.notes.messages {
        writeln!(out, "{}", style.wrap(&format!("shim: {message}"), 2))?;
    }
    write_losses(process, style, out)
}

fn write_losses(process: &Process, style: &TextStyle, out: &mut dyn Write) -> Result<()> {
    let header = &process.header;
    let losses = [
        (header.lost_full, "trace full; raise MREMAP_SHIM_TRACE_SIZE"),
        (header.lost_early, "made before the trace was open"),
        (header.lost_overwritten, "overwritten by later calls; raise MREMAP_SHIM_TRACE_SIZE"),
        (header.lost_no_space, "no space left on the file system"),
        (header.lost_truncated, "another process truncated the trace"),
        (
            header.lost_no_memory,
            "the trace's mapping could not grow; raise RLIMIT_AS or RLIMIT_MEMLOCK",
        ),
        (header.lost_filtered, "a seccomp filter may forbid to allocate space for the trace"),
    ];
    for (calls, why) in losses.into_iter().filter(|(calls, _)| *calls > 0) {
        let text = format!("NOT RECORDED: {} ({why})", counted(calls, "call"));
        writeln!(out, "{}", style.bad(&style.wrap(&text, 2)))?;
    }
    let (unbegun, unfinished) = (process.found.unbegun, process.found.unfinished);
    if unbegun > 0 {
        let chunks = counted(unbegun, "chunk");
        writeln!(out, "  {chunks} claimed and never written to; no call is missing")?;
    }
    if unfinished > 0 {
        writeln!(out, "  {} still being written", counted(unfinished, "record"))?;
    }
    Ok(())
}
