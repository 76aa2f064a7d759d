//! `MREMAP_SHIM_TRACE_KEEP=last`: after any number of records the last ones are in the trace, in
//! order, and all others are counted as lost.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mremap_tests::preload::{Preload, trace_files};
use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE, header};
use mremap_trace::{ChunkHeader, Header, Record, Slot};

const THREADS: u64 = 2;
/// Chunks of earlier laps that may remain: those with pinned modules, and those that a thread still
/// filled when their turn came.
const MAX_LEFT_OVER: usize = 8;

/// A chunk of a ring: its number, and the numbers of the calls in it.
struct Chunk {
    number: u32,
    ticks: u64,
    /// The thread that made the calls.
    thread: u64,
    calls: Vec<u64>,
}

/// A ring, read independently of the analyzer.
struct Ring {
    header: Header,
    chunks: Vec<Chunk>,
}

impl Ring {
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).expect("the trace is readable");
        let (header, _) = Header::decode(&bytes).expect("a header");
        assert!(u64::from(header.chunks) >= header.positions(), "it went round");
        let chunks = bytes[HEADER_SIZE..].chunks_exact(CHUNK_SIZE).map(Chunk::read);
        let chunks = chunks.collect();
        Self { header, chunks }
    }

    fn calls(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.calls.len() as u64).sum()
    }

    /// Each thread's calls of these chunks, in the order of the chunks.
    fn by_thread<'a>(chunks: impl Iterator<Item = &'a Chunk>) -> BTreeMap<u64, Vec<u64>> {
        let mut threads: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for chunk in chunks {
            threads.entry(chunk.thread).or_default().extend(&chunk.calls);
        }
        threads
    }
}

impl Chunk {
    fn read(bytes: &[u8]) -> Self {
        let header = ChunkHeader::decode(bytes).expect("a chunk");
        let calls = header.slots(bytes).filter_map(|(_, slot)| match slot {
            Slot::Complete(Record::Call(call)) if call.old % 2 == 1 => {
                Some((call.new, call.old / 2))
            }
            Slot::Complete(_) => None,
            other => panic!("chunk {}: {other:?}", header.number),
        });
        let (threads, calls): (Vec<_>, Vec<_>) = calls.unzip();
        Self {
            number: header.number,
            ticks: header.ticks,
            thread: threads.first().copied().unwrap_or(u64::MAX),
            calls,
        }
    }
}

fn start(traces: &Path, calls_each: u64, size: &str, started: &[&str]) -> Child {
    Preload::fixture("numbered")
        .args(&[&THREADS.to_string(), &calls_each.to_string()])
        .args(started)
        .setting("TRACE_SIZE", size)
        .setting("TRACE_KEEP", "last")
        .setting("TRACE", traces)
        .command()
        .stdout(Stdio::null())
        .spawn()
        .expect("the fixture runs")
}

/// Records this many calls in a ring and checks it.
fn fill_ring(calls: u64) {
    let directory = tempfile::tempdir().expect("a directory for the trace");
    let each = calls / THREADS;
    let begun = Instant::now();
    let mut child = start(directory.path(), each, "1M", &[]);
    assert!(child.wait().expect("it ends").success());
    let took = begun.elapsed();

    let ring = Ring::read(&trace_files(directory.path())[0]);
    let kept = ring.calls();
    println!(
        "{:.2} GB of records in {took:.1?}: {kept} calls kept, {} overwritten",
        (each * THREADS * SLOT_SIZE as u64) as f64 / 1e9,
        ring.header.lost_overwritten
    );
    assert_eq!(ring.header.lost(), ring.header.lost_overwritten);
    assert_eq!(kept + ring.header.lost_overwritten, each * THREADS);

    let oldest = u64::from(ring.header.chunks) - ring.header.positions();
    let (mut last, left_over): (Vec<_>, Vec<_>) =
        ring.chunks.iter().partition(|chunk| u64::from(chunk.number) >= oldest);
    assert!(left_over.len() <= MAX_LEFT_OVER, "{} are older", left_over.len());
    last.sort_by_key(|chunk| chunk.number);
    let threads = Ring::by_thread(last.into_iter());
    for (thread, calls) in &threads {
        assert!(
            calls.windows(2).all(|two| two[1] == two[0] + 1),
            "thread {thread}: a call is missing"
        );
    }
    let ends = threads.values().any(|calls| calls.last() == Some(&(each - 1)));
    assert!(ends, "the last call is there");
}

#[test]
fn keeps_the_last_calls_and_counts_the_others() {
    fill_ring(4_000_000);
}

#[test]
#[ignore = "tens of seconds; cargo xtask test --programs runs it"]
fn keeps_the_last_calls_of_ten_gigabytes() {
    fill_ring(160_000_000);
}

/// Sets the count of chunks in the mapped file, instead of writing 17 TB of records.
#[test]
fn starts_chunk_numbers_again_before_they_overflow() {
    const EACH: u64 = 200_000;
    let directory = tempfile::tempdir().expect("a directory for the trace");
    let (traces, started) = (directory.path().join("traces"), directory.path().join("started"));
    fs::create_dir(&traces).expect("a directory");
    // More positions than chunks to come: a count that began at 0 again would leave some out.
    let mut child = start(&traces, EACH, "32M", &[started.to_str().expect("a path in UTF-8")]);
    let deadline = Instant::now() + Duration::from_mins(1);
    while !started.exists() {
        assert!(Instant::now() < deadline, "no call returns");
        thread::sleep(Duration::from_micros(200));
    }
    let path = trace_files(&traces).remove(0);
    let file = OpenOptions::new().write(true).open(&path).expect("it is ours");
    let near_the_end = u32::MAX - 1000;
    file.write_all_at(&near_the_end.to_ne_bytes(), header::CHUNKS as u64)
        .expect("it can be written");
    fs::remove_file(&started).expect("it is there");
    assert!(child.wait().expect("it ends").success());

    let ring = Ring::read(&path);
    assert!(ring.header.chunks < near_the_end, "it began again");
    assert_eq!(ring.calls() + ring.header.lost(), EACH * THREADS);
    let mut chunks: Vec<_> = ring.chunks.iter().collect();
    chunks.sort_by_key(|chunk| chunk.ticks);
    for (thread, calls) in Ring::by_thread(chunks.into_iter()) {
        assert!(calls.is_sorted(), "thread {thread}: calls are out of order");
    }
}
