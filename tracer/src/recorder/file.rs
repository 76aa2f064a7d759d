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

/// Slots that the text of one record may take, its own included.
const MOST_SLOTS: usize = 40;

/// The chunk that a thread fills.
#[derive(Clone, Copy)]
struct OpenChunk {
    position: u32,
    number: u32,
    used: u32,
}

/// What is known of a position that has been filled.
#[derive(Clone, Copy, Default)]
struct Position {
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
    overwritten: u64,
    lost: u64,
}

/// The trace is full, or its file system is.
pub(super) struct Lost;

impl TraceFile {
    /// Makes the file, its header complete.
    ///
    /// # Errors
    /// The file cannot be made, or has no room for a chunk.
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
            overwritten: 0,
            lost: 0,
        })
    }

    /// Appends a record for a thread. Returns the file-wide number of its slot.
    ///
    /// # Errors
    /// [`Lost`] when there is no room.
    pub(super) fn append(&mut self, thread: Pid, record: &Record) -> Result<u32, Lost> {
        self.append_in_row(thread, &[*record])
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
    ) -> Result<u32, Lost> {
        let text = text.get(..MOST_SLOTS * TEXT_PER_SLOT).unwrap_or(text);
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

    /// Writes a record again over the one at `slot`.
    pub(super) fn rewrite(&mut self, slot: u32, record: &Record) {
        let _ = self.file.write_all_at(&bytes_of(record), offset_of_slot(slot));
    }

    /// Counts a call that found no room.
    pub(super) fn count_lost(&mut self) {
        self.lost += 1;
        self.store_counter(layout::header::LOST_FULL, self.lost);
    }

    fn append_in_row(&mut self, thread: Pid, records: &[Record]) -> Result<u32, Lost> {
        let room = |chunk: &OpenChunk| SLOTS_PER_CHUNK - chunk.used >= records.len() as u32;
        let chunk = match self.open.get(&thread).copied().filter(room) {
            Some(chunk) => chunk,
            None => self.begin_chunk(thread)?,
        };
        let first = chunk.position * SLOTS_PER_CHUNK + chunk.used;
        let bytes: Vec<u8> = records.iter().flat_map(bytes_of).collect();
        // Slots before the word that claims them: a reader sees whole records only.
        self.file.write_all_at(&bytes, offset_of_slot(first)).map_err(|_| Lost)?;
        let chunk = OpenChunk { used: chunk.used + records.len() as u32, ..chunk };
        let claims = ClaimWord::new(chunk.number, chunk.used);
        let at = offset_of_chunk(chunk.position) + layout::chunk::CLAIMS as u64;
        self.file.write_all_at(&claims.0.to_ne_bytes(), at).map_err(|_| Lost)?;
        let calls = records.iter().filter(|record| matches!(record, Record::Call(_))).count();
        self.filled.entry(chunk.position).or_default().calls += calls as u64;
        self.open.insert(thread, chunk);
        Ok(first)
    }

    /// The next chunk: where the last records are kept, over the oldest one that is not pinned.
    fn begin_chunk(&mut self, thread: Pid) -> Result<OpenChunk, Lost> {
        if !self.keeps_last && self.next_number >= self.positions {
            return Err(Lost);
        }
        let mut number = self.next_number;
        for _ in 0..self.positions {
            if !self.pinned.contains(&(number % self.positions)) {
                break;
            }
            number += 1;
        }
        let position = number % self.positions;
        let former = self.filled.get(&position).copied().unwrap_or_default();
        let in_all = former.overwritten + former.calls;
        self.filled.insert(position, Position { calls: 0, overwritten: in_all });
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
            overwritten: in_all,
            overwritten_next: in_all,
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
        Ok(OpenChunk { position, number, used: 1 })
    }

    fn store_counter(&self, field: usize, value: u64) {
        let _ = self.file.write_all_at(&value.to_ne_bytes(), field as u64);
    }
}

fn bytes_of(record: &Record) -> Vec<u8> {
    record.encode().iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn offset_of_chunk(position: u32) -> u64 {
    HEADER_SIZE as u64 + u64::from(position) * CHUNK_SIZE as u64
}

fn offset_of_slot(slot: u32) -> u64 {
    HEADER_SIZE as u64 + u64::from(slot) * SLOT_SIZE as u64
}
