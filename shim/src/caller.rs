//! Who called: the return address of the hook, and where asked for those above it.
//!
//! Stable Rust has no intrinsic for it. The workspace is built with frame pointers, so the hook's own
//! frames are a chain that leads to the first return address outside this library. Every link is checked
//! before it is followed: without frame pointers the answer is 0, never a fault.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::discover::{OneVma, is_one_vma, page_size};

static TEXT_START: AtomicUsize = AtomicUsize::new(0);
static TEXT_END: AtomicUsize = AtomicUsize::new(0);

/// Our own frames on the way are few and small.
const MOST_FRAMES: usize = 6;
const LARGEST_FRAME: usize = 1024;
/// Frames of the program's own are let be this large.
const LARGEST_FOREIGN_FRAME: usize = 1 << 16;

/// Remembers where this library's own code lies.
pub(crate) fn set_own_text(start: usize, end: usize) {
    TEXT_START.store(start, Ordering::Relaxed);
    TEXT_END.store(end, Ordering::Relaxed);
}

/// Whether an address lies in this library's own code.
pub(crate) fn is_own_code(address: usize) -> bool {
    (TEXT_START.load(Ordering::Relaxed)..TEXT_END.load(Ordering::Relaxed)).contains(&address)
}

/// A call's origin.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    /// Address behind the call that led into this library, 0 when it cannot be told.
    pub(crate) address: u64,
    /// Our outermost frame, and what its caller left in the frame pointer, checked by nobody yet.
    frame: usize,
    above: usize,
}

/// Finds the caller of the function this is inlined into.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(crate) fn find() -> Caller {
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
            break;
        }
        // SAFETY: `frame` lies at most LARGEST_FRAME above a live frame of this thread's stack, where the
        // caller's frame and the words that started the thread are.
        let [above, address] = unsafe { *(frame as *const [usize; 2]) };
        if !own.contains(&address) {
            return Caller {
                address: address as u64,
                frame,
                above,
            };
        }
        (below, frame) = (frame, above);
    }
    Caller {
        address: 0,
        frame: 0,
        above: 0,
    }
}

impl Caller {
    /// Calls `take` with each return address above the caller's own, innermost first, as long as it returns
    /// true. A frame is read only once the kernel has said that it lies in one VMA with our own, live one: a
    /// garbage frame pointer ends the walk.
    pub(crate) fn walk_up(&self, mut take: impl FnMut(u64) -> bool) {
        let page = page_size() as usize;
        let bottom = self.frame & !(page - 1);
        let mut readable_end = bottom + page;
        let (mut below, mut frame) = (self.frame, self.above);
        while frame > below && frame - below <= LARGEST_FOREIGN_FRAME && frame % size_of::<usize>() == 0 {
            let end = frame + size_of::<[usize; 2]>();
            if end > readable_end {
                let wanted = (end + page - 1) & !(page - 1);
                if is_one_vma(bottom as u64, (wanted - bottom) as u64) != OneVma::Yes {
                    return;
                }
                readable_end = wanted;
            }
            // SAFETY: the kernel has just said that one VMA reaches from our own frame to behind this one.
            let [above, address] = unsafe { *(frame as *const [usize; 2]) };
            if address == 0 || !take(address as u64) {
                return;
            }
            (below, frame) = (frame, above);
        }
    }
}
