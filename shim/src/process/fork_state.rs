//! State that a child of `fork` must not inherit. The kernel zeroes these pages in the child
//! (`MADV_WIPEONFORK`, Linux 4.14), so that it knows without a system call that it is one, whatever
//! other threads of the parent did.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::sys;
use crate::sys::cell::LARGEST_PAGE;

/// Slots for return addresses that are known, indexed by their bits.
const CALLERS: usize = 512;
/// Ranges of code found after load. A program that keeps on making code is not followed further.
const MOST_CODE: usize = 64;

#[repr(C, align(65536))]
pub(crate) struct WipedOnFork {
    /// The thread that holds the move lock; 0 for none. See `emulate::move_lock`.
    pub(crate) owner: AtomicU32,
    /// Parts moved under the lock, modulo 2^32.
    pub(crate) progress: AtomicU32,
    /// The stack frame of the lock's owner.
    pub(crate) owner_frame: AtomicU64,
    /// Epoch of the open trace; 0 before it is opened. See `recording::ring`.
    pub(crate) trace_epoch: AtomicU32,
    /// Return addresses whose module need not be looked up. See `recording::caller_modules`.
    pub(crate) callers_seen: [AtomicU64; CALLERS],
    /// `[start, end)` of code found after load; `code_count` of them are valid.
    pub(crate) code_found: [[AtomicU64; 2]; MOST_CODE],
    pub(crate) code_count: AtomicU32,
    _rest: [u8; LARGEST_PAGE - 28 - 8 * CALLERS - 16 * MOST_CODE],
}

// The wiped pages hold nothing else, whatever the page size.
const _: () = assert!(size_of::<WipedOnFork>() == LARGEST_PAGE);

pub(crate) static WIPED: WipedOnFork = WipedOnFork {
    owner: AtomicU32::new(0),
    progress: AtomicU32::new(0),
    owner_frame: AtomicU64::new(0),
    trace_epoch: AtomicU32::new(0),
    callers_seen: [const { AtomicU64::new(0) }; CALLERS],
    code_found: [const { [AtomicU64::new(0), AtomicU64::new(0)] }; MOST_CODE],
    code_count: AtomicU32::new(0),
    _rest: [0; LARGEST_PAGE - 28 - 8 * CALLERS - 16 * MOST_CODE],
};

static IS_ADVISED: AtomicBool = AtomicBool::new(false);

/// Has the kernel wipe [`WIPED`] on fork. Returns false if it cannot.
pub(crate) fn advise() -> bool {
    if IS_ADVISED.load(Ordering::Relaxed) {
        return true;
    }
    let start = (&raw const WIPED).addr();
    let advised = sys::madvise(start, size_of::<WipedOnFork>(), libc::MADV_WIPEONFORK).is_ok();
    IS_ADVISED.store(advised, Ordering::Relaxed);
    advised
}
