//! Slots for a thread's next record: in the chunk that it fills, or in one that threads share.
//!
//! ```text
//!  a thread's first 40 records ──> the shared chunk, each after a record of its thread: 128 bytes
//!  its later ones, and those of the thread that opened the trace ──> its own chunk: 64 bytes
//! ```
//!
//! So no number of threads makes a trace need more than 256 bytes for a call.

use core::sync::atomic::{Ordering, compiler_fence};

use mremap_trace::{Record, layout};

use super::chunk::{Chunk, Claim};
use super::space::{self, Reserved};
use super::state::{Loss, NO_TRACE, TRUNCATED, counter_of_header, is_open, word_of_header};
use super::{file, truncation};
use crate::process::fork_state::FORK_STATE;
use crate::process::seccomp;
use crate::process::thread::{self, Thread, UNKNOWN_TID};
use crate::recording::clock::{self, Reading};
use crate::sys::{self, user_memory};

/// Records that a thread stores in shared chunks before it fills chunks of its own.
const MAX_SHARED: u8 = 40;
/// Positions tried before a record is lost: each may still have a writer.
const MAX_TRIES: u32 = 64;
/// Value of the shared chunk while a thread replaces it.
const BUSY: u64 = u64::MAX;
/// Turns before a thread lets others run while it waits for one to replace the chunk: tens of
/// microseconds.
const SPINS: u32 = 1000;
/// Turns before it stops waiting. Each beyond `SPINS` may take a scheduler's slice of 3 ms.
const MAX_TURNS: u32 = SPINS + 30;

/// Claims `slots` slots in a row.
///
/// # Errors
/// Why there are none.
pub(crate) fn claim(slots: u32) -> Result<Claim, Loss> {
    claim_in_own_chunk(slots).map_or_else(|| claim_elsewhere(slots), Ok)
}

/// Claims `slots` slots in a row in the chunk that this thread fills; `None` if it fills none or
/// there is no room.
#[inline]
pub(crate) fn claim_in_own_chunk(slots: u32) -> Option<Claim> {
    let thread = thread::current();
    let epoch = FORK_STATE.trace_epoch.load(Ordering::Relaxed);
    // A fork's child has another epoch (0, before it has a trace), and a new thread has none.
    if thread.epoch.get() != epoch {
        return None;
    }
    let claim = Chunk(thread.chunk.get()?).claim(epoch, thread.number.get(), slots);
    if claim.is_none() {
        // Not tried again: each try adds to the chunk's count.
        thread.chunk.set(None);
    }
    claim
}

/// Whether a store to the header or this thread's chunk raises no `SIGBUS`. Ends the trace if one
/// would. True for a filtered thread, which may not make the system call that checks it.
pub(crate) fn is_intact() -> bool {
    let epoch = FORK_STATE.trace_epoch.load(Ordering::Acquire);
    if !is_open(epoch) || seccomp::is_filtered() {
        return true;
    }
    let thread = thread::current();
    let chunk = if thread.epoch.get() == epoch { thread.chunk.get() } else { None };
    let header = word_of_header(layout::header::CHUNKS).as_ptr().addr();
    let chunk = chunk.map_or(header, |slots| (&raw const *slots).addr());
    let is_intact = [header, chunk].iter().all(|page| user_memory::touch(*page).is_ok());
    if !is_intact {
        truncation::end_trace();
    }
    is_intact
}

#[cold]
fn claim_elsewhere(slots: u32) -> Result<Claim, Loss> {
    let epoch = current_epoch()?;
    let thread = thread::current();
    if thread.epoch.get() != epoch {
        if is_vfork_child() {
            // It has its parent's thread-local storage.
            return claim_shared(epoch, slots, sys::tid());
        }
        set_up_thread(thread, epoch, 0);
    }
    let shared = thread.shared.get();
    if shared < MAX_SHARED {
        thread.shared.set(shared + 1);
        claim_shared(epoch, slots, thread.tid.get())
    } else {
        claim_own(epoch, slots, thread)
    }
}

/// Lets the thread that opened the trace fill chunks of its own from its first record on.
pub(super) fn set_up_opener() {
    if let Ok(epoch) = current_epoch()
        && !is_vfork_child()
    {
        set_up_thread(thread::current(), epoch, MAX_SHARED);
    }
}

/// Sets up a thread's storage for a trace.
fn set_up_thread(thread: &Thread, epoch: u32, shared: u8) {
    thread.chunk.set(None);
    thread.shared.set(shared);
    thread.tid.set(if seccomp::is_filtered() { UNKNOWN_TID } else { sys::tid() });
    // A signal handler sees the storage of one trace or of the other.
    compiler_fence(Ordering::SeqCst);
    thread.epoch.set(epoch);
}

/// Whether this is a `vfork` child, in the memory of the process whose trace it is.
fn is_vfork_child() -> bool {
    !seccomp::is_filtered() && sys::pid() != FORK_STATE.pid.load(Ordering::Relaxed)
}

/// The epoch of the trace, which a fork's child opens now.
fn current_epoch() -> Result<u32, Loss> {
    let mut epoch = FORK_STATE.trace_epoch.load(Ordering::Acquire);
    if epoch == 0 {
        epoch = file::open_in_child();
    }
    match epoch {
        0 | NO_TRACE => Err(Loss::NoTrace),
        TRUNCATED => Err(Loss::Truncated),
        _ => Ok(epoch),
    }
}

/// Claims slots in a new chunk of the calling thread.
fn claim_own(epoch: u32, slots: u32, thread: &Thread) -> Result<Claim, Loss> {
    for _ in 0..MAX_TRIES {
        let (chunk, Reserved { number, .. }) =
            begin_chunk(thread.tid.get(), None, &clock::read_for_chunk())?;
        // A signal handler sees a chunk and its number, or none.
        thread.chunk.set(None);
        compiler_fence(Ordering::SeqCst);
        thread.number.set(number);
        compiler_fence(Ordering::SeqCst);
        thread.chunk.set(Some(chunk.0));
        if let Some(claim) = chunk.claim(epoch, number, slots) {
            return Ok(claim);
        }
    }
    Err(Loss::Full)
}

/// Claims slots in the chunk that threads share, after a record that names the thread `tid`. One
/// thread replaces a full chunk while the others wait. It allocates the page first: a slow file
/// system would keep the others waiting until each takes a chunk of its own.
fn claim_shared(epoch: u32, slots: u32, tid: u32) -> Result<Claim, Loss> {
    let mut turns = 0;
    let claim = loop {
        let shared = FORK_STATE.shared_chunk.load(Ordering::Acquire);
        if shared == BUSY {
            turns += 1;
            wait_a_turn(turns);
            if turns > MAX_TURNS {
                // The thread that replaces it may never return: its signal handler can jump.
                replace_shared(BUSY, 0);
                turns = 0;
            }
        } else if let Some(claim) = claim_in(shared, epoch, slots + 1) {
            break claim;
        } else {
            let (allocated, reading) = (space::allocate_next(), clock::read_for_chunk());
            if !replace_shared(shared, BUSY) {
                continue;
            }
            let begun = begin_shared(tid, allocated, &reading);
            // Claimed before other threads can fill or replace the new chunk.
            let claim = begun.map(|begun| claim_in(begun, epoch, slots + 1));
            replace_shared(BUSY, begun.unwrap_or(0));
            if let Some(claim) = claim? {
                break claim;
            }
        }
    };
    claim.store(0, &Record::Thread(tid));
    Ok(claim.without_first())
}

/// Waits for the thread that replaces the shared chunk, which may have been preempted.
fn wait_a_turn(turn: u32) {
    if turn <= SPINS || seccomp::is_filtered() {
        core::hint::spin_loop();
    } else {
        sys::sched_yield();
    }
}

/// Begins a chunk for several threads. Returns its position, from 1, in the high half, and its
/// number in the low one.
fn begin_shared(tid: u32, allocated: Option<u32>, reading: &Reading) -> Result<u64, Loss> {
    let (_, Reserved { position, number, .. }) = begin_chunk(tid, allocated, reading)?;
    let version = word_of_header(layout::header::VERSION);
    version.store(layout::VERSION_SHARED, Ordering::Relaxed);
    Ok(u64::from(position + 1) << 32 | u64::from(number))
}

fn replace_shared(former: u64, new: u64) -> bool {
    let shared = &FORK_STATE.shared_chunk;
    // Release: whoever finds the chunk finds it begun.
    shared.compare_exchange(former, new, Ordering::Release, Ordering::Relaxed).is_ok()
}

/// Claims slots in what [`begin_shared`] returned; 0 is no chunk.
fn claim_in(shared: u64, epoch: u32, slots: u32) -> Option<Claim> {
    let position = ((shared >> 32) as u32).checked_sub(1)?;
    // SAFETY: the chunk was begun in this trace.
    unsafe { Chunk::at(position) }.claim(epoch, shared as u32, slots)
}

/// Begins a chunk at the next position that has no writer. The position `allocated` has its page.
fn begin_chunk(
    tid: u32,
    allocated: Option<u32>,
    reading: &Reading,
) -> Result<(Chunk, Reserved), Loss> {
    for _ in 0..MAX_TRIES {
        let reserved = space::reserve(allocated)?;
        // SAFETY: `reserve` returns positions that are mapped and have their page.
        let chunk = unsafe { Chunk::at(reserved.position) };
        let count_overwritten = |calls| {
            let overwritten = counter_of_header(layout::header::LOST_OVERWRITTEN);
            overwritten.fetch_add(calls, Ordering::Relaxed);
        };
        if chunk.take_over(reserved.number, tid, reading, count_overwritten) {
            return Ok((chunk, reserved));
        }
    }
    Err(Loss::Full)
}
