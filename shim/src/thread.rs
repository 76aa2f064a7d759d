//! The few bytes each thread has of its own: which chunk of the trace it fills.
//!
//! Initial-exec thread-local storage, reached by two instructions: no call to `__tls_get_addr`, which may
//! allocate at a thread's first access, and no destructor. Stable Rust's `thread_local!` gives neither, hence
//! the assembly. A library that is loaded with its program always has room for it.

use core::cell::Cell;

/// A thread's bytes; zero when the thread starts, and copied by `fork`.
#[repr(C)]
pub(crate) struct Thread {
    /// Number of the trace that `chunk` belongs to; 0 for none.
    pub(crate) epoch: Cell<u32>,
    /// The chunk this thread fills.
    pub(crate) chunk: Cell<u32>,
}

core::arch::global_asm!(
    ".pushsection .tbss.mremap_shim_thread,\"awT\",%nobits",
    ".hidden mremap_shim_thread",
    ".globl mremap_shim_thread",
    ".type mremap_shim_thread, %object",
    ".size mremap_shim_thread, {size}",
    ".balign 8",
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
    // SAFETY: the symbol is `size_of::<Thread>()` zeroed bytes of this thread's, aligned to 8, there for as
    // long as the thread is; zeros are a `Thread`, and no other thread refers to them.
    with(unsafe { &*thread })
}
