//! `mremap-analyzer report` over a large trace, relative to reading the file from the page cache.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mremap_trace::{
    Call, Capability, ChunkHeader, Clock, Header, HeaderText, Outcome, Record, layout,
};

use crate::clock;
use crate::rounds::{self, Variant};
use crate::stats::{named, ratios};
use crate::subject::Subject;
use crate::table::{Goal, Row};

const SUITE: &str = "report";
/// Calls in the trace, rounded up to whole chunks.
const CALLS: usize = 100_000_000;
const CALLS_QUICK: usize = 5_000_000;
const CALLS_PER_CHUNK: usize = layout::SLOTS_PER_CHUNK as usize - 1;
/// Threads and call sites of the calls.
const THREADS: usize = 4;
const SITES: u64 = 64;

/// The rows.
pub fn rows(subject: &Subject) -> Result<Vec<Row>> {
    let (trace, calls) = trace(subject, if subject.is_quick { CALLS_QUICK } else { CALLS })?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (mut wall, mut peak) = (Vec::new(), Vec::new());
    let series = {
        let mut variants: Vec<Variant<'_>> = vec![
            ("read".to_owned(), Box::new(|| read_through(&trace, 1).unwrap_or(f64::NAN))),
            (
                "read on all".to_owned(),
                Box::new(|| read_through(&trace, threads).unwrap_or(f64::NAN)),
            ),
            (
                "report".to_owned(),
                Box::new(|| {
                    let (seconds, peak_mib) =
                        report(subject, &trace).unwrap_or((f64::NAN, f64::NAN));
                    wall.push(seconds);
                    peak.push(peak_mib);
                    seconds
                }),
            ),
        ];
        rounds::run(9, &mut variants)
    };
    ensure!(
        wall.iter().all(|seconds| seconds.is_finite()),
        "the report of {} failed",
        trace.display()
    );
    let (read, report) = (named(&series, "read"), named(&series, "report"));
    let millions = calls as f64 / 1e6;
    let what = format!("report over {millions:.0} million calls");
    Ok(vec![
        Row::new(SUITE, what.clone(), "reading the file, cached")
            .measured("x", ratios(report, read))
            .goal(Goal::AtMost(1.5)),
        Row::new(SUITE, what.clone(), "the same, a thread a processor")
            .measured("x", ratios(report, named(&series, "read on all"))),
        Row::new(SUITE, what.clone(), "")
            .measured("M/s", report.iter().map(|seconds| millions / seconds).collect())
            .goal(Goal::AtLeast(80.0)),
        Row::new(SUITE, format!("{what}, peak memory"), "")
            .measured("MiB", peak)
            .goal(Goal::AtMost(64.0)),
    ])
}

/// Returns a trace of at least `calls` calls, and their number.
pub(super) fn trace(subject: &Subject, calls: usize) -> Result<(PathBuf, usize)> {
    let chunks = calls.div_ceil(CALLS_PER_CHUNK);
    Ok((generate(subject, chunks)?, chunks * CALLS_PER_CHUNK))
}

/// Generates a trace as the library writes it, and keeps it for later runs.
fn generate(subject: &Subject, chunks: usize) -> Result<PathBuf> {
    fs::create_dir_all(&subject.scratch)?;
    let path = subject.scratch.join(format!("report-{chunks}.{}.dated.mrt", layout::VERSION));
    let len = (layout::HEADER_SIZE + chunks * layout::CHUNK_SIZE) as u64;
    if fs::metadata(&path).is_ok_and(|file| file.len() == len) {
        return Ok(path);
    }
    // Renamed when complete, in case the run is interrupted.
    let fresh = path.with_extension("fresh");
    let mut file = BufWriter::with_capacity(1 << 20, fs_err::File::create(&fresh)?);
    let mut bytes = vec![0; layout::HEADER_SIZE];
    let header = Header {
        page_size: 4096,
        capacity: len,
        pid: 1000,
        parent_pid: 1,
        // In 2023: an export by days leaves out what has no date.
        realtime_ns: 1_700_000_000_000_000_000,
        clock: Some(Clock::Nanoseconds),
        chunks: chunks as u32,
        capability: Some(Capability::OneVma),
        ..Header::default()
    };
    let text = HeaderText {
        shim_version: b"bench",
        exe: b"/usr/bin/bench",
        argv: b"bench\0",
        ..HeaderText::default()
    };
    header.encode(&text, &mut bytes);
    file.write_all(&bytes)?;
    let mut random = fastrand::Rng::with_seed(1);
    for number in 0..chunks {
        file.write_all(&chunk(number, &mut random))?;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?;
    fs_err::rename(&fresh, &path)?;
    Ok(path)
}

fn chunk(number: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(layout::CHUNK_SIZE);
    let ticks = (number * CALLS_PER_CHUNK * 400) as u64;
    bytes.resize(layout::SLOT_SIZE, 0);
    let header = ChunkHeader {
        tid: (1000 + number % THREADS) as u32,
        number: number as u32,
        claimed: layout::SLOTS_PER_CHUNK,
        ticks,
        monotonic_ns: ticks,
        realtime_ns: ticks,
        ..ChunkHeader::default()
    };
    header.encode(&mut bytes);
    for index in 0..CALLS_PER_CHUNK {
        let call = Record::Call(call(ticks + index as u64 * 400, random.u64(..)));
        bytes.extend(call.encode().iter().flat_map(|word| word.to_ne_bytes()));
    }
    bytes
}

/// Mostly resizes, some moves; one call in a hundred fails.
fn call(ticks: u64, random: u64) -> Call {
    let pages = 1 + random % 64;
    let old = 0x7000_0000_0000 + (random >> 20 & 0xffff) * 4096;
    let fails = random.is_multiple_of(100);
    let outcome =
        [Outcome::PassedThrough, Outcome::PassedThrough, Outcome::Native, Outcome::OneVma]
            [(random >> 8 & 3) as usize];
    Call {
        outcome,
        ticks,
        duration: 200 + (random >> 40 & 0xfff),
        old,
        old_len: pages * 4096,
        new_len: (pages + (random >> 16 & 1)) * 4096,
        flags: if outcome == Outcome::PassedThrough { 1 } else { 3 },
        new: old + (1 << 40),
        result: if fails { -i64::from(libc::ENOMEM) } else { old as i64 },
        caller: 0x5555_0000_0000 + (random >> 32) % SITES * 64,
    }
}

/// Reads the whole file with this number of threads, and returns the seconds.
fn read_through(path: &Path, threads: usize) -> Result<f64> {
    let before = clock::monotonic_ns();
    let (file, next) = (File::open(path)?, AtomicU64::new(0));
    thread::scope(|scope| {
        let readers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| read_chunks(&file, &next))).collect();
        let mut ends =
            readers.into_iter().map(|reader| reader.join().is_ok_and(|read| read.is_ok()));
        ensure!(ends.all(|read| read), "{}: cannot be read", path.display());
        Ok(())
    })?;
    Ok((clock::monotonic_ns() - before) as f64 / 1e9)
}

/// Reads the next MiB repeatedly until the file's end.
fn read_chunks(file: &File, next: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    while file.read_at(&mut buffer, next.fetch_add(1 << 20, Ordering::Relaxed))? > 0 {}
    Ok(())
}

/// Runs the report; returns its seconds and its peak memory in MiB.
pub(super) fn report(subject: &Subject, trace: &Path) -> Result<(f64, f64)> {
    let mut command = Command::new(&subject.analyzer);
    command.arg("report").arg(trace).stdout(Stdio::null());
    let before = clock::monotonic_ns();
    let mut child = command.spawn().context("mremap-analyzer: cannot be run")?;
    let pid = child.id();
    let peak = thread::spawn(move || peak_mib(pid));
    let status = child.wait()?;
    let seconds = (clock::monotonic_ns() - before) as f64 / 1e9;
    ensure!(status.success(), "mremap-analyzer report: {status}");
    Ok((seconds, peak.join().unwrap_or(f64::NAN)))
}

/// Polls a process's peak memory until it ends. The figure of `wait4` includes this process's
/// memory at the fork.
fn peak_mib(pid: u32) -> f64 {
    let mut peak = f64::NAN;
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let Some(kib) =
            most.and_then(|most| most.trim_end_matches("kB").trim().parse::<f64>().ok())
        else {
            return peak;
        };
        peak = kib / 1024.0;
        thread::sleep(Duration::from_millis(5));
    }
}
