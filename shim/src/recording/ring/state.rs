//! State that the ring's modules share: where the trace is mapped, how far it reaches, and what was
//! lost. A *position* is the index of a chunk in the file.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use mremap_plan::Range;
use mremap_trace::layout::{self, CHUNK_SIZE, HEADER_SIZE};
use mremap_trace::{Capability, ClaimWord, Keep};

use crate::process::fork_state::FORK_STATE;
use crate::process::seccomp;
use crate::recording::clock::Reading;
use crate::sys::user_memory;

/// Whether the settings ask for a trace and it was opened.
pub(super) static WANTED: AtomicBool = AtomicBool::new(false);
/// What a claim adds to its chunk's count of writers. 0 if the first records are kept: then no
/// chunk is overwritten, and writers need not be counted.
pub(super) static WRITER_INCREMENT: AtomicU64 = AtomicU64::new(0);
/// Where the file is mapped. The mapping grows, and never moves.
pub(super) static BASE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// Number of usable positions. Lowered when the file or its mapping cannot grow.
static POSITIONS: AtomicU32 = AtomicU32::new(0);
/// The [`Loss`] of a call for which there is no position left.
static WHEN_FULL: AtomicU8 = AtomicU8::new(Loss::Full as u8);
/// Number of mapped positions.
pub(super) static MAPPED: AtomicU32 = AtomicU32::new(0);
/// Number of chunks that must not be overwritten.
pub(super) static PINNED: AtomicU32 = AtomicU32::new(0);
/// Number of calls before the trace was open.
pub(super) static EARLY: AtomicU64 = AtomicU64::new(0);
/// The [`Capability`] of this kernel, once it was tried.
static CAPABILITY: AtomicU32 = AtomicU32::new(0);

/// The epoch of a process that has no trace.
pub(super) const NO_TRACE: u32 = u32::MAX;
/// The epoch of a process whose trace was truncated.
pub(super) const TRUNCATED: u32 = u32::MAX - 1;

/// Why a call is not in the trace.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Loss {
    /// The trace has reached its size.
    Full,
    /// The file system has no space.
    NoSpace,
    /// The mapping cannot grow.
    NoMemory,
    /// A filter may forbid to allocate space.
    Filtered,
    /// The file was truncated.
    Truncated,
    /// The process has no trace.
    NoTrace,
}

impl Loss {
    /// Offset of its counter in the trace's header.
    fn counter(self) -> Option<usize> {
        Some(match self {
            Self::Full => layout::header::LOST_FULL,
            Self::NoSpace => layout::header::LOST_NO_SPACE,
            Self::NoMemory => layout::header::LOST_NO_MEMORY,
            Self::Filtered => layout::header::LOST_FILTERED,
            Self::Truncated => layout::header::LOST_TRUNCATED,
            Self::NoTrace => return None,
        })
    }
}

/// Whether calls are recorded.
#[inline]
pub(crate) fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

pub(super) fn is_open(epoch: u32) -> bool {
    epoch != 0 && epoch != NO_TRACE && epoch != TRUNCATED
}

/// Size of a file with this many chunks.
pub(super) fn file_len(positions: u32) -> usize {
    HEADER_SIZE + positions as usize * CHUNK_SIZE
}

/// The mapping of the trace; empty if there is none. It grows from its end.
pub(crate) fn mapping() -> Range {
    let start = BASE.load(Ordering::Relaxed).addr() as u64;
    let len = if start == 0 { 0 } else { file_len(MAPPED.load(Ordering::Relaxed)) };
    Range { start, end: start + len as u64 }
}

/// Whether the last records are kept, not the first.
pub(super) fn keeps_last() -> bool {
    WRITER_INCREMENT.load(Ordering::Relaxed) != 0
}

pub(super) fn set_keep(keep: Keep) {
    let writer = match keep {
        Keep::First => 0,
        Keep::Last => ClaimWord::ONE_WRITER,
    };
    WRITER_INCREMENT.store(writer, Ordering::Relaxed);
}

/// Positions that can be used.
pub(super) fn positions() -> u32 {
    POSITIONS.load(Ordering::Relaxed)
}

/// Sets how many positions a new file has.
pub(super) fn set_positions(positions: u32) {
    WHEN_FULL.store(Loss::Full as u8, Ordering::Relaxed);
    POSITIONS.store(positions, Ordering::Relaxed);
}

/// Makes `end` and all later positions unusable.
pub(super) fn end_at(end: u32, why: Loss) {
    if POSITIONS.fetch_min(end, Ordering::Relaxed) > end {
        WHEN_FULL.store(why as u8, Ordering::Relaxed);
    }
}

/// Why there is no position left.
pub(super) fn when_full() -> Loss {
    let known = [Loss::NoSpace, Loss::NoMemory];
    let why = WHEN_FULL.load(Ordering::Relaxed);
    known.into_iter().find(|loss| *loss as u8 == why).unwrap_or(Loss::Full)
}

/// Stores the capability of this kernel in the trace, and keeps it for the traces of children.
pub(crate) fn note_capability(capability: Capability) {
    CAPABILITY.store(capability as u32, Ordering::Relaxed);
    if is_open(FORK_STATE.trace_epoch.load(Ordering::Acquire)) {
        word_of_header(layout::header::CAPABILITY).store(capability as u32, Ordering::Relaxed);
    }
}

/// Stores a pair of clock values in the trace. The analyzer ignores a half-written pair.
pub(crate) fn note_reading(reading: &Reading) {
    use layout::header::{LATER_CHECK, LATER_MONOTONIC_NS, LATER_TICKS};
    if is_open(FORK_STATE.trace_epoch.load(Ordering::Acquire)) {
        let Reading { ticks, monotonic_ns, .. } = *reading;
        counter_of_header(LATER_TICKS).store(ticks, Ordering::Relaxed);
        counter_of_header(LATER_MONOTONIC_NS).store(monotonic_ns, Ordering::Relaxed);
        counter_of_header(LATER_CHECK).store(ticks ^ monotonic_ns, Ordering::Relaxed);
    }
}

pub(super) fn capability() -> Option<Capability> {
    Capability::from_raw(CAPABILITY.load(Ordering::Relaxed))
}

/// Counts a call that is not in the trace.
#[cold]
pub(crate) fn count_lost(loss: Loss) {
    let Some(counter) = loss.counter() else { return };
    if loss == Loss::Truncated {
        count_in_truncated(counter);
    } else {
        counter_of_header(counter).fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts by a system call, which fails where a store beyond the file's end would raise `SIGBUS`.
fn count_in_truncated(counter: usize) {
    let low_half = if cfg!(target_endian = "little") { 0 } else { 4 };
    let word = word_of_header(counter + low_half).as_ptr();
    if !seccomp::is_filtered() && user_memory::add(word, 1).is_err() {
        FORK_STATE.trace_epoch.store(NO_TRACE, Ordering::Relaxed);
    }
}

/// Counts a call made before the trace could be open.
pub(crate) fn count_early() {
    EARLY.fetch_add(1, Ordering::Relaxed);
}

/// A counter of the header. There must be a trace.
pub(super) fn counter_of_header(field: usize) -> &'static AtomicU64 {
    // SAFETY: a field of the mapped header, aligned by the format, and accessed only atomically.
    // The mapping stays for the life of the process.
    unsafe { &*BASE.load(Ordering::Acquire).add(field).cast::<AtomicU64>() }
}

/// A 32-bit field of the header. There must be a trace.
pub(super) fn word_of_header(field: usize) -> &'static AtomicU32 {
    // SAFETY: as above.
    unsafe { &*BASE.load(Ordering::Acquire).add(field).cast::<AtomicU32>() }
}
