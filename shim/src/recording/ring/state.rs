//! What is known of the trace: where it is mapped, how far it reaches, and what was lost.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use mremap_plan::Range;
use mremap_trace::layout::{self, CHUNK_SIZE, HEADER_SIZE};
use mremap_trace::{Capability, ClaimWord, Keep};

use crate::process::fork_state::WIPED;

/// A trace was asked for and nothing has ended it.
pub(super) static WANTED: AtomicBool = AtomicBool::new(false);
/// What a claim adds to its chunk's count of writers: nothing where the first records are kept, since nobody
/// waits for them to be done.
pub(super) static WRITER: AtomicU64 = AtomicU64::new(0);
/// Where the file is mapped.
pub(super) static BASE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// Chunks that have a place in the file.
pub(super) static POSITIONS: AtomicU32 = AtomicU32::new(0);
/// Positions for which there is address space.
pub(super) static MAPPED: AtomicU32 = AtomicU32::new(0);
/// Positions whose space is there.
pub(super) static ALLOCATED: AtomicU32 = AtomicU32::new(0);
/// The file system refused space that the trace's size would have allowed.
pub(super) static OUT_OF_SPACE: AtomicBool = AtomicBool::new(false);
/// Records that later ones must not overwrite.
pub(super) static PINNED: AtomicU32 = AtomicU32::new(0);
/// Calls before the trace was open.
pub(super) static EARLY: AtomicU64 = AtomicU64::new(0);
/// What the trial of this kernel has found, as the header says it.
static CAPABILITY: AtomicU32 = AtomicU32::new(0);

/// The epoch of a process that cannot have a trace.
pub(super) const NONE: u32 = u32::MAX;
/// The epoch of a process whose trace somebody has truncated.
pub(super) const TRUNCATED: u32 = u32::MAX - 1;

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

pub(super) fn is_open(epoch: u32) -> bool {
    epoch != 0 && epoch != NONE && epoch != TRUNCATED
}

/// Where the trace is mapped; empty where there is none.
pub(crate) fn mapping() -> Range {
    let start = BASE.load(Ordering::Relaxed).addr() as u64;
    let len = HEADER_SIZE + POSITIONS.load(Ordering::Relaxed) as usize * CHUNK_SIZE;
    Range { start, end: if start == 0 { 0 } else { start + len as u64 } }
}

/// Whether the last records are kept, not the first.
pub(super) fn keeps_last() -> bool {
    WRITER.load(Ordering::Relaxed) != 0
}

pub(super) fn set_keep(keep: Keep) {
    let writer = match keep {
        Keep::First => 0,
        Keep::Last => ClaimWord::ONE_WRITER,
    };
    WRITER.store(writer, Ordering::Relaxed);
}

/// Puts what the trial of this kernel has found into the trace, and into those that fork's children will open.
pub(crate) fn note_capability(capability: Capability) {
    CAPABILITY.store(capability as u32, Ordering::Relaxed);
    let epoch = WIPED.trace_epoch.load(Ordering::Acquire);
    if is_open(epoch) {
        let base = BASE.load(Ordering::Acquire);
        // SAFETY: a field of the mapped header, only ever accessed atomically once the trace is open.
        let field = unsafe { &*base.add(layout::header::CAPABILITY).cast::<AtomicU32>() };
        field.store(capability as u32, Ordering::Relaxed);
    }
}

pub(super) fn capability() -> Option<Capability> {
    Capability::from_raw(CAPABILITY.load(Ordering::Relaxed))
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

/// A call came before the trace could be open.
pub(crate) fn count_early() {
    EARLY.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn counter(base: *mut u8, field: usize) -> &'static AtomicU64 {
    // SAFETY: a counter of the mapped header, only ever accessed atomically once the trace is open; the
    // mapping stays for the life of the process.
    unsafe { &*base.add(field).cast::<AtomicU64>() }
}
