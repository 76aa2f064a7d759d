//! State that a child of `fork` must not inherit. The kernel zeroes these pages in the child
//! (`MADV_WIPEONFORK`, Linux 4.14): the child knows without a system call that it is one, and
//! finds no change half done by another thread of its parent. Where the kernel cannot, libc's
//! `fork` handlers zero them; then a child of a raw `clone` without `CLONE_VM` shares its parent's
//! trace.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::process::seccomp;
use crate::sys;
use crate::sys::cell::{LARGEST_PAGE, PageStart};

/// Slots for known return addresses, indexed by bits of the address.
const CALLERS: usize = 512;
/// Limit on searches for code that was loaded later: a program may generate code without end.
const MAX_CODE: usize = 64;

#[repr(C)]
pub(crate) struct ForkState {
    page: PageStart,
    /// The thread that holds the move lock, [`WAITED_FOR`] and [`EXPOSED`]; 0 for none. See
    /// `emulate::move_lock`.
    pub(crate) owner: AtomicU32,
    /// Parts moved under the lock, modulo 2^32.
    pub(crate) progress: AtomicU32,
    /// The stack frame of the lock's owner.
    pub(crate) owner_frame: AtomicU64,
    /// Epoch of the open trace; 0 before it is opened. See `recording::ring`.
    pub(crate) trace_epoch: AtomicU32,
    /// Not 0 once a thread has begun to open the trace.
    pub(crate) opening: AtomicU32,
    /// The process that this memory belongs to; 0 if unknown.
    pub(crate) pid: AtomicU32,
    /// The chunk that threads share; 0 for none. See `recording::ring::claims`.
    pub(crate) shared_chunk: AtomicU64,
    /// Return addresses whose module need not be looked up. See `recording::caller_modules`.
    pub(crate) callers_seen: [AtomicU64; CALLERS],
    /// Code found after load: `[start, end)`, what tells it from other code there, and the value of
    /// `unloads` when it was found. See `recording::caller_modules`.
    pub(crate) code_found: [[AtomicU64; 4]; MAX_CODE],
    /// Entries of `code_found` in use.
    pub(crate) code_count: AtomicU32,
    /// Libraries closed while the trace was open.
    pub(crate) unloads: AtomicU32,
    /// Ticks since the trace was opened when one was closed last.
    pub(crate) unloaded_at: AtomicU64,
    /// Bit n: buffer n is taken. See `recording::move_records`.
    pub(crate) buffers_taken: AtomicU32,
}

/// Bit of the owner's word: threads sleep until it changes.
pub(crate) const WAITED_FOR: u32 = 1 << 31;
/// Bit of the owner's word: a handler may take the owner out of its fork or move for good. In the
/// same word, so that no thread can clear it for an owner that is no longer, or not yet, its own.
pub(crate) const EXPOSED: u32 = 1 << 29;

/// The thread in an owner's word.
pub(crate) fn thread_in(owner: u32) -> u32 {
    owner & !(WAITED_FOR | EXPOSED)
}

impl ForkState {
    /// Marks the owner of the move lock as exposed, if that is `me` and it is not yet. Returns
    /// whether it has done so.
    pub(crate) fn expose_owner(&self, me: u32) -> bool {
        let expose =
            |owner| (thread_in(owner) == me && owner & EXPOSED == 0).then_some(owner | EXPOSED);
        self.owner.fetch_update(Ordering::Relaxed, Ordering::Relaxed, expose).is_ok()
    }

    /// Undoes [`ForkState::expose_owner`], if `me` is still the owner.
    pub(crate) fn cover_owner(&self, me: u32) {
        let cover = |owner| (thread_in(owner) == me).then_some(owner & !EXPOSED);
        let _ = self.owner.fetch_update(Ordering::Relaxed, Ordering::Relaxed, cover);
    }
}

// The wiped pages hold nothing else.
const _: () = assert!(size_of::<ForkState>().is_multiple_of(LARGEST_PAGE));

pub(crate) static FORK_STATE: ForkState = ForkState {
    page: PageStart,
    owner: AtomicU32::new(0),
    progress: AtomicU32::new(0),
    owner_frame: AtomicU64::new(0),
    trace_epoch: AtomicU32::new(0),
    opening: AtomicU32::new(0),
    pid: AtomicU32::new(0),
    shared_chunk: AtomicU64::new(0),
    callers_seen: [const { AtomicU64::new(0) }; CALLERS],
    code_found: [const { [const { AtomicU64::new(0) }; 4] }; MAX_CODE],
    code_count: AtomicU32::new(0),
    unloads: AtomicU32::new(0),
    unloaded_at: AtomicU64::new(0),
    buffers_taken: AtomicU32::new(0),
};

static IS_ADVISED: AtomicBool = AtomicBool::new(false);

/// Asks the kernel to zero [`FORK_STATE`] in children. Returns false if it cannot.
pub(crate) fn advise() -> bool {
    if IS_ADVISED.load(Ordering::Relaxed) {
        return true;
    }
    let start = (&raw const FORK_STATE).addr();
    let advised = sys::madvise(start, size_of::<ForkState>(), libc::MADV_WIPEONFORK).is_ok();
    IS_ADVISED.store(advised, Ordering::Relaxed);
    advised
}

/// Sets this process up. At load.
pub(crate) fn begin() {
    advise();
    FORK_STATE.pid.store(sys::pid(), Ordering::Relaxed);
}

/// Sets a child of libc's `fork` up, on its only thread.
pub(crate) fn begin_child() {
    if !IS_ADVISED.load(Ordering::Relaxed) {
        wipe();
    }
    if !seccomp::is_filtered() {
        FORK_STATE.pid.store(sys::pid(), Ordering::Relaxed);
    }
}

fn wipe() {
    let ForkState { trace_epoch, opening, pid, buffers_taken, .. } = &FORK_STATE;
    for word in [trace_epoch, opening, pid, buffers_taken] {
        word.store(0, Ordering::Relaxed);
    }
    forget_trace();
}

/// Forgets what the last trace has recorded, before another one is opened.
pub(crate) fn forget_trace() {
    FORK_STATE.code_count.store(0, Ordering::Relaxed);
    FORK_STATE.shared_chunk.store(0, Ordering::Relaxed);
    FORK_STATE.unloads.store(0, Ordering::Relaxed);
    FORK_STATE.unloaded_at.store(0, Ordering::Relaxed);
    for word in FORK_STATE.callers_seen.iter().chain(FORK_STATE.code_found.as_flattened()) {
        word.store(0, Ordering::Relaxed);
    }
}

/// The process that this memory belongs to.
pub(crate) struct MemoryOwner {
    pub(crate) pid: u32,
    /// Unknown to a `vfork` child, which runs in its parent's memory.
    pub(crate) parent_pid: Option<u32>,
}

/// Finds the process that this memory belongs to: the calling one, or the parent of a `vfork`
/// child.
pub(crate) fn memory_owner() -> MemoryOwner {
    let (pid, parent) = (sys::pid(), sys::parent_pid());
    let owner = match FORK_STATE.pid.load(Ordering::Relaxed) {
        // Forked without libc.
        0 if sys::share_memory(pid, parent) => parent,
        0 => pid,
        known => known,
    };
    FORK_STATE.pid.store(owner, Ordering::Relaxed);
    MemoryOwner { pid: owner, parent_pid: (owner == pid).then_some(parent) }
}
