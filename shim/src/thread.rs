//! The few bytes each thread has of its own: its number, and which chunk of the trace it fills.
//!
//! Initial-exec thread-local storage, reached by two instructions: no call to `__tls_get_addr`, which may
//! allocate at a thread's first access, and no destructor. Stable Rust's `thread_local!` gives neither, hence
//! the assembly. A library that is loaded with its program always has room for it.

use core::cell::Cell;

use crate::{sandbox, sys};

/// A thread's bytes; zero when the thread starts, and copied by `fork`.
#[repr(C)]
pub(crate) struct Thread {
    /// Number of the trace that the rest belongs to; 0 for none.
    pub(crate) epoch: Cell<u32>,
    /// The chunk this thread fills.
    pub(crate) chunk: Cell<u32>,
    /// The chunk's position in the file.
    pub(crate) position: Cell<u32>,
    /// The thread's number, asked for once a trace.
    pub(crate) tid: Cell<u32>,
    /// Mark of the call that this thread has passed on and that has not returned; 0 for none.
    pub(crate) passed_on: Cell<u64>,
}

/// In the place of a thread's number that must not be asked for.
const UNKNOWN_TID: u32 = u32::MAX;

core::arch::global_asm!(
    ".pushsection .tbss.mremap_shim_thread,\"awT\",%nobits",
    ".hidden mremap_shim_thread",
    ".globl mremap_shim_thread",
    ".type mremap_shim_thread, %object",
    ".size mremap_shim_thread, {size}",
    ".balign 16",
    "mremap_shim_thread:",
    ".zero {size}",
    ".popsection",
    size = const size_of::<Thread>(),
);

/// Calls `with` with the calling thread's bytes.
#[inline]
pub(crate) fn with_current<R>(with: impl FnOnce(&Thread) -> R) -> R {
    let thread: *const Thread;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the thread pointer and the symbol's offset from it; the loader has filled in the latter.
    unsafe {
        core::arch::asm!(
            "mov {thread}, qword ptr [rip + mremap_shim_thread@GOTTPOFF]",
            "add {thread}, qword ptr fs:[0]",
            thread = out(reg) thread,
            options(nostack, pure, readonly),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads the thread pointer and the symbol's offset from it; the loader has filled in the latter.
    unsafe {
        core::arch::asm!(
            "mrs {thread}, tpidr_el0",
            "adrp {offset}, :gottprel:mremap_shim_thread",
            "ldr {offset}, [{offset}, :gottprel_lo12:mremap_shim_thread]",
            "add {thread}, {thread}, {offset}",
            thread = out(reg) thread,
            offset = out(reg) _,
            options(nostack, pure, readonly),
        );
    }
    // SAFETY: the symbol is `size_of::<Thread>()` zeroed bytes of this thread's, aligned to 16, there for as
    // long as the thread is; zeros are a `Thread`, and no other thread refers to them.
    with(unsafe { &*thread })
}

/// The calling thread's number. A trace's first record asks for it; a fork's child begins another trace.
pub(crate) fn tid_in(epoch: u32) -> u32 {
    let known = with_current(|thread| (thread.epoch.get() == epoch).then(|| thread.tid.get()));
    match known {
        Some(tid) => tid,
        None if sandbox::is_filtered() => UNKNOWN_TID,
        None => sys::tid(),
    }
}

/// A number that no other thread has now, and that costs no system call; never 0.
pub(crate) fn own_number() -> u32 {
    with_current(|thread| ((&raw const *thread).addr() >> 4) as u32 | 1 << 30)
}
