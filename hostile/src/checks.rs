//! The promises.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE, SLOT_WORDS};
use mremap_trace::{ChunkHeader, Header, Record, Slot};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::load::{Calls, Index, Run, Tail, Traces, Visitor, in_order, open, scan};

/// Bytes of a file beyond which nothing new can happen.
const LONGEST: usize = HEADER_SIZE + 16 * CHUNK_SIZE;

/// The format's own reading: no panic, and what was understood survives being written again.
pub fn decode(bytes: &[u8]) {
    if let Ok((header, text)) = Header::decode(bytes) {
        let mut again = vec![0; HEADER_SIZE];
        header.encode(&text, &mut again);
        assert_eq!(Header::decode(&again), Ok((header, text)), "a header read, written and read");
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
            assert_eq!(again, Slot::Complete(record), "a record read, written and read");
        }
    }
}

/// A file in memory, which is twenty times as fast as one on a disk.
struct Memory {
    file: File,
    path: PathBuf,
}

impl Memory {
    fn new() -> Self {
        let file =
            File::from(memfd_create("trace", MemfdFlags::CLOEXEC).expect("a file in memory"));
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Self { file, path }
    }
}

thread_local! {
    /// The file that bytes are put into, and used again.
    static FILE: Memory = Memory::new();
}

/// The analyzer's reading: no panic, no call counted twice or forgotten, whichever way the file is read.
pub fn load(bytes: &[u8]) {
    let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
    FILE.with(|Memory { file, path }| {
        file.set_len(0).expect("cut");
        file.write_all_at(bytes, 0).expect("written");
        read(path);
    });
}

fn read(path: &Path) {
    let mut traces = open(&[path.to_owned()]).expect("the file is there");
    if traces.processes.is_empty() {
        assert!(!traces.damage().is_empty(), "no trace, and no word why");
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
            assert!(moment >= last, "events in the order of time");
            last = moment;
            Ok(ControlFlow::Continue(()))
        },
    )
    .expect("nothing is written");
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
