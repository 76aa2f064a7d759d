//! The trace file, mapped. Each thread fills chunks of its own; the only word threads share is the count of
//! chunks, once for every 63 records.
//!
//! Space is really there before it is written, so that a full disk ends the trace and not the program. A
//! fork's child finds the epoch wiped and opens a file of its own at its first record.

// The mapping starts on a page, and the format puts every word at a multiple of its size.
#![allow(clippy::cast_ptr_alignment)]

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use mremap_trace::layout::{self, CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE, SLOT_WORDS, SLOTS_PER_CHUNK};
use mremap_trace::{ChunkHeader, Header, Message, Record};

use crate::exclusive::{self, Exclusive, WIPED};
use crate::{capability, clock, config, identity, sys, thread};

/// A trace was asked for and nothing has ended it.
static WANTED: AtomicBool = AtomicBool::new(false);
/// Where the file is mapped.
static BASE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// Chunks the file may hold.
static CAPACITY: AtomicU32 = AtomicU32::new(0);
/// Chunks whose space is there.
static ALLOCATED: AtomicU32 = AtomicU32::new(0);
/// Number of the last trace opened by this process or the ones it was forked from.
static LAST_EPOCH: AtomicU32 = AtomicU32::new(0);
/// Bytes for one process.
static SIZE: AtomicU64 = AtomicU64::new(0);
/// Calls before the trace was open.
static EARLY: AtomicU64 = AtomicU64::new(0);

/// The epoch of a process that cannot have a trace.
const NONE: u32 = u32::MAX;
/// Chunks allocated at a time.
const SEGMENT: u32 = 64;

/// Whether calls are to be recorded.
#[inline]
pub(crate) fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// Why there will be no trace.
pub(crate) enum OpenError {
    /// The kernel cannot wipe a page on fork (before 4.14).
    NoWipeOnFork,
    /// The directory's name does not fit.
    NameTooLong,
    /// The file could not be made, or mapped; the errno.
    File(i32),
    /// No room for the first records; the errno.
    Space(i32),
}

/// Opens the trace of this process, `size` bytes at most. At load.
pub(crate) fn open(size: u64) -> Result<(), OpenError> {
    SIZE.store(size, Ordering::Relaxed);
    if !exclusive::advise_wipe_on_fork() {
        return Err(OpenError::NoWipeOnFork);
    }
    create()?;
    WANTED.store(true, Ordering::Release);
    Ok(())
}

/// Slots claimed for one record.
pub(crate) struct Claim {
    first: *mut u8,
    number: u32,
}

impl Claim {
    /// File-wide number of the first slot.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Writes a record to the claim's slot `index`, its tag last.
    pub(crate) fn store(&self, index: usize, record: &Record) {
        let words = record.encode();
        // SAFETY: the claim is `index + 1` slots or more inside the mapped, allocated file, and slots are
        // 64-byte aligned; other processes may read the file, hence the atomics.
        let slot = unsafe {
            &*self
                .first
                .add(index * SLOT_SIZE)
                .cast::<[AtomicU64; SLOT_WORDS]>()
        };
        let (last, body) = (SLOT_WORDS - 1, &words[..SLOT_WORDS - 1]);
        for (place, word) in slot.iter().zip(body) {
            place.store(*word, Ordering::Relaxed);
        }
        // Release: who sees the tag sees the words. Pairs with a reader of the mapped file.
        slot[last].store(words[last], Ordering::Release);
    }
}

/// One record in the next slot.
pub(crate) fn append(record: &Record) {
    if let Some(claim) = claim(1) {
        claim.store(0, record);
    }
}

/// `slots` slots in a row; `None` when there is no room, which is counted.
#[inline]
pub(crate) fn claim(slots: u32) -> Option<Claim> {
    let epoch = WIPED.trace_epoch.load(Ordering::Relaxed);
    let chunk = thread::with_current(|thread| (thread.epoch.get() == epoch).then(|| thread.chunk.get()));
    if epoch != 0
        && let Some(chunk) = chunk
    {
        let base = BASE.load(Ordering::Relaxed);
        if let Some(claim) = claim_in_chunk(base, chunk, slots) {
            return Some(claim);
        }
    }
    claim_in_new_chunk(slots)
}

/// A handler may interrupt its own thread anywhere here: the one atomic add gives each its own slots.
#[inline]
fn claim_in_chunk(base: *mut u8, chunk: u32, slots: u32) -> Option<Claim> {
    // SAFETY: `chunk` was claimed by this thread in this epoch, so it lies in the mapping at `base`.
    let start = unsafe { base.add(HEADER_SIZE + chunk as usize * CHUNK_SIZE) };
    // SAFETY: as above; the field is aligned, and only ever accessed atomically after the chunk was begun.
    let claimed = unsafe { &*start.add(layout::chunk::CLAIMED).cast::<AtomicU32>() };
    let first = claimed.fetch_add(slots, Ordering::Relaxed);
    if first + slots <= SLOTS_PER_CHUNK {
        // SAFETY: within the chunk, by the line above.
        let first_slot = unsafe { start.add(first as usize * SLOT_SIZE) };
        return Some(Claim {
            first: first_slot,
            number: chunk * SLOTS_PER_CHUNK + first,
        });
    }
    for rest in first..SLOTS_PER_CHUNK {
        // SAFETY: within the chunk.
        let slot = unsafe { start.add(rest as usize * SLOT_SIZE) };
        Claim {
            first: slot,
            number: 0,
        }
        .store(0, &Record::Padding);
    }
    None
}

#[cold]
fn claim_in_new_chunk(slots: u32) -> Option<Claim> {
    let mut epoch = WIPED.trace_epoch.load(Ordering::Acquire);
    if epoch == 0 {
        epoch = open_in_child();
    }
    if epoch == NONE {
        return None;
    }
    let base = BASE.load(Ordering::Acquire);
    let chunk = reserve_chunk(base)?;
    let now = clock::now();
    let header = ChunkHeader {
        tid: sys::tid(),
        claimed: 1,
        ticks: now.ticks,
        monotonic_ns: now.monotonic_ns,
        realtime_ns: now.realtime_ns,
    };
    // SAFETY: the chunk is allocated, inside the mapping, and this thread's alone until its thread's own bytes name it.
    let bytes = unsafe {
        core::slice::from_raw_parts_mut(base.add(HEADER_SIZE + chunk as usize * CHUNK_SIZE), SLOT_SIZE)
    };
    header.encode(bytes);
    thread::with_current(|thread| {
        thread.chunk.set(chunk);
        thread.epoch.set(epoch);
    });
    claim_in_chunk(base, chunk, slots)
}

/// The next chunk, its space allocated.
fn reserve_chunk(base: *mut u8) -> Option<u32> {
    // SAFETY: a field of the mapped header, only ever accessed atomically once the trace is open.
    let count = unsafe { &*base.add(layout::header::CHUNKS).cast::<AtomicU32>() };
    let capacity = CAPACITY.load(Ordering::Relaxed);
    if count.load(Ordering::Relaxed) >= capacity {
        lose_one(base);
        return None;
    }
    let chunk = count.fetch_add(1, Ordering::Relaxed);
    if chunk >= capacity || !allocate_up_to(base, chunk) {
        count.fetch_sub(1, Ordering::Relaxed);
        lose_one(base);
        return None;
    }
    Some(chunk)
}

fn lose_one(base: *mut u8) {
    // SAFETY: a field of the mapped header, only ever accessed atomically once the trace is open.
    let lost = unsafe { &*base.add(layout::header::LOST_FULL).cast::<AtomicU64>() };
    lost.fetch_add(1, Ordering::Relaxed);
}

/// Makes sure that `chunk` can be written without a fault: the kernel answers with an error here what
/// would be a SIGBUS there.
fn allocate_up_to(base: *mut u8, chunk: u32) -> bool {
    let allocated = ALLOCATED.load(Ordering::Relaxed);
    if chunk < allocated {
        return true;
    }
    let segment = chunk / SEGMENT * SEGMENT;
    let count = SEGMENT.min(CAPACITY.load(Ordering::Relaxed) - segment);
    let start = base.addr() + HEADER_SIZE + segment as usize * CHUNK_SIZE;
    let populated = sys::madvise(start, count as usize * CHUNK_SIZE, libc::MADV_POPULATE_WRITE).is_ok();
    if populated {
        ALLOCATED.fetch_max(segment + count, Ordering::Relaxed);
    }
    populated
}

/// The first record of a fork's child.
fn open_in_child() -> u32 {
    let _exclusive = Exclusive::enter();
    let epoch = WIPED.trace_epoch.load(Ordering::Acquire);
    if epoch != 0 {
        return epoch;
    }
    EARLY.store(0, Ordering::Relaxed);
    if create().is_err() {
        WIPED.trace_epoch.store(NONE, Ordering::Release);
    }
    WIPED.trace_epoch.load(Ordering::Relaxed)
}

/// Makes, maps and heads a file, and begins an epoch.
fn create() -> Result<(), OpenError> {
    let now = clock::now();
    // SAFETY: at load, or called by `open_in_child`, which holds `Exclusive`.
    let path = unsafe { identity::trace_path(sys::pid(), now.monotonic_ns) }.ok_or(OpenError::NameTooLong)?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let fd = sys::open(path, flags, 0o600).map_err(|failed| OpenError::File(failed.0))?;
    let mapped = map(fd);
    sys::close(fd);
    let (base, len) = mapped.inspect_err(|_| sys::unlink(path))?;
    write_header(base, len, &now);
    BASE.store(base, Ordering::Release);
    let epoch = LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    // Release pairs with the Acquire in `claim_in_new_chunk`.
    WIPED.trace_epoch.store(epoch, Ordering::Release);
    identity::record_modules();
    Ok(())
}

/// Maps a new file at its full size, sparse, its first segment allocated.
fn map(fd: i32) -> Result<(*mut u8, usize), OpenError> {
    let limit = SIZE
        .load(Ordering::Relaxed)
        .min(sys::file_size_limit())
        .min(u64::from(u32::MAX / 64) * 4096);
    let chunks = limit.saturating_sub(HEADER_SIZE as u64) / CHUNK_SIZE as u64;
    if chunks == 0 {
        return Err(OpenError::Space(libc::EFBIG));
    }
    let len = HEADER_SIZE + chunks as usize * CHUNK_SIZE;
    sys::ftruncate(fd, len as u64).map_err(|failed| OpenError::File(failed.0))?;
    let base = sys::map_file(fd, len).map_err(|failed| OpenError::File(failed.0))?;
    let first = SEGMENT.min(chunks as u32);
    let first_len = HEADER_SIZE + first as usize * CHUNK_SIZE;
    let allocated = match sys::madvise(base, first_len, libc::MADV_POPULATE_WRITE) {
        Ok(_) => Ok(first),
        // Before 5.14: all of it now, through the descriptor.
        Err(sys::Failed(libc::EINVAL)) => sys::fallocate(fd, len as u64).map(|_| chunks as u32),
        Err(failed) => Err(failed),
    };
    // A child has no business in its parent's file.
    let _ = sys::madvise(base, len, libc::MADV_DONTFORK);
    match allocated {
        Ok(allocated) => {
            ALLOCATED.store(allocated, Ordering::Relaxed);
            CAPACITY.store(chunks as u32, Ordering::Relaxed);
            Ok((base as *mut u8, len))
        }
        Err(failed) => {
            sys::munmap(base, len);
            Err(OpenError::Space(failed.0))
        }
    }
}

fn write_header(base: *mut u8, len: usize, now: &clock::Moment) {
    // SAFETY: the file is mapped, allocated this far, and known to nobody else yet.
    let bytes = unsafe { core::slice::from_raw_parts_mut(base, HEADER_SIZE) };
    let header = Header {
        page_size: crate::discover::page_size() as u32,
        capacity: len as u64,
        pid: sys::pid(),
        parent_pid: sys::parent_pid(),
        ticks: now.ticks,
        monotonic_ns: now.monotonic_ns,
        realtime_ns: now.realtime_ns,
        clock: clock::kind(),
        detail: u32::from(config::records_vmas()),
        mode: config::mode() as u32,
        vma_source: config::vma_source() as u32,
        boot_id: identity::boot_id(),
        chunks: 0,
        capability: capability::found(),
        lost_full: 0,
        lost_early: EARLY.load(Ordering::Relaxed),
    };
    identity::with_text(|text| header.encode(text, bytes));
}

/// Puts what the trial found into the header of an open trace.
pub(crate) fn note_capability(capability: u32) {
    let epoch = WIPED.trace_epoch.load(Ordering::Acquire);
    if epoch != 0 && epoch != NONE {
        // SAFETY: a field of the mapped header, only ever accessed atomically once the trace is open.
        let field = unsafe {
            &*BASE
                .load(Ordering::Acquire)
                .add(layout::header::CAPABILITY)
                .cast::<AtomicU32>()
        };
        field.store(capability, Ordering::Relaxed);
    }
}

/// A record whose text follows it; cut to what one chunk holds.
pub(crate) fn append_with_text(text: &[u8], record: impl Fn(u32) -> Record) {
    const MOST_SLOTS: usize = 40;
    let text = text.get(..MOST_SLOTS * layout::TEXT_PER_SLOT).unwrap_or(text);
    let slots = 1 + text.len().div_ceil(layout::TEXT_PER_SLOT);
    let Some(claim) = claim(slots as u32) else { return };
    for (index, piece) in text.chunks(layout::TEXT_PER_SLOT).enumerate() {
        let mut filled = [0; layout::TEXT_PER_SLOT];
        for (place, byte) in filled.iter_mut().zip(piece) {
            *place = *byte;
        }
        claim.store(1 + index, &Record::Text(filled));
    }
    claim.store(0, &record(text.len() as u32));
}

/// A diagnostic of the shim's own, if there is a trace to put it in.
pub(crate) fn append_message(level: u32, ticks: u64, text: &[u8]) {
    if is_wanted() {
        append_with_text(text, |text_len| {
            Record::Message(Message {
                level,
                text_len,
                ticks,
            })
        });
    }
}

/// A call came before the trace could be open.
pub(crate) fn count_early() {
    EARLY.fetch_add(1, Ordering::Relaxed);
}
