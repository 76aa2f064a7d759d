//! An index of chunks by time, to read events in order without holding them in memory.

use std::collections::HashMap;

use super::calls::Calls;
use super::process::Process;
use super::scan::{Run, Visitor, scan};
use super::survey::Traces;

/// A thread's records in one chunk.
#[derive(Clone, Copy)]
struct Entry {
    /// Position of the chunk in the file.
    place: u32,
    tid: u32,
    /// Number of the chunk. If the last records are kept, positions hold numbers of several laps.
    number: u32,
    /// Position of the thread's next chunk; its own if there is none.
    next: u32,
    calls: u32,
    /// Wall clock of its earliest call, in ns.
    first: u64,
}

impl Entry {
    /// Merges a later entry of the same thread and chunk; false if it is of another.
    fn merge(&mut self, later: &Self) -> bool {
        let is_same = (self.place, self.tid) == (later.place, later.tid);
        if is_same {
            self.calls += later.calls;
            self.first = self.first.min(later.first);
        }
        is_same
    }
}

/// The chunks of all files.
#[derive(Default)]
pub struct Index {
    /// Sorted by position and thread.
    files: Vec<Vec<Entry>>,
    /// Wall clock of the first call, file, position.
    pub(super) by_time: Vec<(u64, u32, u32)>,
    /// Number of calls in all files.
    pub calls: u64,
}

impl Index {
    /// Builds the index in one scan.
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
            let by_place = |entry: &Entry| (entry.place, entry.tid);
            entries.sort_unstable_by_key(by_place);
            entries.dedup_by(|later, entry| entry.merge(later));
            let mut later: HashMap<u32, u32> = HashMap::new();
            entries.sort_unstable_by_key(|entry| entry.number);
            for entry in entries.iter_mut().rev() {
                entry.next = later.insert(entry.tid, entry.place).unwrap_or(entry.place);
            }
            entries.sort_unstable_by_key(by_place);
            for chunk in entries.chunk_by(|one, other| one.place == other.place) {
                let with_calls = chunk.iter().filter(|entry| entry.calls > 0);
                let first = with_calls.map(|entry| entry.first).min();
                let place = chunk.first().map_or(0, |entry| entry.place);
                index.by_time.extend(first.map(|first| (first, file as u32, place)));
            }
            index.calls += entries.iter().map(|entry| u64::from(entry.calls)).sum::<u64>();
        }
        index.by_time.sort_unstable();
        index
    }

    /// Returns the position of the thread's next chunk after the one at `place`.
    pub fn next_of_thread(&self, file: usize, place: u32, tid: u32) -> Option<u32> {
        let entries = self.files.get(file)?;
        let at = entries.binary_search_by_key(&(place, tid), |entry| (entry.place, entry.tid));
        entries.get(at.ok()?).map(|entry| entry.next).filter(|next| *next != place)
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
    fn run(&mut self, run: &Run) {
        let Run { place, number, tid } = *run;
        self.entries.push(Entry { place, tid, number, next: place, calls: 0, first: u64::MAX });
    }

    fn calls(&mut self, calls: &Calls<'_>) {
        let first = calls.iter().map(|(_, call)| call.ticks).min();
        if let (Some(entry), Some(first)) = (self.entries.last_mut(), first) {
            entry.calls = calls.len() as u32;
            entry.first = self.process.wall_clock(first);
        }
    }
}
