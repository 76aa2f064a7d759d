//! Space for the trace, made sure of before it is used: a disk that is full, or a limit that is reached, is an
//! error of `write` here, not a SIGBUS of a store there.
//!
//! Zeros are written through the file. A mapping's own way to the same (`MADV_POPULATE_WRITE`, Linux 5.14)
//! takes a millisecond for a segment of an ext4 file where writing takes some 40 microseconds; it stands in
//! where the file cannot be opened any more.

use core::sync::atomic::{AtomicU32, Ordering};

use mremap_trace::layout::{self, CHUNK_SIZE, HEADER_SIZE};

use super::state::{
    ALLOCATED, BASE, Loss, OUT_OF_SPACE, POSITIONS, TRUNCATED, is_open, keeps_last,
};
use super::{name, truncation};
use crate::emulate::move_lock;
use crate::process::fork_state::WIPED;
use crate::process::seccomp;
use crate::recording::identity;
use crate::sys::cell::SyncCell;
use crate::sys::{self, Errno, FileId, OpenFile};

/// Positions given space when the trace is opened: a program that starts pays a microsecond for each.
pub(super) const FIRST_SEGMENT: u32 = 32;
/// Positions given space at a time.
const SEGMENT: u32 = 64;
/// Positions given space ahead of a sandbox: 4 MiB.
const AHEAD: u32 = 1024;

/// Numbers of chunks are below this: far enough from an overflow for every thread there may be to count once more.
const END_OF_NUMBERS: u32 = u32::MAX - (1 << 22);
/// Positions left when more are asked for.
const HEADROOM: u32 = 16;
/// Together a second, of which hardly a part will be needed.
const MOST_WAITS: u32 = 100;
const WAIT_MS: i64 = 10;

/// 1 while a thread adds space.
static EXTENDING: AtomicU32 = AtomicU32::new(0);
/// Nobody writes them. Not in the library's file, as what is never written would be.
static ZEROS: SyncCell<[u8; 65536]> = SyncCell::new([0; 65536]);

/// The trace's own file. Written by `begin` alone, before the trace that makes anyone read it is open.
static OWN_FILE: SyncCell<FileId> = SyncCell::new(FileId::UNKNOWN);

/// Begins with a file: remembers which one the trace is, so that no other one of its name is ever written to.
pub(super) fn begin(file: &OpenFile) -> Result<(), Errno> {
    let id = file.id()?;
    EXTENDING.store(0, Ordering::Relaxed);
    // SAFETY: the trace is not open yet, and only one thread opens it.
    unsafe { *OWN_FILE.get() = id };
    Ok(())
}

/// Position and number of the next chunk, its space allocated.
pub(super) fn reserve(base: *mut u8) -> Result<(u32, u32), Loss> {
    // SAFETY: a field of the mapped header, only ever accessed atomically once the trace is open.
    let count = unsafe { &*base.add(layout::header::CHUNKS).cast::<AtomicU32>() };
    let positions = POSITIONS.load(Ordering::Relaxed);
    if !keeps_last() && count.load(Ordering::Relaxed) >= positions {
        return Err(Loss::Full);
    }
    let mut number = count.fetch_add(1, Ordering::Relaxed);
    if number >= END_OF_NUMBERS {
        number = begin_numbers_again(count, positions);
    }
    let position =
        if keeps_last() { number.checked_rem(positions).ok_or(Loss::Full)? } else { number };
    if position >= positions {
        return Err(Loss::Full);
    }
    if reaches(base, position) {
        return Ok((position, number));
    }
    if WIPED.trace_epoch.load(Ordering::Relaxed) == TRUNCATED {
        return Err(Loss::Truncated);
    }
    if !keeps_last() {
        return Err(Loss::NoSpace);
    }
    // Go round in the space there is.
    let position = number.checked_rem(ALLOCATED.load(Ordering::Relaxed)).ok_or(Loss::NoSpace)?;
    Ok((position, number))
}

/// The next number after `END_OF_NUMBERS`: one that falls on the position that comes next, and not below the number
/// of positions, since a reader of fewer chunks than that would leave positions out.
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

/// Makes sure that `position` can be written without a fault, and that the next ones soon can: whoever comes
/// near the end of what there is adds to it, before others stand there and wait.
#[inline]
fn reaches(base: *mut u8, position: u32) -> bool {
    position + HEADROOM < ALLOCATED.load(Ordering::Acquire) || extend_for(base, position)
}

#[cold]
fn extend_for(base: *mut u8, position: u32) -> bool {
    for _ in 0..MOST_WAITS {
        let allocated = ALLOCATED.load(Ordering::Acquire);
        if allocated >= POSITIONS.load(Ordering::Relaxed) || seccomp::is_filtered() {
            return position < allocated;
        }
        if extend(base, allocated + SEGMENT) {
            return position < ALLOCATED.load(Ordering::Acquire);
        }
        if position < ALLOCATED.load(Ordering::Acquire) {
            return true;
        }
        sys::futex_wait(&EXTENDING, 1, WAIT_MS);
    }
    false
}

/// Space for what a sandbox is going to record, since it may not ask for more.
pub(crate) fn allocate_ahead() {
    let epoch = WIPED.trace_epoch.load(Ordering::Acquire);
    if is_open(epoch) {
        let end = ALLOCATED.load(Ordering::Relaxed).saturating_add(AHEAD);
        extend(BASE.load(Ordering::Acquire), end);
    }
}

/// Adds space up to `end`, or finds that there is none; false when another thread is at it. One at a time:
/// zeros must not be written where somebody already records. With signals blocked: a handler would wait for
/// the thread that it has interrupted.
fn extend(base: *mut u8, end: u32) -> bool {
    let signals = sys::set_blocked_signals(move_lock::signals_to_block());
    let is_ours = EXTENDING.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
    if is_ours {
        let allocated = ALLOCATED.load(Ordering::Acquire);
        let end = end.min(POSITIONS.load(Ordering::Relaxed));
        if allocated < end {
            if add(base, allocated, end) {
                ALLOCATED.store(end, Ordering::Release);
            } else {
                // The trace stays as large as it is.
                POSITIONS.fetch_min(allocated, Ordering::Relaxed);
                OUT_OF_SPACE.store(true, Ordering::Relaxed);
            }
        }
        EXTENDING.store(0, Ordering::Release);
        sys::futex_wake_all(&EXTENDING);
    }
    if let Some(signals) = signals {
        sys::set_blocked_signals(signals);
    }
    is_ours
}

fn add(base: *mut u8, allocated: u32, end: u32) -> bool {
    let offset = HEADER_SIZE + allocated as usize * CHUNK_SIZE;
    let len = (end - allocated) as usize * CHUNK_SIZE;
    let file = reopen();
    if let Ok(file) = &file
        && file.len().is_ok_and(|found| found < offset + len)
    {
        truncation::end_trace();
        return false;
    }
    let written = file.map(|file| write_zeros(&file, offset, len).is_ok());
    if written == Ok(false) {
        return false;
    }
    // Also spares the faults that would find what was written.
    let populated = sys::madvise(base.addr() + offset, len, libc::MADV_POPULATE_WRITE);
    written == Ok(true) || populated.is_ok()
}

/// The trace's file once more, if its name still leads to it.
fn reopen() -> Result<OpenFile, Errno> {
    let path = identity::directory().ok_or(Errno(libc::ENAMETOOLONG))?;
    let file = OpenFile::open_directory(path)?.open_in(name::chosen(), libc::O_WRONLY, 0)?;
    // SAFETY: nobody writes it while a trace is open; see `OWN_FILE`.
    if file.id()? == unsafe { *OWN_FILE.get() } { Ok(file) } else { Err(Errno(libc::ENOENT)) }
}

/// Writes zeros over a part of the file that holds nothing yet.
pub(super) fn write_zeros(file: &OpenFile, offset: usize, len: usize) -> Result<(), Errno> {
    // Beyond the limit a write would be a SIGXFSZ.
    if sys::file_size_limit() < (offset + len) as u64 {
        return Err(Errno(libc::EFBIG));
    }
    // SAFETY: nobody writes them.
    let zeros = unsafe { &*ZEROS.get() };
    let mut done = 0;
    while done < len {
        let piece = zeros.get(..len - done).unwrap_or(zeros);
        match file.write_at(piece, (offset + done) as u64) {
            Ok(0) => return Err(Errno(libc::ENOSPC)),
            Ok(written) => done += written,
            Err(Errno(libc::EINTR)) => {}
            Err(failed) => return Err(failed),
        }
    }
    Ok(())
}
