//! Checks of the trace format's decoder and of the analyzer's reader.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mremap_analyzer::load::{Calls, Index, Run, Tail, Traces, Visitor, in_order, open, scan};
use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE, SLOT_WORDS};
use mremap_trace::{ChunkHeader, Header, Record, Slot};
use rustix::fs::{MemfdFlags, memfd_create};

/// Longer files cover nothing more.
const LONGEST: usize = HEADER_SIZE + 16 * CHUNK_SIZE;

/// Checks that decoding succeeds or fails without a panic, and that decoded values survive
/// encoding.
pub fn decode(bytes: &[u8]) {
    if let Ok((header, text)) = Header::decode(bytes) {
        let mut again = vec![0; HEADER_SIZE];
        header.encode(&text, &mut again);
        assert_eq!(Header::decode(&again), Ok((header, text)), "the header after encoding");
    }
    if let Some(chunk) = ChunkHeader::decode(bytes) {
        assert!(chunk.slots(bytes).count() < CHUNK_SIZE / SLOT_SIZE);
    }
    for slot in bytes.as_chunks::<SLOT_SIZE>().0 {
        let mut words = [0; SLOT_WORDS];
        for (word, bytes) in words.iter_mut().zip(slot.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        if let Slot::Complete(record) = Record::decode(words) {
            let again = Record::decode(record.encode());
            assert_eq!(again, Slot::Complete(record), "the record after encoding");
        }
    }
}

/// A file in memory: twenty times as fast as one on a disk.
struct MemoryFile {
    file: File,
    path: PathBuf,
}

impl MemoryFile {
    fn new() -> Self {
        let file = File::from(memfd_create("trace", MemfdFlags::CLOEXEC).expect("memfd_create"));
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Self { file, path }
    }
}

thread_local! {
    /// Reused for every input.
    static FILE: MemoryFile = MemoryFile::new();
}

/// Checks that the analyzer reads a file without a panic, and counts the same calls by a scan, by
/// its index and in the order of time.
pub fn load(bytes: &[u8]) {
    let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
    FILE.with(|MemoryFile { file, path }| {
        file.set_len(0).expect("the file can be emptied");
        file.write_all_at(bytes, 0).expect("the file can be written");
        read(path);
    });
}

fn read(path: &Path) {
    let mut traces = open(&[path.to_owned()]);
    if traces.processes.is_empty() {
        assert!(!traces.damage().is_empty(), "an unreadable trace has a reason");
        return;
    }
    let index = Index::build(&mut traces);
    assert_eq!(count(&traces), index.calls, "calls by a scan, and by the index");
    let mut events = 0;
    let mut last = 0;
    in_order(
        &traces,
        &index,
        |_| true,
        |process, event| {
            events += 1;
            assert_eq!(event.number, events);
            let moment = process.wall_clock(event.call.ticks);
            assert!(moment >= last, "events are in the order of time");
            last = moment;
            Ok(ControlFlow::Continue(()))
        },
    )
    .expect("the callback returns no error");
    assert_eq!(events, index.calls, "events, and calls by the index");
    if let Some(mut tail) = Tail::open(path) {
        let followed = tail.poll(0).len() + tail.poll(0).len();
        assert!(followed as u64 <= LONGEST as u64 / SLOT_SIZE as u64);
    }
}

struct Counter(u64);

impl Visitor for Counter {
    fn run(&mut self, _run: &Run) {}

    fn calls(&mut self, calls: &Calls<'_>) {
        assert_eq!(calls.iter().count(), calls.len());
        self.0 += calls.len() as u64;
    }
}

fn count(traces: &Traces) -> u64 {
    let mut calls = 0;
    scan(traces, |_, _| Counter(0), |_, counter| calls += counter.0);
    calls
}
