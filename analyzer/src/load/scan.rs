//! A scan reads all records once, in parallel.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use mremap_trace::layout::{CHUNK_SIZE, SLOT_SIZE, SLOTS_PER_CHUNK};
use mremap_trace::{ChunkHeader, Record, Slot};

use super::calls::{Bits, Calls, Slots, words};
use super::process::{Found, Process};
use super::source::chunk_offset;
use super::survey::Traces;
use crate::terminal::Progress;

/// Chunks read at a time: 256 KiB, which fits into a core's cache together with the sums.
const WINDOW: u32 = 64;
/// Bytes of a window.
const WINDOW_SIZE: usize = WINDOW as usize * CHUNK_SIZE;
/// Alignment of a window in memory.
const PAGE: usize = 4096;
/// Chunks of one unit of work: 32 MiB.
const BATCH_CHUNKS: u32 = 8192;

/// Consecutive slots of one chunk, filled by one thread: mostly the whole chunk.
#[derive(Clone, Copy)]
pub struct Run {
    /// Position of the chunk in the file. A slot's file-wide number is `place * 64 + index`.
    pub place: u32,
    /// Number of the chunk.
    pub number: u32,
    /// The thread.
    pub tid: u32,
}

/// Receives the records of a scan.
pub trait Visitor: Send {
    /// Begins a run: the records that follow are its records.
    fn run(&mut self, run: &Run);
    /// Takes all calls of the run.
    fn calls(&mut self, calls: &Calls<'_>);
    /// Takes a summary, part or gap of the run, in the order of slots; `calls` are the
    /// chunk's.
    fn record(&mut self, _record: &Record, _calls: &Calls<'_>) {}
}

/// The window in `memory`, which is a page larger. The kernel copies up to four times as fast to
/// the start of a page as to where allocators put large blocks, 16 bytes behind one.
fn on_a_page(memory: &mut [u8]) -> &mut [u8] {
    let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
    memory.get_mut(start..start + WINDOW_SIZE).unwrap_or(&mut [])
}

struct Batch {
    process: usize,
    chunks: Range<u32>,
}

fn batches(processes: &[Process]) -> Vec<Batch> {
    let mut batches = Vec::new();
    for (index, process) in processes.iter().enumerate() {
        // A forged file may claim 16 TB of chunks that are one hole.
        let mut start = 0;
        while start < process.chunks {
            let offset = chunk_offset(start);
            let data = process.source.next_data(offset).unwrap_or(u64::MAX);
            let skipped = data.saturating_sub(offset) / CHUNK_SIZE as u64 / u64::from(BATCH_CHUNKS);
            let whole = skipped.saturating_mul(u64::from(BATCH_CHUNKS));
            let end = start
                .saturating_add(u32::try_from(whole).unwrap_or(u32::MAX))
                .saturating_add(BATCH_CHUNKS)
                .min(process.chunks);
            batches.push(Batch { process: index, chunks: start..end });
            start = end;
        }
    }
    batches
}

/// Scans each unit of work with its own visitor, and calls `take` with the visitors in the order of
/// files and positions. What else was found is returned, for [`Traces::take_found`].
pub fn scan<'a, V: Visitor + 'a>(
    traces: &'a Traces,
    visitor: impl Fn(&'a Process, usize) -> V + Sync,
    mut take: impl FnMut(usize, V),
) -> Vec<Found> {
    let batches = batches(&traces.processes);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let mut found: Vec<Found> = traces.processes.iter().map(|_| Found::default()).collect();
    let progress = Progress::new(batches.len() as u64, "reading");
    let processes = &traces.processes;
    std::thread::scope(|scope| {
        let (sender, results) = mpsc::sync_channel(threads);
        for _ in 0..threads.min(batches.len()) {
            let (sender, next, batches, visitor) = (sender.clone(), &next, &batches, &visitor);
            scope.spawn(move || {
                let mut memory = vec![0; WINDOW_SIZE + PAGE];
                let window = on_a_page(&mut memory);
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((batch, process)) = batches
                        .get(index)
                        .and_then(|batch| Some((batch, processes.get(batch.process)?)))
                    else {
                        return;
                    };
                    let mut worker = visitor(process, batch.process);
                    let found = scan_batch(process, batch.chunks.clone(), window, &mut worker);
                    if sender.send((index, batch.process, worker, found)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut wanted = 0;
        for (index, process, worker, batch) in results {
            early.insert(index, (process, worker, batch));
            while let Some((process, worker, batch)) = early.remove(&wanted) {
                if let Some(found) = found.get_mut(process) {
                    found.append(batch);
                }
                take(process, worker);
                wanted += 1;
                progress.step();
            }
        }
    });
    found
}

impl Found {
    fn append(&mut self, later: Self) {
        self.notes.append(later.notes);
        self.has_stacks |= later.has_stacks;
        self.unbegun += later.unbegun;
        self.unfinished += later.unfinished;
        self.damage.append(later.damage);
    }
}

fn scan_batch(
    process: &Process,
    chunks: Range<u32>,
    window: &mut [u8],
    visitor: &mut impl Visitor,
) -> Found {
    let mut found = Found::default();
    let mut place = chunks.start;
    while place < chunks.end {
        let offset = chunk_offset(place);
        let hole =
            process.source.next_data(offset).map_or(u64::MAX, |data| data.saturating_sub(offset))
                / CHUNK_SIZE as u64;
        if hole > 0 {
            let skipped = u32::try_from(hole).unwrap_or(u32::MAX).min(chunks.end - place);
            found.unbegun += u64::from(skipped);
            place += skipped;
            continue;
        }
        let count = WINDOW.min(chunks.end - place);
        let bytes = window.get_mut(..count as usize * CHUNK_SIZE).unwrap_or(&mut []);
        let read = match process.source.read(offset, bytes) {
            Ok(read) => read,
            Err(error) => {
                found.damage.add(offset, format!("cannot be read: {error}"));
                0
            }
        };
        // If the file ends in a chunk, the rest of the window is left over from an earlier read.
        let slots = bytes.as_chunks::<SLOT_SIZE>().0;
        let mut whole = (read / SLOT_SIZE) as u32;
        for (slots, place) in slots.as_chunks().0.iter().zip(place..) {
            if whole == 0 {
                break;
            }
            take_chunk(process, (slots, whole), place, visitor, &mut found);
            whole = whole.saturating_sub(SLOTS_PER_CHUNK);
        }
        place += count;
    }
    found
}

/// Takes a chunk of which the file has `whole` slots.
fn take_chunk(
    process: &Process,
    (slots, whole): (&Slots, u32),
    place: u32,
    visitor: &mut impl Visitor,
    found: &mut Found,
) {
    let Some(header) = slots.first().and_then(|slot| ChunkHeader::decode(slot)) else {
        return;
    };
    if header.tid == 0 {
        found.unbegun += 1;
        return;
    }
    if header.is_void() {
        return;
    }
    let claimed = header.valid_slots().min(whole);
    // Slot 0 is the chunk's header.
    let mut left = u64::MAX.checked_shr(u64::BITS - claimed).unwrap_or(0) & !1;
    let calls = Calls::among(slots, left);
    let mut run = Run { place, number: header.number, tid: header.tid };
    for index in Bits(left & !calls.mask()) {
        if let Some(tid) = slots.get(index as usize).and_then(thread_of) {
            let before = left & ((1 << index) - 1);
            if before != 0 {
                take_run(process, &run, &calls, before, visitor, found);
            }
            left &= !before & !(1 << index);
            run.tid = tid;
        }
    }
    take_run(process, &run, &calls, left, visitor, found);
    found.notes.end_of_text();
}

/// Returns the thread id of a slot with a thread record.
fn thread_of(slot: &[u8; SLOT_SIZE]) -> Option<u32> {
    match Record::decode(words(slot)) {
        Slot::Complete(Record::Thread(tid)) => Some(tid),
        _ => None,
    }
}

/// Takes the slots of a run, given by a mask: its calls first, then the others.
fn take_run(
    process: &Process,
    run: &Run,
    calls: &Calls<'_>,
    claimed: u64,
    visitor: &mut impl Visitor,
    found: &mut Found,
) {
    visitor.run(run);
    let own = calls.within(claimed);
    if own.mask() != 0 {
        visitor.calls(&own);
    }
    for index in Bits(claimed & !own.mask()) {
        if let Some(slot) = calls.slot(index) {
            take_slot(process, (run.place, index), (slot, calls), visitor, found);
        }
    }
}

/// Takes a slot that holds no call.
fn take_slot(
    process: &Process,
    (place, index): (u32, u32),
    (slot, calls): (&[u8; SLOT_SIZE], &Calls<'_>),
    visitor: &mut impl Visitor,
    found: &mut Found,
) {
    let offset = chunk_offset(place) + u64::from(index) * SLOT_SIZE as u64;
    match Record::decode(words(slot)) {
        Slot::Complete(Record::Stack(_) | Record::StackWords(_)) => found.has_stacks = true,
        Slot::Complete(record @ (Record::Part(_) | Record::Gap(_) | Record::Summary(_))) => {
            visitor.record(&record, calls);
        }
        Slot::Complete(record) => found.notes.take(&record),
        Slot::Torn if process.is_alive() => found.unfinished += 1,
        Slot::Torn => found.damage.add(
            offset,
            "an unfinished record: its writer was killed, or is still writing",
        ),
        Slot::Unknown(tag) => found.damage.add(
            offset,
            format!("a record of an unknown kind, {tag}; read it with the analyzer that came with its shim"),
        ),
    }
}
