//! Who called: the return address of the hook.
//!
//! Stable Rust has no intrinsic for it. The workspace is built with frame pointers, so the hook's own
//! frames are a chain that leads to the first return address outside this library. Every link is checked
//! before it is followed: without frame pointers the answer is 0, never a fault.

use core::sync::atomic::{AtomicUsize, Ordering};

static TEXT_START: AtomicUsize = AtomicUsize::new(0);
static TEXT_END: AtomicUsize = AtomicUsize::new(0);

/// Our own frames on the way are few and small.
const MOST_FRAMES: usize = 6;
const LARGEST_FRAME: usize = 1024;

/// Remembers where this library's own code lies.
pub(crate) fn set_own_text(start: usize, end: usize) {
    TEXT_START.store(start, Ordering::Relaxed);
    TEXT_END.store(end, Ordering::Relaxed);
}

/// Address behind the call that led into this library, 0 when it cannot be told.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(crate) fn return_address() -> u64 {
    let (mut frame, mut below): (usize, usize);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads two registers.
    unsafe {
        core::arch::asm!("mov {}, rbp", "mov {}, rsp", out(reg) frame, out(reg) below, options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads two registers.
    unsafe {
        core::arch::asm!("mov {}, x29", "mov {}, sp", out(reg) frame, out(reg) below, options(nomem, nostack, preserves_flags));
    }
    let own = TEXT_START.load(Ordering::Relaxed)..TEXT_END.load(Ordering::Relaxed);
    for _ in 0..MOST_FRAMES {
        if frame < below || frame - below > LARGEST_FRAME || frame % size_of::<usize>() != 0 {
            return 0;
        }
        // SAFETY: `frame` lies at most LARGEST_FRAME above a live frame of this thread's stack, where the
        // caller's frame and the words that started the thread are.
        let [next, address] = unsafe { *(frame as *const [usize; 2]) };
        if !own.contains(&address) {
            return address as u64;
        }
        (below, frame) = (frame, next);
    }
    0
}
