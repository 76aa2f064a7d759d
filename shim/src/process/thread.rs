//! Thread-local storage: the chunk of the trace that a thread fills, its id, and whether it is
//! filtered.
//!
//! The model is initial-exec, which takes two instructions. The general one calls `__tls_get_addr`,
//! which may allocate at a thread's first access. `thread_local!` has neither this model nor a type
//! without destructor, hence the assembly. A library that is loaded with the program always gets
//! its space.
//!
//! musl gives static storage to no library that is loaded later, and dynamic storage to all threads
//! while it loads one: there an access never allocates. The library that `attach` loads into a
//! program linked with musl (`dynamic-tls`) asks for its storage by a TLS descriptor, which is a
//! call of a function of the loader.

use core::cell::Cell;
use core::sync::atomic::AtomicU64;

use mremap_trace::layout::{SLOT_WORDS, SLOTS_PER_CHUNK};

use crate::process::fork_state::EXPOSED;

/// A mapped chunk of the trace.
pub(crate) type Slots = [[AtomicU64; SLOT_WORDS]; SLOTS_PER_CHUNK as usize];

/// Storage of one thread. All zeros when the thread starts; copied by `fork`.
#[repr(C)]
pub(crate) struct Thread {
    /// The chunk that this thread fills.
    pub(crate) chunk: Cell<Option<&'static Slots>>,
    /// The number of that chunk.
    pub(crate) number: Cell<u32>,
    /// Epoch of the trace that the chunk and `tid` belong to; 0 for none.
    pub(crate) epoch: Cell<u32>,
    /// The thread id.
    pub(crate) tid: Cell<u32>,
    /// What `process::seccomp` knows of this thread.
    pub(crate) standing: Cell<Standing>,
    /// Records of this epoch that were stored in shared chunks. See `recording::ring::claims`.
    pub(crate) shared: Cell<u8>,
    /// Mark of the call that this thread is forwarding; 0 for none. See `hooks::real`.
    pub(crate) passed_on: Cell<u64>,
}

/// Whether a thread is under a seccomp filter.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Standing {
    /// The thread has not been seen.
    #[allow(dead_code)] // what zeroed storage holds
    Unknown = 0,
    /// No filter was installed when the thread was first seen.
    Free = 1,
    /// The thread has installed a filter.
    Filtered = 2,
}

/// Recorded instead of a thread id when `gettid` is not allowed.
pub(crate) const UNKNOWN_TID: u32 = u32::MAX;

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

/// The calling thread's storage.
#[inline]
pub(crate) fn current() -> &'static Thread {
    let thread: *const Thread;
    #[cfg(all(target_arch = "x86_64", feature = "dynamic-tls"))]
    // SAFETY: the loader has filled in the descriptor. Its function changes no register but `rax`
    // and the flags, and has a stack, since `nostack` is not promised. The result stays the same
    // while a function runs (`nomem`).
    unsafe {
        core::arch::asm!(
            "lea rax, [rip + mremap_shim_thread@TLSDESC]",
            "call qword ptr [rax + mremap_shim_thread@TLSCALL]",
            "add rax, qword ptr fs:[0]",
            out("rax") thread,
            options(pure, nomem),
        );
    }
    #[cfg(all(target_arch = "x86_64", not(feature = "dynamic-tls")))]
    // SAFETY: reads the thread pointer and the symbol's offset from it, which the loader has filled
    // in. Neither changes while a function runs (`nomem`).
    unsafe {
        core::arch::asm!(
            "mov {thread}, qword ptr [rip + mremap_shim_thread@GOTTPOFF]",
            "add {thread}, qword ptr fs:[0]",
            thread = out(reg) thread,
            options(nostack, pure, nomem),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads the thread pointer and the symbol's offset from it, which the loader has filled
    // in.
    unsafe {
        core::arch::asm!(
            "mrs {thread}, tpidr_el0",
            "adrp {offset}, :gottprel:mremap_shim_thread",
            "ldr {offset}, [{offset}, :gottprel_lo12:mremap_shim_thread]",
            "add {thread}, {thread}, {offset}",
            thread = out(reg) thread,
            offset = out(reg) _,
            options(nostack, pure, nomem),
        );
    }
    // SAFETY: the symbol is `size_of::<Thread>()` bytes of this thread, zeroed at first, aligned to
    // 16 and valid as long as the thread runs. Zeros are a `Thread`. It is not `Sync`, so no other
    // thread refers to it.
    unsafe { &*thread }
}

/// Bit of [`own_number`] that no thread id has. Bits 29 and 31 are left free for a lock's marks.
pub(crate) const NOT_A_TID: u32 = 1 << 30;

/// Identifies the calling thread among those that run, without a system call. Never 0.
pub(crate) fn own_number() -> u32 {
    ((&raw const *current()).addr() >> 4) as u32 & (EXPOSED - 1) | NOT_A_TID
}
