//! Who called: the return address of the hook, and where asked for those above it.
//!
//! Stable Rust has no intrinsic for it. The workspace is built with frame pointers, so the hook's own
//! frames are a chain that leads to the first return address outside this library. Every link is checked
//! before it is followed: without frame pointers the answer is 0, never a fault.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::process::address_space::page_size;
use crate::sys::probe::{OneVma, is_one_vma};

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
#[inline]
pub(crate) fn is_own_code(address: usize) -> bool {
    let start = TEXT_START.load(Ordering::Relaxed);
    // Unsigned: an address below is a distance that wraps.
    address.wrapping_sub(start) < TEXT_END.load(Ordering::Relaxed).wrapping_sub(start)
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
    let (frame, below): (usize, usize);
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
    match read_link(below, frame) {
        Some([above, address]) if !is_own_code(address) => {
            Caller { address: address as u64, frame, above }
        }
        _ => {
            let Caller { address, frame, above } = find_above(below, frame);
            Caller { address, frame, above }
        }
    }
}

/// The same behind more frames of our own, as an unoptimised build has.
#[cold]
#[inline(never)]
fn find_above(mut below: usize, mut frame: usize) -> Caller {
    for _ in 0..MOST_FRAMES {
        let Some([above, address]) = read_link(below, frame) else {
            break;
        };
        if !is_own_code(address) {
            return Caller { address: address as u64, frame, above };
        }
        (below, frame) = (frame, above);
    }
    Caller { address: 0, frame: 0, above: 0 }
}

/// The caller's frame and the return address that a frame of ours begins with.
#[inline(always)]
#[allow(clippy::inline_always)]
fn read_link(below: usize, frame: usize) -> Option<[usize; 2]> {
    // A frame below `below` is a distance that wraps.
    if frame.wrapping_sub(below) > LARGEST_FRAME || !frame.is_multiple_of(size_of::<usize>()) {
        return None;
    }
    // SAFETY: `frame` lies at most LARGEST_FRAME above a live frame of this thread's stack, where the
    // caller's frame and the words that started the thread are.
    Some(unsafe { *(frame as *const [usize; 2]) })
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
        while frame > below
            && frame - below <= LARGEST_FOREIGN_FRAME
            && frame % size_of::<usize>() == 0
        {
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
