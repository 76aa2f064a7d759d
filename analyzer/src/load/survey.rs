//! The first read of a file: header, length, clock.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE};
use mremap_trace::{ChunkHeader, Clock, Header};
use tracing::info;

use super::damage::{Damage, Log};
use super::files::raise_open_limit;
use super::liveness::{is_running, is_this_boot};
use super::pack::{Expanded, InPack};
use super::process::{Found, Process};
use super::source::{Source, chunk_offset};
use crate::model::names;
use crate::model::units::counted;

/// Chunks whose clock readings are read, spread over the file.
const SAMPLES: u32 = 512;
/// Plausible nanoseconds per tick: counters of 50 GHz to 10 MHz.
const BELIEVABLE_TICK: std::ops::RangeInclusive<f64> = 0.02..=100.0;

/// Open trace files.
#[derive(Default)]
pub struct Traces {
    /// The readable files, in the order of their start.
    pub processes: Vec<Process>,
    unreadable: Vec<Damage>,
    not_begun: Vec<Damage>,
}

impl Traces {
    /// Returns the damage found so far.
    pub fn damage(&self) -> Vec<Damage> {
        let of_process = |process: &Process| {
            let logs = [&process.damage, &process.found.damage];
            logs.into_iter()
                .flat_map(|log| log.of_file(&process.file).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        let readable = self.processes.iter().flat_map(of_process);
        // Among other files one without a header is no damage; alone it is all there is to report.
        let not_begun = self.not_begun.iter().filter(|_| self.processes.is_empty());
        let unreadable = self.unreadable.iter().chain(not_begun);
        unreadable.cloned().chain(readable).collect()
    }

    /// Returns the number of files whose process ended before it wrote a header: it made no call
    /// that could be recorded.
    pub fn not_begun(&self) -> usize {
        self.not_begun.len()
    }

    /// Removes the processes for which `objection` returns a reason. Reasons are reported as
    /// damage.
    pub fn leave_out(&mut self, objection: impl Fn(&Process) -> Option<String>) {
        let unreadable = &mut self.unreadable;
        self.processes.retain(|process| {
            let Some(what) = objection(process) else { return true };
            unreadable.push(Damage { file: process.file.clone(), offset: 0, what });
            false
        });
    }

    /// Sets what a scan found besides calls.
    pub fn take_found(&mut self, found: Vec<Found>) {
        for (process, found) in self.processes.iter_mut().zip(found) {
            process.found = found;
        }
    }

    fn cannot_read(&mut self, file: &Path, what: String) {
        self.unreadable.push(Damage { file: file.to_owned(), offset: 0, what });
    }

    fn take(&mut self, path: &Path, source: Source, max_open: usize) {
        let mut log = Log::default();
        match survey(path, source, &mut log) {
            Survey::Trace(mut process) => {
                info!(file = %path.display(), chunks = process.chunks, "opened");
                process.damage = log;
                if self.processes.len() >= max_open {
                    process.source.close();
                }
                self.processes.push(*process);
            }
            Survey::NotBegun => self.not_begun.extend(log.of_file(path)),
            Survey::Unreadable => self.unreadable.extend(log.of_file(path)),
        }
    }

    /// Takes the traces of a pack.
    fn take_pack(&mut self, path: &Path, packed: File) {
        let Expanded { pack, file, traces, error } = match Expanded::of(packed) {
            Ok(expanded) => expanded,
            Err(error) => {
                return self.cannot_read(
                    path,
                    format!("the pack cannot be expanded: {}", names::io_error(&error)),
                );
            }
        };
        if let Some(error) = error {
            let what = format!(
                "the pack is incomplete or damaged after {}: {}; copy it again, or pack the traces again",
                counted(traces.len() as u64, "trace"),
                names::io_error(&error)
            );
            self.cannot_read(path, what);
        } else if traces.is_empty() {
            self.cannot_read(path, "compressed by zstd, but holds no trace".to_owned());
        }
        for trace in traces {
            let name = trace.path(path);
            let source = Source::packed(name.clone(), Arc::clone(&file), trace.start, trace.len);
            let known = self.processes.len();
            self.take(&name, source, usize::MAX);
            if let Some(process) = self.processes.get_mut(known) {
                process.running = trace.running;
                process.in_pack = Some(InPack { pack: Arc::clone(&pack), number: trace.number });
            }
        }
    }

    /// Returns the start of the first process: wall clock, in ns since 1970.
    pub fn start(&self) -> u64 {
        self.processes.first().map_or(0, |process| process.header.realtime_ns)
    }
}

/// Opens trace files and reads their headers. What cannot be opened or read becomes damage. A file
/// given twice, even under different names, counts once.
pub fn open(files: &[PathBuf]) -> Traces {
    let mut traces = Traces::default();
    let max_open = raise_open_limit();
    let mut seen = HashSet::new();
    for path in files {
        let source = match Source::open(path) {
            Ok(source) if !seen.insert(source.id()) => continue,
            Ok(source) => source.into_pack(),
            Err(error) => {
                traces.cannot_read(path, why_not_opened(path, &error));
                continue;
            }
        };
        match source {
            Ok(pack) => traces.take_pack(path, pack),
            Err(source) => traces.take(path, source, max_open),
        }
    }
    traces.processes.sort_by_key(|process| process.header.realtime_ns);
    traces
}

fn why_not_opened(path: &Path, error: &io::Error) -> String {
    if path.is_dir() {
        return "no trace (*.mremap) in this directory; was MREMAP_SHIM_TRACE set to it?"
            .to_owned();
    }
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "; `mremap-analyzer run -- PROGRAM` makes a trace",
        io::ErrorKind::InvalidInput => "; give the trace file itself, or its directory",
        _ => "",
    };
    format!("cannot be opened: {}{hint}", names::io_error(error))
}

/// Whether a file is a pack of traces.
pub fn is_pack(path: &Path) -> bool {
    Source::open(path).is_ok_and(|source| source.into_pack().is_ok())
}

/// Opens one trace; `None` if it is not readable yet.
pub fn open_one(path: &Path) -> Option<Process> {
    match survey(path, Source::open(path).ok()?, &mut Log::default()) {
        Survey::Trace(process) => Some(*process),
        Survey::NotBegun | Survey::Unreadable => None,
    }
}

/// The kind of a file.
enum Survey {
    Trace(Box<Process>),
    /// Zeros for a header, whose magic is written last.
    NotBegun,
    Unreadable,
}

fn survey(path: &Path, source: Source, log: &mut Log) -> Survey {
    let mut head = vec![0; HEADER_SIZE];
    match source.read(0, &mut head) {
        Ok(read) => head.truncate(read),
        Err(error) => {
            log.add(0, format!("cannot be read: {}", names::io_error(&error)));
            return Survey::Unreadable;
        }
    }
    if head.is_empty() {
        log.add(0, "the file is empty; record the program again");
        return Survey::Unreadable;
    }
    if head.len() == HEADER_SIZE && head.iter().all(|&byte| byte == 0) {
        log.add(
            0,
            "the trace has no header yet: its process ended before it was written, or is writing it",
        );
        return Survey::NotBegun;
    }
    let (header, text) = match Header::decode(&head) {
        Ok(decoded) => decoded,
        Err(error) => {
            log.add(error.offset, error.what);
            return Survey::Unreadable;
        }
    };
    let mut process = Process::new(path.to_owned(), source, header, &text);
    process.chunks = readable_chunks(&header, process.source.len(), log);
    process.running = is_running(&header);
    set_clock(&mut process);
    count_overwritten(&mut process);
    Survey::Trace(Box::new(process))
}

/// Returns the number of claimed chunks that the file has, the last one maybe in part.
fn readable_chunks(header: &Header, len: u64, log: &mut Log) -> u32 {
    let room = header.capacity.saturating_sub(HEADER_SIZE as u64) / CHUNK_SIZE as u64;
    let claimed = match u32::try_from(room).unwrap_or(u32::MAX) {
        0 => header.chunks,
        room => header.chunks.min(room),
    };
    if len >= chunk_offset(claimed) {
        return claimed;
    }
    let whole = (len.saturating_sub(HEADER_SIZE as u64) / CHUNK_SIZE as u64) as u32;
    log.add(
        len,
        format!(
            "the file ends in chunk {} of {claimed}; the chunks before it were read",
            whole + 1
        ),
    );
    if len > chunk_offset(whole) { whole + 1 } else { whole }
}

/// Reads the clocks of the trace now, if this is the boot in which it was recorded.
fn own_reading(header: &Header) -> Option<(u64, u64)> {
    if !is_this_boot(header) {
        return None;
    }
    #[cfg(target_arch = "x86_64")]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        // SAFETY: every x86-64 processor has RDTSC.
        let ticks = unsafe { std::arch::x86_64::_rdtsc() };
        let seconds = u64::try_from(time.tv_sec).ok()?;
        Some((ticks, seconds.checked_mul(1_000_000_000)?.checked_add(time.tv_nsec as u64)?))
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// Whether a rate may be that of the same clocks: in another time namespace `CLOCK_MONOTONIC`
/// differs by days.
fn is_close(rate: f64, recorded: f64) -> bool {
    !recorded.is_finite() || (rate / recorded - 1.0).abs() < 0.05
}

/// Sets the length of a tick, by the first and the latest reading of the clocks.
pub fn set_clock(process: &mut Process) {
    let header = process.header;
    process.clock_note = None;
    if header.clock == Some(Clock::Nanoseconds) {
        return;
    }
    let rate_by = |(ticks, monotonic_ns): (u64, u64)| {
        let ticks = ticks.wrapping_sub(header.ticks) as f64;
        monotonic_ns.wrapping_sub(header.monotonic_ns) as f64 / ticks
    };
    let recorded = rate_by(latest_reading(process));
    // A quiet process has readings microseconds apart. The clocks still run on in the same boot.
    let present = own_reading(&header).map(rate_by);
    let rate = present.filter(|rate| is_close(*rate, recorded)).unwrap_or(recorded);
    if header.clock == Some(Clock::Counter) && BELIEVABLE_TICK.contains(&rate) {
        process.ns_per_tick = rate;
    } else {
        let clock = header.clock.map_or("of an unknown kind", Clock::name);
        process.clock_note = Some(format!(
            "the rate of this trace's clock ({clock}) is unknown: one tick is taken as one nanosecond",
        ));
    }
}

/// The header's count is raised after the chunks' own, so a killed process may not have raised it.
fn count_overwritten(process: &mut Process) {
    if process.header.keeps_last() {
        let headers = (0..process.chunks).filter_map(|place| chunk_header(process, place));
        let overwritten =
            headers.fold(0u64, |sum, chunk| sum.saturating_add(chunk.overwritten_calls()));
        process.header.lost_overwritten = process.header.lost_overwritten.max(overwritten);
    }
}

fn chunk_header(process: &Process, place: u32) -> Option<ChunkHeader> {
    let mut slot = [0; SLOT_SIZE];
    let read = process.source.read(chunk_offset(place), &mut slot).unwrap_or(0);
    ChunkHeader::decode(slot.get(..read)?)
}

fn latest_reading(process: &Process) -> (u64, u64) {
    let first = (process.header.ticks, process.header.monotonic_ns);
    let mut latest = process.header.later.filter(|later| later.0 > first.0).unwrap_or(first);
    let step = (process.chunks / SAMPLES).max(1);
    let tail = process.chunks.saturating_sub(SAMPLES)..process.chunks;
    for place in (0..process.chunks).step_by(step as usize).chain(tail) {
        if let Some(chunk) =
            chunk_header(process, place).filter(|chunk| chunk.tid != 0 && chunk.ticks > latest.0)
        {
            latest = (chunk.ticks, chunk.monotonic_ns);
        }
    }
    latest
}

#[cfg(test)]
mod tests {
    use super::{is_close, own_reading};
    use crate::load::liveness::this_boot;
    use mremap_trace::Header;

    #[test]
    fn reads_the_clocks_of_this_boot_only() {
        let header = Header { boot_id: this_boot(), ..Header::default() };
        assert_eq!(own_reading(&header).is_some(), cfg!(target_arch = "x86_64"));
        assert_eq!(own_reading(&Header { boot_id: [7; 16], ..header }), None);
    }

    #[test]
    fn takes_a_present_rate_only_near_the_recorded_one() {
        assert!(is_close(0.476, 0.48) && is_close(0.476, f64::NAN));
        assert!(!is_close(3.0, 0.476));
    }
}
