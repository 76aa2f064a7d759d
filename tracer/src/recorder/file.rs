//! One trace file, written record by record: what has been written survives the tracer's death.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use mremap_trace::layout::{
    self, CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE, SLOTS_PER_CHUNK, TEXT_PER_SLOT,
};
use mremap_trace::{ChunkHeader, ClaimWord, Header, HeaderText, Keep, Record};

use super::clock;
use crate::ptrace::Pid;

/// Limit on slots of a record with its text.
const MAX_SLOTS: usize = 40;

/// The chunk that a thread fills.
struct OpenChunk {
    position: u32,
    number: u32,
    used: u32,
    bytes: Vec<u8>,
}

impl OpenChunk {
    /// The bytes of a slot, if it is in this chunk.
    fn slot(&mut self, slot: u32) -> Option<&mut [u8]> {
        let index = slot.checked_sub(self.position * SLOTS_PER_CHUNK)? as usize;
        self.bytes.get_mut(index * SLOT_SIZE..(index + 1) * SLOT_SIZE)
    }
}

/// Where a record was written.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// Number in the file, by which other records refer to it.
    pub(super) index: u32,
    /// Number of its chunk, which another one may replace.
    chunk: u32,
}

/// A position that has been filled: the number of its chunk, and counts.
#[derive(Clone, Copy, Default)]
struct Position {
    chunk: u32,
    calls: u64,
    overwritten: u64,
}

/// A trace being written.
pub(super) struct TraceFile {
    file: File,
    keeps_last: bool,
    positions: u32,
    next_number: u32,
    open: HashMap<Pid, OpenChunk>,
    filled: HashMap<u32, Position>,
    /// Positions with records that later ones must not overwrite: modules.
    pinned: HashSet<u32>,
    /// Positions of calls that have begun, by thread: their records are written again.
    begun: HashMap<Pid, u32>,
    overwritten: u64,
    lost: u64,
}

/// The trace is full, or its file system is.
pub(super) struct Lost;

impl TraceFile {
    /// Creates the file with a complete header.
    ///
    /// # Errors
    /// The file cannot be created, or has no room for a chunk.
    pub(super) fn create(
        path: &Path,
        header: &Header,
        text: &HeaderText<'_>,
        keep: Keep,
    ) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.set_len(header.capacity)?;
        let mut bytes = vec![0; HEADER_SIZE];
        header.encode(text, &mut bytes);
        file.write_all_at(&bytes, 0)?;
        Ok(Self {
            file,
            keeps_last: keep == Keep::Last,
            positions: u32::try_from(header.positions()).unwrap_or(u32::MAX / 64),
            next_number: 0,
            open: HashMap::new(),
            filled: HashMap::new(),
            pinned: HashSet::new(),
            begun: HashMap::new(),
            overwritten: 0,
            lost: 0,
        })
    }

    /// Appends a record for a thread.
    ///
    /// # Errors
    /// [`Lost`] when there is no room.
    pub(super) fn append(&mut self, thread: Pid, record: &Record) -> Result<Slot, Lost> {
        self.append_in_row(thread, &[*record])
    }

    /// Appends the call that a thread begins. Its chunk is kept until [`Self::end`].
    ///
    /// # Errors
    /// [`Lost`] when there is no room.
    pub(super) fn begin(&mut self, thread: Pid, record: &Record) -> Result<Slot, Lost> {
        let slot = self.append(thread, record)?;
        self.begun.insert(thread, slot.index / SLOTS_PER_CHUNK);
        Ok(slot)
    }

    /// Appends a record whose text follows it, cut to what one chunk holds.
    ///
    /// # Errors
    /// [`Lost`] when there is no room.
    pub(super) fn append_with_text(
        &mut self,
        thread: Pid,
        text: &[u8],
        record: impl Fn(u32) -> Record,
    ) -> Result<Slot, Lost> {
        let text = text.get(..MAX_SLOTS * TEXT_PER_SLOT).unwrap_or(text);
        let mut records = vec![record(text.len() as u32)];
        for bytes in text.chunks(TEXT_PER_SLOT) {
            let mut filled = [0; TEXT_PER_SLOT];
            filled[..bytes.len()].copy_from_slice(bytes);
            records.push(Record::Text(filled));
        }
        self.append_in_row(thread, &records)
    }

    /// Keeps the chunk that a thread fills from being overwritten, up to half of the positions.
    pub(super) fn pin(&mut self, thread: Pid) {
        if let Some(chunk) = self.open.get(&thread)
            && self.pinned.len() < self.positions as usize / 2
        {
            self.pinned.insert(chunk.position);
        }
    }

    /// Writes a call that has ended over its record, unless that was overwritten and so counted:
    /// more threads can be inside calls than there are chunks.
    pub(super) fn end(&mut self, thread: Pid, slot: Slot, record: &Record) {
        self.begun.remove(&thread);
        let position = slot.index / SLOTS_PER_CHUNK;
        if self.filled.get(&position).is_none_or(|filled| filled.chunk != slot.chunk) {
            return;
        }
        let bytes = bytes_of(record);
        if let Some(place) = self.open.get_mut(&thread).and_then(|chunk| chunk.slot(slot.index)) {
            place.copy_from_slice(&bytes);
        }
        let _ = self.file.write_all_at(&bytes, offset_of_slot(slot.index));
    }

    /// Forgets a thread that writes no more.
    pub(super) fn forget(&mut self, thread: Pid) {
        self.open.remove(&thread);
        self.begun.remove(&thread);
    }

    /// Counts a call that found no room.
    pub(super) fn count_lost(&mut self) {
        self.lost += 1;
        self.store_counter(layout::header::LOST_FULL, self.lost);
    }

    fn append_in_row(&mut self, thread: Pid, records: &[Record]) -> Result<Slot, Lost> {
        let has_room = |chunk: &OpenChunk| SLOTS_PER_CHUNK - chunk.used >= records.len() as u32;
        if !self.open.get(&thread).is_some_and(has_room) {
            let chunk = self.begin_chunk(thread)?;
            self.open.insert(thread, chunk);
        }
        let chunk = self.open.get_mut(&thread).ok_or(Lost)?;
        let first = chunk.position * SLOTS_PER_CHUNK + chunk.used;
        for (slot, record) in (first..).zip(records) {
            chunk.slot(slot).ok_or(Lost)?.copy_from_slice(&bytes_of(record));
        }
        let used = chunk.used + records.len() as u32;
        let claims = ClaimWord::new(chunk.number, used).0.to_ne_bytes();
        let start = layout::chunk::CLAIMS;
        chunk.bytes[start..start + claims.len()].copy_from_slice(&claims);
        // One write from the word that claims the slots to their end. A reader that finds them
        // claimed and still empty takes them for torn, as the format has it.
        let written = &chunk.bytes[start..used as usize * SLOT_SIZE];
        let at = offset_of_chunk(chunk.position) + start as u64;
        self.file.write_all_at(written, at).map_err(|_| Lost)?;
        chunk.used = used;
        let calls = records.iter().filter(|record| matches!(record, Record::Call(_))).count();
        self.filled.entry(chunk.position).or_default().calls += calls as u64;
        Ok(Slot { index: first, chunk: chunk.number })
    }

    /// Begins the next chunk. If the last records are kept, it replaces the oldest one that is
    /// neither pinned nor waiting for the end of a call.
    fn begin_chunk(&mut self, thread: Pid) -> Result<OpenChunk, Lost> {
        if !self.keeps_last && self.next_number >= self.positions {
            return Err(Lost);
        }
        let mut number = self.next_number;
        for _ in 0..self.positions {
            let position = number % self.positions;
            if !self.pinned.contains(&position) && self.begun.values().all(|it| *it != position) {
                break;
            }
            number += 1;
        }
        let position = number % self.positions;
        let former = self.filled.get(&position).copied().unwrap_or_default();
        let total = former.overwritten + former.calls;
        self.filled.insert(position, Position { chunk: number, calls: 0, overwritten: total });
        self.open.retain(|_, chunk| chunk.position != position);
        // One write replaces the chunk, its calls and their count.
        let mut bytes = vec![0; CHUNK_SIZE];
        let now = clock::now();
        ChunkHeader {
            // A negative writer is the process itself: its modules have chunks of their own.
            tid: thread.unsigned_abs(),
            number,
            claimed: 1,
            ticks: now.monotonic_ns,
            monotonic_ns: now.monotonic_ns,
            realtime_ns: now.realtime_ns,
            overwritten: total,
            overwritten_next: total,
        }
        .encode(&mut bytes);
        self.file.write_all_at(&bytes, offset_of_chunk(position)).map_err(|_| Lost)?;
        self.next_number = number + 1;
        let chunks = self.next_number.to_ne_bytes();
        let _ = self.file.write_all_at(&chunks, layout::header::CHUNKS as u64);
        if former.calls > 0 {
            self.overwritten += former.calls;
            self.store_counter(layout::header::LOST_OVERWRITTEN, self.overwritten);
        }
        Ok(OpenChunk { position, number, used: 1, bytes })
    }

    fn store_counter(&self, field: usize, value: u64) {
        let _ = self.file.write_all_at(&value.to_ne_bytes(), field as u64);
    }
}

fn bytes_of(record: &Record) -> [u8; SLOT_SIZE] {
    let mut bytes = [0; SLOT_SIZE];
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(record.encode()) {
        *place = word.to_ne_bytes();
    }
    bytes
}

fn offset_of_chunk(position: u32) -> u64 {
    HEADER_SIZE as u64 + u64::from(position) * CHUNK_SIZE as u64
}

fn offset_of_slot(slot: u32) -> u64 {
    HEADER_SIZE as u64 + u64::from(slot) * SLOT_SIZE as u64
}
