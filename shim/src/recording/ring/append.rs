//! Records on their way into the file: a thread claims slots in the chunk that it fills, or in a new one.

use core::sync::atomic::Ordering;

use mremap_trace::layout;
use mremap_trace::{Level, Message, Module, Record};

use super::chunk::{Chunk, Claim};
use super::state::{BASE, Loss, NONE, PINNED, POSITIONS, TRUNCATED, counter, is_wanted};
use super::{file, space};
use crate::emulate::move_lock::MoveLock;
use crate::process::config::TraceSettings;
use crate::process::fork_state::WIPED;
use crate::process::{seccomp, thread};
use crate::recording::identity;
use crate::sys;

/// Where the last records are kept, this many positions are tried before a record is given up.
const MOST_TRIES: u32 = 64;

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
    let claim = Chunk(thread.chunk.get()?).claim(epoch, thread.number.get(), slots);
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
        epoch = open_in_child();
    }
    match epoch {
        NONE => return Err(Loss::NoTrace),
        TRUNCATED => return Err(Loss::Truncated),
        _ => {}
    }
    let base = BASE.load(Ordering::Acquire);
    let tid = thread::known_tid(epoch)
        .unwrap_or_else(|| if seccomp::is_filtered() { thread::UNKNOWN_TID } else { sys::tid() });
    for _ in 0..MOST_TRIES {
        let (position, number) = space::reserve(base)?;
        // SAFETY: `reserve` gives positions inside the mapping whose space is there.
        let chunk = unsafe { Chunk::at(base, position) };
        let count_overwritten = |calls| {
            counter(base, layout::header::LOST_OVERWRITTEN).fetch_add(calls, Ordering::Relaxed);
        };
        if !chunk.take_over(number, tid, count_overwritten) {
            continue;
        }
        let thread = thread::current();
        thread.chunk.set(Some(chunk.0));
        thread.number.set(number);
        thread.tid.set(tid);
        thread.epoch.set(epoch);
        if let Some(claim) = chunk.claim(epoch, number, slots) {
            return Ok(claim);
        }
    }
    Err(Loss::Full)
}

/// The first record of a fork's child.
fn open_in_child() -> u32 {
    let _lock = MoveLock::acquire();
    let epoch = WIPED.trace_epoch.load(Ordering::Acquire);
    if epoch != 0 {
        return epoch;
    }
    if file::open_in_child() {
        append_loaded_modules();
    }
    WIPED.trace_epoch.load(Ordering::Relaxed)
}

/// Opens the trace of this process. At load.
pub(crate) fn open(settings: &TraceSettings<'_>) -> Result<(), file::OpenError> {
    file::open(settings)?;
    append_loaded_modules();
    Ok(())
}

fn append_loaded_modules() {
    for (module, path) in identity::modules() {
        append_module(module, path);
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
pub(crate) fn append_message(level: Level, ticks: u64, text: &[u8]) {
    if is_wanted() {
        append_with_text(text, |text_len| Record::Message(Message { level, text_len, ticks }));
    }
}
