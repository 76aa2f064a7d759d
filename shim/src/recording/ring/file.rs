//! The trace file: created, given its size, headed and mapped. No descriptor of it is open
//! afterwards.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use mremap_trace::layout::{self, CHUNK_SIZE, HEADER_SIZE};
use mremap_trace::{Header, Keep};

use super::name::Name;
use super::space::{self, FIRST, STEP};
use super::state::{
    BASE, EARLY, MAPPED, NO_TRACE, PINNED, WANTED, capability, file_len, keeps_last, set_keep,
    set_positions,
};
use super::{append, hint, truncation};
use crate::process::address_space::page_size;
use crate::process::config::{self, TraceSettings};
use crate::process::fork_state::{self, FORK_STATE, MemoryOwner};
use crate::process::seccomp;
use crate::recording::clock::{self, Reading};
use crate::recording::{identity, same_process};
use crate::sys::cell::SyncCell;
use crate::sys::probe::{self, OneVma};
use crate::sys::vfork::with_own_descriptors;
use crate::sys::{self, Errno, FileId, OpenFile, user_memory};

/// How long a thread waits for another one that opens the trace of their process.
const MAX_WAIT_MS: i64 = 100;

/// Number of the last trace opened by this process or those it was forked from.
static LAST_EPOCH: AtomicU32 = AtomicU32::new(0);
/// Process that opened it.
static LAST_PID: AtomicU32 = AtomicU32::new(0);
/// Bytes for one process.
static SIZE: AtomicU64 = AtomicU64::new(0);
/// The directory for traces, once it was opened. Used by the thread that opens the trace.
static DIRECTORY: SyncCell<Option<FileId>> = SyncCell::new(None);
/// The header. Written by the thread that opens the trace. Not on the stack, which may be that of a
/// signal.
static HEADER: SyncCell<[u8; HEADER_SIZE]> = SyncCell::new([0; HEADER_SIZE]);

/// Why there will be no trace.
pub(crate) enum OpenError {
    /// The path of the directory is too long.
    NameTooLong,
    /// The file could not be created or mapped.
    File(Errno),
    /// There is no space for the first records.
    Space(Errno),
}

/// Opens the trace of this process. At load, or when a tracer attaches.
pub(super) fn open(settings: &TraceSettings<'_>) -> Result<(), OpenError> {
    // SAFETY: no other thread opens a trace now.
    unsafe { *DIRECTORY.get() = None };
    SIZE.store(settings.size, Ordering::Relaxed);
    set_keep(settings.keep);
    let (owner, reading) = (fork_state::memory_owner(), clock::read());
    let size = create(&owner, &reading)?;
    begin_epoch(&owner, &reading, size);
    truncation::watch();
    WANTED.store(true, Ordering::Release);
    Ok(())
}

/// Ends the trace. Its mapping stays: another thread may be storing a record.
pub(crate) fn close() {
    WANTED.store(false, Ordering::Release);
    FORK_STATE.trace_epoch.store(NO_TRACE, Ordering::Release);
}

/// Opens the trace of a fork's child, unless another thread does. Returns the epoch: 0 if there is
/// no trace yet, or `NO_TRACE` if there will be none.
#[cold]
#[inline(never)]
pub(super) fn open_in_child() -> u32 {
    // A filtered thread cannot; another one may.
    if seccomp::is_filtered() {
        return 0;
    }
    let signals = sys::set_blocked_signals(u64::MAX);
    let is_opener =
        FORK_STATE.opening.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
    if is_opener {
        create_in_child();
        sys::futex_wake_all(&FORK_STATE.trace_epoch);
    } else {
        wait_for_opener();
    }
    if let Some(signals) = signals {
        sys::set_blocked_signals(signals);
    }
    let epoch = FORK_STATE.trace_epoch.load(Ordering::Acquire);
    if is_opener && epoch != NO_TRACE {
        append::append_loaded_modules();
    }
    epoch
}

fn create_in_child() {
    EARLY.store(0, Ordering::Relaxed);
    let (owner, reading) = (fork_state::memory_owner(), clock::read());
    let create = || with_own_descriptors(|| create(&owner, &reading));
    match config::records_children().then(create) {
        Some(Ok(Ok(size))) => begin_epoch(&owner, &reading, size),
        _ => FORK_STATE.trace_epoch.store(NO_TRACE, Ordering::Release),
    }
}

/// Waits until the trace is open. After the longest wait there will be none: its opener may have
/// been killed, as the child of a `vfork`.
fn wait_for_opener() {
    sys::futex_wait(&FORK_STATE.trace_epoch, 0, MAX_WAIT_MS);
    let _ =
        FORK_STATE.trace_epoch.compare_exchange(0, NO_TRACE, Ordering::Relaxed, Ordering::Relaxed);
}

/// What a new file has room for.
struct Size {
    base: *mut u8,
    positions: u32,
    mapped: u32,
}

fn begin_epoch(owner: &MemoryOwner, reading: &Reading, Size { base, positions, mapped }: Size) {
    clock::start(reading);
    LAST_PID.store(owner.pid, Ordering::Relaxed);
    set_positions(positions);
    MAPPED.store(mapped, Ordering::Relaxed);
    PINNED.store(0, Ordering::Relaxed);
    space::reset();
    BASE.store(base, Ordering::Release);
    let epoch = LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    // Release pairs with the Acquire in `claims::current_epoch`.
    FORK_STATE.trace_epoch.store(epoch, Ordering::Release);
}

/// Creates a file in the directory for traces, writes its start, and maps it.
fn create(owner: &MemoryOwner, reading: &Reading) -> Result<Size, OpenError> {
    let directory = open_directory()?;
    let name = Name::new(owner.pid, reading.monotonic_ns);
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    let file = directory.open_in(name.get(), flags, 0o600).map_err(OpenError::File)?;
    fill(&file, owner, reading).inspect_err(|_| directory.unlink_in(name.get()))
}

/// Opens the directory that the settings name. A child opens it only if it is still the same.
fn open_directory() -> Result<OpenFile, OpenError> {
    let path = identity::directory().ok_or(OpenError::NameTooLong)?;
    let directory = OpenFile::open_directory(path).map_err(OpenError::File)?;
    let id = directory.id().map_err(OpenError::File)?;
    // SAFETY: at load, or called by the thread that opens the trace.
    let known = unsafe { &mut *DIRECTORY.get() };
    if *known.get_or_insert(id) != id {
        return Err(OpenError::File(Errno(libc::ENOENT)));
    }
    Ok(directory)
}

/// Gives a new file its size, sparse, writes its start, and maps it.
fn fill(file: &OpenFile, owner: &MemoryOwner, reading: &Reading) -> Result<Size, OpenError> {
    let limit = SIZE.load(Ordering::Relaxed).min(sys::file_size_limit());
    let max = u64::from(u32::MAX / layout::SLOTS_PER_CHUNK);
    let positions = (limit.saturating_sub(HEADER_SIZE as u64) / CHUNK_SIZE as u64).min(max) as u32;
    if positions == 0 {
        return Err(OpenError::Space(Errno(libc::EFBIG)));
    }
    file.set_len(file_len(positions) as u64).map_err(OpenError::File)?;
    write_start(file, owner, reading, positions).map_err(OpenError::Space)?;
    let (base, mapped) = map(file, positions).map_err(OpenError::File)?;
    Ok(Size { base: base as *mut u8, positions, mapped })
}

/// Writes the first chunks, which are zeros, and the header; the magic comes last. What the header
/// does not use stays a hole.
fn write_start(
    file: &OpenFile,
    owner: &MemoryOwner,
    reading: &Reading,
    positions: u32,
) -> Result<(), Errno> {
    const CHUNK: [u8; CHUNK_SIZE] = [0; CHUNK_SIZE];
    for position in 0..positions.min(FIRST) {
        write_all(file, &CHUNK, file_len(position))?;
    }
    // SAFETY: at load, or called by the thread that opens the trace.
    let header = unsafe { &mut *HEADER.get() };
    let used = encode_header(header, owner, reading, positions);
    let after_magic = header.get(layout::MAGIC.len()..used).unwrap_or(&[]);
    write_all(file, after_magic, layout::MAGIC.len())?;
    write_all(file, &layout::MAGIC, 0)
}

/// Returns the number of bytes that are used.
fn encode_header(
    bytes: &mut [u8],
    owner: &MemoryOwner,
    reading: &Reading,
    positions: u32,
) -> usize {
    // It is this process that a tracer attaches to once more.
    let last = LAST_PID.load(Ordering::Relaxed);
    let forked_from = if last == owner.pid { 0 } else { last };
    let header = Header {
        page_size: page_size() as u32,
        capacity: file_len(positions) as u64,
        pid: owner.pid,
        parent_pid: owner.parent_pid.unwrap_or(forked_from),
        ticks: reading.ticks,
        monotonic_ns: reading.monotonic_ns,
        realtime_ns: reading.realtime_ns,
        clock: Some(clock::kind()),
        detail: Some(config::detail()),
        mode: Some(config::mode()),
        vma_source: Some(config::vma_source()),
        keep: Some(if keeps_last() { Keep::Last } else { Keep::First }),
        forked_from,
        boot_id: identity::boot_id(),
        capability: capability(),
        lost_early: EARLY.load(Ordering::Relaxed),
        pid_namespace: same_process::pid_namespace(owner.pid),
        start_time: same_process::start_time(owner.pid),
        ..Header::default()
    };
    identity::with_text(|text| header.encode(text, bytes))
}

fn write_all(file: &OpenFile, mut bytes: &[u8], mut offset: usize) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset as u64) {
            Ok(0) => return Err(Errno(libc::ENOSPC)),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or(&[]);
                offset += written;
            }
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Maps the start of a file; returns the address, and how many positions are mapped. A child's
/// mapping replaces the whole of its parent's, since a store that a forking signal handler has
/// interrupted continues there.
fn map(file: &OpenFile, positions: u32) -> Result<(usize, u32), Errno> {
    let former = BASE.load(Ordering::Relaxed).addr();
    if former == 0 {
        let mapped = positions.min(STEP);
        return Ok((hint::map_with_room(file, file_len(mapped), file_len(positions))?, mapped));
    }
    if !is_still_ours(former) {
        return Err(Errno(libc::EFAULT));
    }
    let mapped = MAPPED.load(Ordering::Relaxed);
    file.map_over(former, file_len(mapped.min(positions)))?;
    Ok((former, mapped))
}

/// Whether the parent's trace is still mapped at `base`. A host that unmapped it may have mapped
/// something else there.
fn is_still_ours(base: usize) -> bool {
    let len = file_len(MAPPED.load(Ordering::Relaxed));
    if truncation::has_been_met() {
        return true;
    }
    if probe::is_one_vma(base as u64, len as u64) != OneVma::Yes {
        return false;
    }
    if !user_memory::can_load(base) {
        // The file, if there is one, was truncated.
        return sys::is_shared(base);
    }
    // SAFETY: the kernel has just loaded these bytes.
    let magic = unsafe { &*(base as *const AtomicU64) };
    magic.load(Ordering::Relaxed) == u64::from_ne_bytes(layout::MAGIC)
}
