//! A trace that is still written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use mremap_trace::layout::{HEADER_SIZE, SLOT_SIZE, SLOTS_PER_CHUNK};
use mremap_trace::{Call, ChunkHeader, Gap, Header, Outcome, Part, Record, Slot, Summary};

use super::calls::words;
use super::liveness::is_running;
use super::process::Process;
use super::survey::{self, open_one};
use crate::model::Event;

/// Limit on chunks being filled. The oldest beyond it are no longer followed.
const MAX_OPEN: usize = 16_384;
/// Limit on calls whose summary is awaited.
const MAX_WAITING: usize = 4096;
/// Polls that a call waits for its summary.
const PATIENCE: u32 = 3;

/// A chunk that is not full yet.
struct Open {
    number: u32,
    next_slot: u32,
    /// The thread of the next slot, if a record has named it.
    tid: Option<u32>,
}

/// Parts and gaps of a call that is not complete.
#[derive(Default)]
struct MoveParts {
    parts: Vec<Part>,
    gaps: Vec<Gap>,
    summary: Option<Summary>,
}

/// Follows one trace.
pub struct Tail {
    /// Its process; header and modules are updated.
    pub process: Process,
    known_chunks: u32,
    open: Vec<Open>,
    move_parts: HashMap<u32, MoveParts>,
    waiting: Vec<(u32, u32, Call, u32)>,
}

impl Tail {
    /// Opens a trace at its start; `None` if it is not readable yet.
    pub fn open(path: &Path) -> Option<Self> {
        Some(Self::of(open_one(path)?))
    }

    /// Follows an opened trace from its start.
    pub fn of(process: Process) -> Self {
        Self {
            process,
            known_chunks: 0,
            open: Vec::new(),
            move_parts: HashMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Returns the path of the file.
    pub fn file(&self) -> &PathBuf {
        &self.process.file
    }

    /// Returns the events recorded since the last poll, with this index of the process.
    pub fn poll(&mut self, process_index: usize) -> Vec<Event> {
        self.read_header();
        let mut events = Vec::new();
        let mut still_open = Vec::new();
        for chunk in std::mem::take(&mut self.open) {
            still_open.extend(self.read_chunk(chunk, process_index, &mut events));
        }
        let excess = still_open.len().saturating_sub(MAX_OPEN);
        still_open.drain(..excess);
        self.open = still_open;
        self.settle(process_index, &mut events);
        events.sort_by_key(|event| event.call.ticks);
        events
    }

    fn read_header(&mut self) {
        let mut bytes = vec![0; HEADER_SIZE];
        let read = self.process.source.read(0, &mut bytes).unwrap_or(0);
        if let Ok((header, _)) = Header::decode(bytes.get(..read).unwrap_or(&[])) {
            self.process.header = header;
        }
        // The trace in a pack is written no more.
        let is_packed = self.process.in_pack.is_some();
        self.process.running =
            if is_packed { Some(false) } else { is_running(&self.process.header) };
        let chunks = self.process.header.chunks;
        if chunks == self.known_chunks {
            return;
        }
        let first = self.known_chunks.max(chunks.saturating_sub(MAX_OPEN as u32));
        self.open.extend((first..chunks).map(|number| Open { number, next_slot: 1, tid: None }));
        self.known_chunks = chunks;
        self.process.chunks =
            chunks.min(u32::try_from(self.process.header.positions()).unwrap_or(u32::MAX));
        survey::set_clock(&mut self.process);
    }

    /// Continues reading a chunk; returns it if more may follow.
    fn read_chunk(
        &mut self,
        mut chunk: Open,
        process_index: usize,
        events: &mut Vec<Event>,
    ) -> Option<Open> {
        let positions = self.process.header.positions().max(1);
        // If the first records are kept, no position is used twice, even if a damaged header says
        // so.
        if !self.process.header.keeps_last() && u64::from(chunk.number) >= positions {
            return None;
        }
        let place = (u64::from(chunk.number) % positions) as u32;
        let bytes = self.process.source.chunk(place);
        let header = ChunkHeader::decode(&bytes)?;
        let alive = self.process.is_alive();
        if header.tid == 0 || header.is_void() {
            return alive.then_some(chunk);
        }
        // Overwritten already, or not yet replaced by this number.
        if header.number != chunk.number && self.process.header.keeps_last() {
            return (alive && header.number < chunk.number).then_some(chunk);
        }
        let slots = bytes.as_chunks::<SLOT_SIZE>().0;
        let claimed = header.valid_slots();
        while chunk.next_slot < claimed {
            let slot = slots.get(chunk.next_slot as usize)?;
            let number = place * SLOTS_PER_CHUNK + chunk.next_slot;
            match Record::decode(words(slot)) {
                Slot::Torn if alive => return Some(chunk),
                Slot::Complete(Record::Call(call)) if call.outcome == Outcome::Begun && alive => {
                    return Some(chunk);
                }
                Slot::Complete(Record::Thread(tid)) => chunk.tid = Some(tid),
                Slot::Complete(record) => {
                    self.take(
                        number,
                        chunk.tid.unwrap_or(header.tid),
                        &record,
                        process_index,
                        events,
                    );
                }
                Slot::Torn | Slot::Unknown(_) => {}
            }
            chunk.next_slot += 1;
        }
        self.process.found.notes.end_of_text();
        (alive && chunk.next_slot < SLOTS_PER_CHUNK).then_some(chunk)
    }

    fn take(
        &mut self,
        number: u32,
        tid: u32,
        record: &Record,
        process_index: usize,
        events: &mut Vec<Event>,
    ) {
        if self.move_parts.len() > MAX_WAITING {
            self.move_parts.clear();
        }
        match record {
            Record::Call(call) if matches!(call.outcome, Outcome::Emulated | Outcome::Begun) => {
                self.waiting.push((number, tid, *call, 0));
            }
            Record::Call(call) => events.push(Event::new(0, process_index, tid, *call)),
            Record::Part(part) => self.move_parts.entry(part.call).or_default().parts.push(*part),
            Record::Gap(gap) => self.move_parts.entry(gap.call).or_default().gaps.push(*gap),
            Record::Summary(summary) => {
                self.move_parts.entry(summary.call).or_default().summary = Some(*summary);
            }
            other => self.process.found.notes.take(other),
        }
    }

    /// Turns the calls whose records are complete into events.
    fn settle(&mut self, process_index: usize, events: &mut Vec<Event>) {
        let alive = self.process.is_alive();
        for (number, tid, call, looks) in std::mem::take(&mut self.waiting) {
            let whole =
                self.move_parts.get(&number).is_some_and(|move_parts| move_parts.summary.is_some());
            if !whole && alive && looks < PATIENCE && self.waiting.len() < MAX_WAITING {
                self.waiting.push((number, tid, call, looks + 1));
                continue;
            }
            let move_parts = self.move_parts.remove(&number).unwrap_or_default();
            let mut event = Event::new(0, process_index, tid, call);
            (event.parts, event.gaps, event.summary) =
                (move_parts.parts, move_parts.gaps, move_parts.summary);
            event.sort_parts_and_gaps();
            events.push(event);
        }
    }
}
