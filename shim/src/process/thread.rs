//! The few bytes each thread has of its own: its number, and which chunk of the trace it fills.
//!
//! Initial-exec thread-local storage, reached by two instructions: no call to `__tls_get_addr`, which may
//! allocate at a thread's first access, and no destructor. Stable Rust's `thread_local!` gives neither, hence
//! the assembly. A library that is loaded with its program always has room for it.

use core::cell::Cell;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use mremap_trace::layout::{SLOT_WORDS, SLOTS_PER_CHUNK};

use crate::process::seccomp;
use crate::sys;

/// A chunk of the trace where it is mapped.
pub(crate) type Slots = [[AtomicU64; SLOT_WORDS]; SLOTS_PER_CHUNK as usize];

/// A thread's bytes; zero when the thread starts, and copied by `fork`.
#[repr(C)]
pub(crate) struct Thread {
    /// The chunk this thread fills, if there is one.
    pub(crate) chunk: Cell<Option<&'static Slots>>,
    /// Number of the chunk.
    pub(crate) number: Cell<u32>,
    /// Number of the trace that the rest belongs to; 0 for none.
    pub(crate) epoch: Cell<u32>,
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

/// The calling thread's bytes. They must stay with the thread, whence no `Send` or `Sync`.
#[inline]
pub(crate) fn current() -> &'static Thread {
    let thread: *const Thread;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the thread pointer and the symbol's offset from it; the loader has filled in the latter.
    // Neither changes while a function runs (`nomem`), so that one look serves it.
    unsafe {
        core::arch::asm!(
            "mov {thread}, qword ptr [rip + mremap_shim_thread@GOTTPOFF]",
            "add {thread}, qword ptr fs:[0]",
            thread = out(reg) thread,
            options(nostack, pure, nomem),
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
            options(nostack, pure, nomem),
        );
    }
    // SAFETY: the symbol is `size_of::<Thread>()` zeroed bytes of this thread's, aligned to 16, there for as
    // long as the thread is; zeros are a `Thread`, and no other thread refers to them.
    unsafe { &*thread }
}

/// glibc's `__libc_single_threaded` (since 2.32): not 0 while the process has but one thread. Null where libc does
/// not tell.
pub(crate) static SINGLE_THREADED: AtomicPtr<core::ffi::c_void> =
    AtomicPtr::new(core::ptr::null_mut());

/// Whether no other thread of this process is there. libc does not know threads that it did not make.
pub(crate) fn is_the_only_one() -> bool {
    let known = SINGLE_THREADED.load(Ordering::Relaxed).cast::<u8>();
    // SAFETY: null, or libc's variable of this name, a byte that is there for ever. Volatile: libc writes it.
    !known.is_null() && unsafe { known.read_volatile() } != 0
}

/// The calling thread's number. A trace's first record asks for it; a fork's child begins another trace.
pub(crate) fn tid_in(epoch: u32) -> u32 {
    let thread = current();
    if thread.epoch.get() == epoch {
        thread.tid.get()
    } else if seccomp::is_filtered() {
        UNKNOWN_TID
    } else {
        sys::tid()
    }
}

/// A number that no other thread has now, and that costs no system call; never 0.
pub(crate) fn own_number() -> u32 {
    ((&raw const *current()).addr() >> 4) as u32 | 1 << 30
}
