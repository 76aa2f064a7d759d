//! The file itself: made, mapped, headed, and given space.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use mremap_trace::Header;

use super::{ALLOCATED, BASE, CHUNK_SIZE, EARLY, HEADER_SIZE, KEEPS_LAST, NONE, PINNED, POSITIONS, WANTED};
use crate::config::{self, TraceSettings};
use crate::exclusive::{self, Exclusive, WIPED};
use crate::{callers, capability, clock, discover, identity, sandbox, sys};

/// Number of the last trace opened by this process or the ones it was forked from.
static LAST_EPOCH: AtomicU32 = AtomicU32::new(0);
/// Process that opened it.
static LAST_PID: AtomicU32 = AtomicU32::new(0);
/// Bytes for one process.
static SIZE: AtomicU64 = AtomicU64::new(0);

/// Positions allocated at a time.
const SEGMENT: u32 = 64;
/// Positions allocated ahead of a sandbox: 4 MiB.
const AHEAD: u32 = 1024;

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

/// Opens the trace of this process. At load.
pub(crate) fn open(settings: &TraceSettings<'_>) -> Result<(), OpenError> {
    SIZE.store(settings.size, Ordering::Relaxed);
    KEEPS_LAST.store(settings.keeps_last, Ordering::Relaxed);
    if !exclusive::advise_wipe_on_fork() {
        return Err(OpenError::NoWipeOnFork);
    }
    create()?;
    WANTED.store(true, Ordering::Release);
    Ok(())
}

/// The first record of a fork's child.
pub(super) fn open_in_child() -> u32 {
    let _exclusive = Exclusive::enter();
    let epoch = WIPED.trace_epoch.load(Ordering::Acquire);
    if epoch != 0 {
        return epoch;
    }
    EARLY.store(0, Ordering::Relaxed);
    if !config::records_children() || sandbox::is_filtered() || create().is_err() {
        WIPED.trace_epoch.store(NONE, Ordering::Release);
    }
    WIPED.trace_epoch.load(Ordering::Relaxed)
}

/// Makes, maps and heads a file, and begins an epoch.
fn create() -> Result<(), OpenError> {
    let now = clock::now();
    let pid = sys::pid();
    // SAFETY: at load, or called by `open_in_child`, which holds `Exclusive`.
    let path = unsafe { identity::trace_path(pid, now.monotonic_ns) }.ok_or(OpenError::NameTooLong)?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let fd = sys::open(path, flags, 0o600).map_err(|failed| OpenError::File(failed.0))?;
    let mapped = map(fd);
    sys::close(fd);
    let (base, len) = mapped.inspect_err(|_| sys::unlink(path))?;
    let forked_from = LAST_PID.swap(pid, Ordering::Relaxed);
    write_header(base, len, &now, pid, forked_from);
    BASE.store(base, Ordering::Release);
    let epoch = LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    // Release pairs with the Acquire in `claim_in_new_chunk`.
    WIPED.trace_epoch.store(epoch, Ordering::Release);
    callers::forget();
    identity::record_modules();
    Ok(())
}

/// Maps a new file at its full size, sparse, its first segment allocated.
fn map(fd: i32) -> Result<(*mut u8, usize), OpenError> {
    let limit = SIZE
        .load(Ordering::Relaxed)
        .min(sys::file_size_limit())
        .min(u64::from(u32::MAX / 64) * CHUNK_SIZE as u64);
    let positions = limit.saturating_sub(HEADER_SIZE as u64) / CHUNK_SIZE as u64;
    if positions == 0 {
        return Err(OpenError::Space(libc::EFBIG));
    }
    let len = HEADER_SIZE + positions as usize * CHUNK_SIZE;
    sys::ftruncate(fd, len as u64).map_err(|failed| OpenError::File(failed.0))?;
    let base = sys::map_file(fd, len).map_err(|failed| OpenError::File(failed.0))?;
    let first = SEGMENT.min(positions as u32);
    let first_len = HEADER_SIZE + first as usize * CHUNK_SIZE;
    let allocated = match sys::madvise(base, first_len, libc::MADV_POPULATE_WRITE) {
        Ok(_) => Ok(first),
        // Before 5.14: all of it now, through the descriptor.
        Err(sys::Failed(libc::EINVAL)) => sys::fallocate(fd, len as u64).map(|_| positions as u32),
        Err(failed) => Err(failed),
    };
    // A child has no business in its parent's file.
    let _ = sys::madvise(base, len, libc::MADV_DONTFORK);
    match allocated {
        Ok(allocated) => {
            ALLOCATED.store(allocated, Ordering::Relaxed);
            POSITIONS.store(positions as u32, Ordering::Relaxed);
            PINNED.store(0, Ordering::Relaxed);
            Ok((base as *mut u8, len))
        }
        Err(failed) => {
            sys::munmap(base, len);
            Err(OpenError::Space(failed.0))
        }
    }
}

/// Makes sure that `position` can be written without a fault: the kernel answers with an error here what
/// would be a SIGBUS there.
pub(super) fn allocate_for(base: *mut u8, position: u32) -> bool {
    !sandbox::is_filtered() && allocate_to(base, position / SEGMENT * SEGMENT + SEGMENT)
}

/// Space for what a sandbox is going to record, since it may not ask for more.
pub(crate) fn allocate_ahead() {
    let epoch = WIPED.trace_epoch.load(Ordering::Acquire);
    if epoch != 0 && epoch != NONE {
        let end = ALLOCATED.load(Ordering::Relaxed).saturating_add(AHEAD);
        allocate_to(BASE.load(Ordering::Acquire), end);
    }
}

/// From where space ends now, so that it never has holes whoever comes first.
fn allocate_to(base: *mut u8, end: u32) -> bool {
    let end = end.min(POSITIONS.load(Ordering::Relaxed));
    let allocated = ALLOCATED.load(Ordering::Acquire);
    if allocated >= end {
        return true;
    }
    let start = base.addr() + HEADER_SIZE + allocated as usize * CHUNK_SIZE;
    let len = (end - allocated) as usize * CHUNK_SIZE;
    let populated = sys::madvise(start, len, libc::MADV_POPULATE_WRITE).is_ok();
    if populated {
        ALLOCATED.fetch_max(end, Ordering::Release);
    }
    populated
}

fn write_header(base: *mut u8, len: usize, now: &clock::Moment, pid: u32, forked_from: u32) {
    // SAFETY: the file is mapped, allocated this far, and known to nobody else yet.
    let bytes = unsafe { core::slice::from_raw_parts_mut(base, HEADER_SIZE) };
    let header = Header {
        page_size: discover::page_size() as u32,
        capacity: len as u64,
        pid,
        parent_pid: sys::parent_pid(),
        ticks: now.ticks,
        monotonic_ns: now.monotonic_ns,
        realtime_ns: now.realtime_ns,
        clock: clock::kind(),
        detail: u32::from(config::records_vmas()),
        mode: config::mode() as u32,
        vma_source: config::vma_source() as u32,
        keep: u32::from(KEEPS_LAST.load(Ordering::Relaxed)),
        forked_from,
        boot_id: identity::boot_id(),
        capability: capability::found(),
        lost_early: EARLY.load(Ordering::Relaxed),
        ..Header::default()
    };
    identity::with_text(|text| header.encode(text, bytes));
}
