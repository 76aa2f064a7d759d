//! The file itself: made, mapped and headed.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use mremap_trace::layout::{self, CHUNK_SIZE, HEADER_SIZE};
use mremap_trace::{Header, Keep};

use super::state::{
    ALLOCATED, BASE, EARLY, MAPPED, NONE, OUT_OF_SPACE, PINNED, POSITIONS, WANTED, capability,
    keeps_last, set_keep,
};
use super::{name, space, truncation};
use crate::process::address_space::page_size;
use crate::process::config::{self, TraceSettings};
use crate::process::fork_state::{self, WIPED};
use crate::process::seccomp;
use crate::recording::clock;
use crate::recording::identity;
use crate::sys::cell::SyncCell;
use crate::sys::probe::{self, OneVma};
use crate::sys::{self, FileId, OpenFile};

/// Number of the last trace opened by this process or the ones it was forked from.
static LAST_EPOCH: AtomicU32 = AtomicU32::new(0);
/// Process that opened it.
static LAST_PID: AtomicU32 = AtomicU32::new(0);
/// Bytes for one process.
static SIZE: AtomicU64 = AtomicU64::new(0);

/// The directory of the traces, once it was opened. Used at load and by threads that hold `MoveLock`.
static DIRECTORY: SyncCell<Option<FileId>> = SyncCell::new(None);

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
pub(super) fn open(settings: &TraceSettings<'_>) -> Result<(), OpenError> {
    SIZE.store(settings.size, Ordering::Relaxed);
    set_keep(settings.keep);
    if !fork_state::advise() {
        return Err(OpenError::NoWipeOnFork);
    }
    create()?;
    truncation::watch();
    WANTED.store(true, Ordering::Release);
    Ok(())
}

/// Opens the trace of a fork's child, or says that there will be none: then false. By the thread that holds `MoveLock`.
pub(super) fn open_in_child() -> bool {
    EARLY.store(0, Ordering::Relaxed);
    let is_open = config::records_children() && !seccomp::is_filtered() && create().is_ok();
    if !is_open {
        WIPED.trace_epoch.store(NONE, Ordering::Release);
    }
    is_open
}

/// Makes, maps and heads a file, and begins an epoch.
fn create() -> Result<(), OpenError> {
    let now = clock::now();
    let pid = sys::pid();
    // SAFETY: at load, or called by the thread that holds `MoveLock`.
    unsafe { name::choose(pid, now.monotonic_ns) };
    let directory = open_directory()?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    let file = directory
        .open_in(name::chosen(), flags, 0o600)
        .map_err(|failed| OpenError::File(failed.0))?;
    let (base, len) = map(&file).inspect_err(|_| directory.unlink_in(name::chosen()))?;
    let forked_from = LAST_PID.swap(pid, Ordering::Relaxed);
    write_header(base, len, &now, pid, forked_from);
    BASE.store(base, Ordering::Release);
    let epoch = LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    // Release pairs with the Acquire in `claim_in_new_chunk`.
    WIPED.trace_epoch.store(epoch, Ordering::Release);
    Ok(())
}

/// The directory that the settings name: for a child, only if it is still the one that it was.
fn open_directory() -> Result<OpenFile, OpenError> {
    let path = identity::directory().ok_or(OpenError::NameTooLong)?;
    let directory = OpenFile::open_directory(path).map_err(|failed| OpenError::File(failed.0))?;
    let id = directory.id().map_err(|failed| OpenError::File(failed.0))?;
    // SAFETY: at load, or called by the thread that holds `MoveLock`.
    let known = unsafe { &mut *DIRECTORY.get() };
    if *known.get_or_insert(id) != id {
        return Err(OpenError::File(libc::ENOENT));
    }
    Ok(directory)
}

/// Maps a new file at its full size, sparse, its first segment written. A child's lies where its parent's
/// was, so that whatever was interrupted there finds memory, and never in more than that.
fn map(file: &OpenFile) -> Result<(*mut u8, usize), OpenError> {
    let former = BASE.load(Ordering::Relaxed);
    let most = if former.is_null() { u32::MAX / 64 } else { MAPPED.load(Ordering::Relaxed) };
    let limit = SIZE
        .load(Ordering::Relaxed)
        .min(sys::file_size_limit())
        .min(HEADER_SIZE as u64 + u64::from(most) * CHUNK_SIZE as u64);
    let positions = limit.saturating_sub(HEADER_SIZE as u64) / CHUNK_SIZE as u64;
    if positions == 0 {
        return Err(OpenError::Space(libc::EFBIG));
    }
    let len = HEADER_SIZE + positions as usize * CHUNK_SIZE;
    file.set_len(len as u64).map_err(|failed| OpenError::File(failed.0))?;
    let first = space::FIRST_SEGMENT.min(positions as u32);
    let first_len = HEADER_SIZE + first as usize * CHUNK_SIZE;
    space::write_zeros(file, 0, first_len).map_err(|failed| OpenError::Space(failed.0))?;
    space::begin(file).map_err(|failed| OpenError::File(failed.0))?;
    let over = (!former.is_null()).then(|| former.addr());
    if over.is_some_and(|base| !is_still_ours(base)) {
        return Err(OpenError::File(libc::EFAULT));
    }
    let base = file.map(len, over).map_err(|failed| OpenError::File(failed.0))?;
    // The pages are there; this only spares the faults that would find them, where a short program gets to.
    let soon = first_len.min(HEADER_SIZE + 8 * CHUNK_SIZE);
    let _ = sys::madvise(base, soon, libc::MADV_POPULATE_WRITE);
    ALLOCATED.store(first, Ordering::Relaxed);
    POSITIONS.store(positions as u32, Ordering::Relaxed);
    MAPPED.store(positions as u32, Ordering::Relaxed);
    OUT_OF_SPACE.store(false, Ordering::Relaxed);
    PINNED.store(0, Ordering::Relaxed);
    Ok((base as *mut u8, len))
}

/// Whether the parent's trace is still mapped where it was. A host that has unmapped it may have put something of
/// its own there.
fn is_still_ours(base: usize) -> bool {
    let len = HEADER_SIZE + MAPPED.load(Ordering::Relaxed) as usize * CHUNK_SIZE;
    let is_trace = probe::is_one_vma(base as u64, len as u64) == OneVma::Yes && {
        // SAFETY: a page of memory, as the kernel has just said. Beyond a truncated file's end its handler sees to
        // it that there is some.
        let magic = unsafe { &*(base as *const AtomicU64) };
        magic.load(Ordering::Relaxed) == u64::from_ne_bytes(layout::MAGIC)
    };
    is_trace || truncation::has_been_met()
}

fn write_header(base: *mut u8, len: usize, now: &clock::Moment, pid: u32, forked_from: u32) {
    // SAFETY: the file is mapped, allocated this far, and known to nobody else yet.
    let bytes = unsafe { core::slice::from_raw_parts_mut(base, HEADER_SIZE) };
    let header = Header {
        page_size: page_size() as u32,
        capacity: len as u64,
        pid,
        parent_pid: sys::parent_pid(),
        ticks: now.ticks,
        monotonic_ns: now.monotonic_ns,
        realtime_ns: now.realtime_ns,
        clock: Some(clock::kind()),
        detail: Some(config::detail()),
        mode: Some(config::mode()),
        vma_source: Some(config::vma_source()),
        keep: Some(if keeps_last() { Keep::Last } else { Keep::First }),
        forked_from,
        boot_id: identity::boot_id(),
        capability: capability(),
        lost_early: EARLY.load(Ordering::Relaxed),
        ..Header::default()
    };
    identity::with_text(|text| header.encode(text, bytes));
}
