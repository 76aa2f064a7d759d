//! The trace file, mapped. Each thread fills chunks of its own; the only word threads share is the count of
//! chunks, once for every 63 records.
//!
//! Space is really there before it is written, so that a full disk ends the trace and not the program. A
//! fork's child finds the epoch wiped and opens a file of its own at its first record.

// The mapping starts on a page, and the format puts every word at a multiple of its size.
#![allow(clippy::cast_ptr_alignment)]

mod chunk;
mod file;
mod space;
mod truncation;

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use mremap_trace::layout::{self, CHUNK_SIZE, HEADER_SIZE};
use mremap_trace::{ClaimWord, Message, Module, Record};

use crate::exclusive::WIPED;
use crate::thread;
pub(crate) use chunk::{Chunk, Claim};
pub(crate) use file::{OpenError, open};
pub(crate) use space::allocate_ahead;
pub(crate) use truncation::signals_to_block;

/// A trace was asked for and nothing has ended it.
static WANTED: AtomicBool = AtomicBool::new(false);
/// What a claim adds to its chunk's count of writers: nothing where the first records are kept, since nobody
/// waits for them to be done.
static WRITER: AtomicU64 = AtomicU64::new(0);
/// Where the file is mapped.
static BASE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// Chunks that have a place in the file.
static POSITIONS: AtomicU32 = AtomicU32::new(0);
/// Positions whose space is there.
static ALLOCATED: AtomicU32 = AtomicU32::new(0);
/// The file system refused space that the trace's size would have allowed.
static OUT_OF_SPACE: AtomicBool = AtomicBool::new(false);
/// Records that later ones must not overwrite.
static PINNED: AtomicU32 = AtomicU32::new(0);
/// Calls before the trace was open.
static EARLY: AtomicU64 = AtomicU64::new(0);

/// The epoch of a process that cannot have a trace.
const NONE: u32 = u32::MAX;
/// The epoch of a process whose trace somebody has truncated.
const TRUNCATED: u32 = u32::MAX - 1;
/// Where the last records are kept, this many positions are tried before a record is given up.
const MOST_TRIES: u32 = 64;

/// Why a record could not be kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// This process has no trace.
    NoTrace,
    /// The trace has reached its size.
    Full,
    /// The file system has no space.
    NoSpace,
    /// Somebody has truncated the file.
    Truncated,
}

/// Whether calls are to be recorded.
#[inline]
pub(crate) fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

fn is_open(epoch: u32) -> bool {
    epoch != 0 && epoch != NONE && epoch != TRUNCATED
}

/// Where the trace is mapped; empty where there is none.
pub(crate) fn mapping() -> mremap_plan::Range {
    let start = BASE.load(Ordering::Relaxed).addr() as u64;
    let len = HEADER_SIZE + POSITIONS.load(Ordering::Relaxed) as usize * CHUNK_SIZE;
    mremap_plan::Range {
        start,
        end: if start == 0 { 0 } else { start + len as u64 },
    }
}

/// Whether the last records are kept, not the first.
fn keeps_last() -> bool {
    WRITER.load(Ordering::Relaxed) != 0
}

fn keep_last(keeps_last: bool) {
    let writer = if keeps_last { ClaimWord::ONE_WRITER } else { 0 };
    WRITER.store(writer, Ordering::Relaxed);
}

/// One record in the next slot.
pub(crate) fn append(record: &Record) {
    if let Ok(claim) = claim(1) {
        claim.store(0, record);
    }
}

/// `slots` slots in a row.
pub(crate) fn claim(slots: u32) -> Result<Claim, Loss> {
    match claim_in_own_chunk(slots) {
        Some(claim) => Ok(claim),
        None => claim_in_new_chunk(slots),
    }
}

/// `slots` slots in a row in the chunk that this thread fills, if it fills one that has room.
#[inline]
pub(crate) fn claim_in_own_chunk(slots: u32) -> Option<Claim> {
    let thread = thread::current();
    let epoch = WIPED.trace_epoch.load(Ordering::Relaxed);
    // A fork's child finds another epoch (0, before it has a trace), and a thread that has recorded nothing
    // finds no chunk.
    if thread.epoch.get() != epoch {
        return None;
    }
    let claim = thread.chunk.get()?.claim(epoch, thread.number.get(), slots);
    if claim.is_none() {
        // Tried once: each try adds to the chunk's count.
        thread.chunk.set(None);
    }
    claim
}

#[cold]
fn claim_in_new_chunk(slots: u32) -> Result<Claim, Loss> {
    let mut epoch = WIPED.trace_epoch.load(Ordering::Acquire);
    if epoch == 0 {
        epoch = file::open_in_child();
    }
    match epoch {
        NONE => return Err(Loss::NoTrace),
        TRUNCATED => return Err(Loss::Truncated),
        _ => {}
    }
    let base = BASE.load(Ordering::Acquire);
    let tid = thread::tid_in(epoch);
    for _ in 0..MOST_TRIES {
        let (position, number) = reserve(base)?;
        // SAFETY: `reserve` gives positions inside the mapping whose space is there.
        let chunk = unsafe { Chunk::at(base, position) };
        let count_overwritten = |calls| {
            counter(base, layout::header::LOST_OVERWRITTEN).fetch_add(calls, Ordering::Relaxed);
        };
        if !chunk.take_over(number, tid, count_overwritten) {
            continue;
        }
        let thread = thread::current();
        thread.chunk.set(Some(chunk));
        thread.number.set(number);
        thread.tid.set(tid);
        thread.epoch.set(epoch);
        if let Some(claim) = chunk.claim(epoch, number, slots) {
            return Ok(claim);
        }
    }
    Err(Loss::Full)
}

/// Position and number of the next chunk, its space allocated.
fn reserve(base: *mut u8) -> Result<(u32, u32), Loss> {
    // SAFETY: a field of the mapped header, only ever accessed atomically once the trace is open.
    let count = unsafe { &*base.add(layout::header::CHUNKS).cast::<AtomicU32>() };
    let positions = POSITIONS.load(Ordering::Relaxed);
    if !keeps_last() && count.load(Ordering::Relaxed) >= positions {
        return Err(Loss::Full);
    }
    let number = count.fetch_add(1, Ordering::Relaxed);
    let position = if keeps_last() {
        number.checked_rem(positions).ok_or(Loss::Full)?
    } else {
        number
    };
    if position >= positions {
        return Err(Loss::Full);
    }
    if space::reaches(base, position) {
        return Ok((position, number));
    }
    if WIPED.trace_epoch.load(Ordering::Relaxed) == TRUNCATED {
        return Err(Loss::Truncated);
    }
    if !keeps_last() {
        return Err(Loss::NoSpace);
    }
    // Go round in the space there is.
    let position = number
        .checked_rem(ALLOCATED.load(Ordering::Relaxed))
        .ok_or(Loss::NoSpace)?;
    Ok((position, number))
}

/// Counts a call that is not in the trace.
#[cold]
pub(crate) fn count_lost(loss: Loss) {
    let field = match loss {
        Loss::NoTrace => return,
        Loss::Full if !OUT_OF_SPACE.load(Ordering::Relaxed) => layout::header::LOST_FULL,
        Loss::Full | Loss::NoSpace => layout::header::LOST_NO_SPACE,
        Loss::Truncated => layout::header::LOST_TRUNCATED,
    };
    counter(BASE.load(Ordering::Acquire), field).fetch_add(1, Ordering::Relaxed);
}

fn counter(base: *mut u8, field: usize) -> &'static AtomicU64 {
    // SAFETY: a counter of the mapped header, only ever accessed atomically once the trace is open; the
    // mapping stays for the life of the process.
    unsafe { &*base.add(field).cast::<AtomicU64>() }
}

/// Puts what the trial found into the header of an open trace.
pub(crate) fn note_capability(capability: u32) {
    let epoch = WIPED.trace_epoch.load(Ordering::Acquire);
    if is_open(epoch) {
        let base = BASE.load(Ordering::Acquire);
        // SAFETY: a field of the mapped header, only ever accessed atomically once the trace is open.
        let field = unsafe { &*base.add(layout::header::CAPABILITY).cast::<AtomicU32>() };
        field.store(capability, Ordering::Relaxed);
    }
}

/// A module and its path. Later records do not overwrite it: without it their callers would be bare numbers.
pub(crate) fn append_module(module: Module, path: &[u8]) {
    let claim = append_with_text(path, |path_len| Record::Module(Module { path_len, ..module }));
    if let Some(claim) = claim
        && PINNED.fetch_add(1, Ordering::Relaxed) < POSITIONS.load(Ordering::Relaxed) / 2
    {
        claim.pin();
    }
}

/// A record whose text follows it; cut to what one chunk holds.
fn append_with_text(text: &[u8], record: impl Fn(u32) -> Record) -> Option<Claim> {
    const MOST_SLOTS: usize = 40;
    let text = text.get(..MOST_SLOTS * layout::TEXT_PER_SLOT).unwrap_or(text);
    let slots = 1 + text.len().div_ceil(layout::TEXT_PER_SLOT);
    let claim = claim(slots as u32).ok()?;
    for (index, piece) in text.chunks(layout::TEXT_PER_SLOT).enumerate() {
        let mut filled = [0; layout::TEXT_PER_SLOT];
        for (place, byte) in filled.iter_mut().zip(piece) {
            *place = *byte;
        }
        claim.store(1 + index, &Record::Text(filled));
    }
    claim.store(0, &record(text.len() as u32));
    Some(claim)
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
