//! Space for chunks: a position, its part of the mapping, its page of the file.
//!
//! ```text
//!   header   position 0      1      2     ...                MAPPED              capacity
//!  |--------|-------|-------|-------|-------|-------|-------|- - - - - - - - - - -|
//!           |<----- pages, allocated as they are reached -->|  grown by 1 MiB
//! ```
//!
//! No descriptor is open: another thread could close it, and its number could be the program's next
//! file. The mapping grows in place by `mremap`. A page is allocated by a system call that stores
//! into it, which returns `EFAULT` where a store would raise `SIGBUS`: on a full disk, in a
//! truncated file.

use core::sync::atomic::{AtomicU32, Ordering};

use mremap_trace::layout::{self, CHUNK_SIZE};

use super::state::{
    BASE, Loss, MAPPED, end_at, file_len, keeps_last, positions, when_full, word_of_header,
};
use super::truncation;
use crate::process::seccomp;
use crate::sys::probe::{OneVma, is_one_vma};
use crate::sys::user_memory;

/// Positions mapped at a time: 1 MiB.
pub(super) const STEP: u32 = (1 << 20) / CHUNK_SIZE as u32;
/// Positions whose pages are written when the file is made: a brief process needs no more.
pub(super) const FIRST: u32 = 2;
/// Positions whose pages are allocated at a time, where the kernel can (5.14).
const BATCH: u32 = 16;
/// Positions allocated for threads that may not allocate: 4 MiB, or 64,000 calls.
const AHEAD: u32 = 1024;
/// Numbers of chunks are below this. The rest is room for every thread to count once more before
/// they start again.
const END_OF_NUMBERS: u32 = u32::MAX - (1 << 22);

/// Positions below it have been reserved, and have their pages or will have them at once. The count
/// in the header says as much, but others can write to the file.
static REACHED: AtomicU32 = AtomicU32::new(0);
/// The last batch that is known to be populated; 0 for none. Those before it may not be yet.
static POPULATED: AtomicU32 = AtomicU32::new(0);
/// Positions that a thread under a filter may use.
static ALLOCATED: AtomicU32 = AtomicU32::new(0);

/// A position for a chunk, ready to be stored to.
pub(super) struct Reserved {
    pub(super) position: u32,
    /// Number of the new chunk.
    pub(super) number: u32,
}

/// Forgets the former trace of this process.
pub(super) fn reset() {
    for count in [&REACHED, &POPULATED, &ALLOCATED] {
        count.store(0, Ordering::Relaxed);
    }
}

/// Reserves the next position. `allocated` has its page already.
///
/// # Errors
/// Why there is none.
pub(super) fn reserve(allocated: Option<u32>) -> Result<Reserved, Loss> {
    let is_filtered = seccomp::is_filtered();
    let usable = if is_filtered { ALLOCATED.load(Ordering::Acquire) } else { u32::MAX };
    let usable = usable.min(positions());
    let full = || if usable < positions() { Loss::Filtered } else { when_full() };
    let count = word_of_header(layout::header::CHUNKS);
    if !keeps_last() && count.load(Ordering::Relaxed) >= usable {
        return Err(full());
    }
    let mut number = count.fetch_add(1, Ordering::Relaxed);
    if number >= END_OF_NUMBERS {
        number = begin_numbers_again(count, positions());
    }
    let position = if keeps_last() { number.checked_rem(usable).ok_or_else(full)? } else { number };
    if position >= usable {
        return Err(full());
    }
    let is_new = number == position || position >= REACHED.load(Ordering::Relaxed);
    if is_filtered || !is_new || allocated == Some(position) {
        return Ok(Reserved { position, number });
    }
    match allocate(position) {
        Ok(()) => Ok(Reserved { position, number }),
        // The ring continues in the space that there is.
        Err(loss) if keeps_last() && loss != Loss::Truncated => {
            let position = number.checked_rem(positions()).ok_or(loss)?;
            Ok(Reserved { position, number })
        }
        Err(loss) => Err(loss),
    }
}

/// Allocates the page of the position that [`reserve`] will probably return next, and returns that
/// position. A file system can take long; here no other thread waits for it.
pub(super) fn allocate_next() -> Option<u32> {
    let next = word_of_header(layout::header::CHUNKS).load(Ordering::Relaxed);
    let may_allocate = next < positions() && !seccomp::is_filtered();
    (may_allocate && allocate(next).is_ok()).then_some(next)
}

/// Returns the next number after `END_OF_NUMBERS`: one that falls on the position that comes next,
/// and not below the number of positions, since a reader looks at no more positions than there are
/// chunks.
#[cold]
fn begin_numbers_again(count: &AtomicU32, positions: u32) -> u32 {
    let first = positions + END_OF_NUMBERS.checked_rem(positions).unwrap_or(0);
    let mut found = count.load(Ordering::Relaxed);
    loop {
        // Another thread may have set it back.
        let number = if found < END_OF_NUMBERS { found } else { first };
        match count.compare_exchange_weak(found, number + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return number,
            Err(now) => found = now,
        }
    }
}

/// Maps a position and allocates its page.
fn allocate(position: u32) -> Result<(), Loss> {
    map(position)?;
    if !populate_batch_of(position) && user_memory::touch(address_of(position)).is_err() {
        return Err(refused(position));
    }
    REACHED.fetch_max(position + 1, Ordering::Relaxed);
    if seccomp::is_any_thread_filtered() {
        allocate_ahead();
    }
    Ok(())
}

/// Allocates a batch of pages at its first position, or knows that they are allocated. Returns
/// false if the page of `position` may not be.
fn populate_batch_of(position: u32) -> bool {
    let batch = position / BATCH;
    if batch == 0 {
        return position < FIRST;
    }
    if POPULATED.load(Ordering::Relaxed) == batch {
        return true;
    }
    let end = (position + BATCH).min(MAPPED.load(Ordering::Acquire));
    let is_populated = position.is_multiple_of(BATCH) && populate(position, end).is_ok();
    if is_populated {
        POPULATED.fetch_max(batch, Ordering::Relaxed);
    }
    is_populated
}

/// Why the page of a position cannot be stored to. Ends the growth of the trace.
#[cold]
fn refused(position: u32) -> Loss {
    // A page that was there and cannot be loaded from is beyond the file's end.
    let last = REACHED.load(Ordering::Relaxed).checked_sub(1);
    let known = last.map_or(BASE.load(Ordering::Acquire).addr(), address_of);
    if user_memory::can_load(known) {
        end_at(position, Loss::NoSpace);
        return Loss::NoSpace;
    }
    truncation::end_trace();
    Loss::Truncated
}

fn address_of(position: u32) -> usize {
    BASE.load(Ordering::Acquire).addr() + file_len(position)
}

/// Makes sure that a position is mapped.
fn map(position: u32) -> Result<(), Loss> {
    if position < MAPPED.load(Ordering::Acquire) { Ok(()) } else { grow_to_hold(position) }
}

#[cold]
fn grow_to_hold(position: u32) -> Result<(), Loss> {
    let base = BASE.load(Ordering::Acquire).addr();
    let mapped = MAPPED.load(Ordering::Acquire);
    let wanted = (position / STEP + 1).saturating_mul(STEP).min(positions()).max(mapped);
    let len = file_len(wanted);
    // A mapping that is no more as long as it was has been grown by another thread. It may have
    // stored that already, or be about to.
    if user_memory::grow_in_place(base, file_len(mapped), len).is_ok()
        || is_one_vma(base as u64, len as u64) == OneVma::Yes
    {
        MAPPED.fetch_max(wanted, Ordering::Release);
    }
    if position < MAPPED.load(Ordering::Acquire) {
        return Ok(());
    }
    end_at(mapped, Loss::NoMemory);
    Err(Loss::NoMemory)
}

fn populate(start: u32, end: u32) -> crate::sys::Result {
    user_memory::populate(address_of(start), file_len(end) - file_len(start))
}

/// Allocates space for threads that may not do so. Before a filter is installed, and then by
/// the threads that are not under it.
pub(super) fn allocate_ahead() {
    let (reached, allocated) = (REACHED.load(Ordering::Relaxed), ALLOCATED.load(Ordering::Acquire));
    if reached.saturating_add(AHEAD / 2) < allocated {
        return;
    }
    let end = reached.saturating_add(AHEAD).min(positions());
    let start = reached.max(allocated).min(end);
    if end == 0 || map(end - 1).is_err() {
        return;
    }
    let end = match populate(start, end) {
        Ok(_) => end,
        // Page by page: the kernel is too old, or there is no space for all of them.
        Err(_) => (start..end)
            .find(|&position| user_memory::touch(address_of(position)).is_err())
            .unwrap_or(end),
    };
    ALLOCATED.fetch_max(end, Ordering::Release);
}
