//! What a fork's child must not inherit: it finds these pages zeroed (`MADV_WIPEONFORK`, Linux 4.14), and so can tell
//! itself from its parent without a system call, whatever another thread of the parent was doing.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::sys;
use crate::sys::cell::LARGEST_PAGE;

/// Return addresses remembered, each in the one place its bits give it.
const CALLERS: usize = 512;
/// A program that keeps on making code is not followed for ever.
const MOST_CODE: usize = 64;

#[repr(C, align(65536))]
pub(crate) struct WipedOnFork {
    /// Thread that moves parts, marked while others sleep; 0 when none does. See `exclusive`.
    pub(crate) owner: AtomicU32,
    /// Number of the open trace; 0 before there is one. See `ring`.
    pub(crate) trace_epoch: AtomicU32,
    /// Return addresses whose code is in the trace, or need not be. See `callers`.
    pub(crate) callers_seen: [AtomicU64; CALLERS],
    /// Where code was found after load: pairs of start and end, as many as `code_count` says.
    pub(crate) code_found: [[AtomicU64; 2]; MOST_CODE],
    pub(crate) code_count: AtomicU32,
    _rest: [u8; LARGEST_PAGE - 12 - 8 * CALLERS - 16 * MOST_CODE],
}

// The whole of the pages that are wiped is ours, on kernels of every page size.
const _: () = assert!(size_of::<WipedOnFork>() == LARGEST_PAGE);

pub(crate) static WIPED: WipedOnFork = WipedOnFork {
    owner: AtomicU32::new(0),
    trace_epoch: AtomicU32::new(0),
    callers_seen: [const { AtomicU64::new(0) }; CALLERS],
    code_found: [const { [AtomicU64::new(0), AtomicU64::new(0)] }; MOST_CODE],
    code_count: AtomicU32::new(0),
    _rest: [0; LARGEST_PAGE - 12 - 8 * CALLERS - 16 * MOST_CODE],
};

static IS_ADVISED: AtomicBool = AtomicBool::new(false);

/// Tells the kernel about [`WIPED`]; false when it will not have it.
pub(crate) fn advise() -> bool {
    if IS_ADVISED.load(Ordering::Relaxed) {
        return true;
    }
    let start = (&raw const WIPED).addr();
    let advised = sys::madvise(start, size_of::<WipedOnFork>(), libc::MADV_WIPEONFORK).is_ok();
    IS_ADVISED.store(advised, Ordering::Relaxed);
    advised
}
