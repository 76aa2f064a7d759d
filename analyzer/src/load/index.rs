//! Where the calls of each moment stand: one entry a chunk, so that a trace can be read in the order of time
//! without being held in memory.

use std::collections::HashMap;

use mremap_trace::ChunkHeader;

use super::calls::Calls;
use super::process::Process;
use super::scan::{Visitor, scan};
use super::survey::Traces;

/// A begun chunk.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its place in the file.
    pub place: u32,
    tid: u32,
    /// Its number; where the last records are kept, places hold numbers of several laps.
    number: u32,
    /// The place of the chunk its thread filled next; its own when there is none.
    pub next: u32,
    calls: u32,
    /// Wall clock of its earliest call, nanoseconds.
    first: u64,
}

/// Chunks by file, and by time.
#[derive(Default)]
pub struct Index {
    files: Vec<Vec<Entry>>,
    /// Moment, file, place.
    pub(super) by_time: Vec<(u64, u32, u32)>,
    /// Calls in all files.
    pub calls: u64,
}

impl Index {
    /// Builds it in one scan.
    pub fn build(traces: &mut Traces) -> Self {
        let mut files: Vec<Vec<Entry>> = traces.processes.iter().map(|_| Vec::new()).collect();
        let found = scan(
            traces,
            |process, _| Surveyor::new(process),
            |file, surveyor| {
                if let Some(entries) = files.get_mut(file) {
                    entries.extend(surveyor.entries);
                }
            },
        );
        traces.take_found(found);
        let mut index = Self { by_time: Vec::new(), calls: 0, files };
        for (file, entries) in index.files.iter_mut().enumerate() {
            let mut later: HashMap<u32, u32> = HashMap::new();
            entries.sort_unstable_by_key(|entry| entry.number);
            for entry in entries.iter_mut().rev() {
                entry.next = later.insert(entry.tid, entry.place).unwrap_or(entry.place);
            }
            entries.sort_unstable_by_key(|entry| entry.place);
            let with_calls = entries.iter().filter(|entry| entry.calls > 0);
            index.by_time.extend(with_calls.map(|entry| (entry.first, file as u32, entry.place)));
            index.calls += entries.iter().map(|entry| u64::from(entry.calls)).sum::<u64>();
        }
        index.by_time.sort_unstable();
        index
    }

    /// The chunk that a chunk's thread filled next.
    pub fn next_of_thread(&self, file: usize, place: u32) -> Option<u32> {
        let entries = self.files.get(file)?;
        let at = entries.binary_search_by_key(&place, |entry| entry.place).ok()?;
        entries.get(at).map(|entry| entry.next).filter(|next| *next != place)
    }
}

struct Surveyor<'a> {
    process: &'a Process,
    entries: Vec<Entry>,
}

impl<'a> Surveyor<'a> {
    fn new(process: &'a Process) -> Self {
        Self { process, entries: Vec::new() }
    }
}

impl Visitor for Surveyor<'_> {
    fn chunk(&mut self, place: u32, header: &ChunkHeader) {
        self.entries.push(Entry {
            place,
            tid: header.tid,
            number: header.number,
            next: place,
            calls: 0,
            first: u64::MAX,
        });
    }

    fn calls(&mut self, calls: &Calls<'_>) {
        if let Some(entry) = self.entries.last_mut() {
            entry.calls = calls.len() as u32;
            let ticks = calls.iter().map(|(_, call)| call.ticks);
            entry.first = ticks.min().unwrap_or(u64::MAX);
        }
    }

    fn end_of_chunk(&mut self) {
        if let Some(entry) = self.entries.last_mut().filter(|entry| entry.calls > 0) {
            entry.first = self.process.wall_clock(entry.first);
        }
    }
}
