//! The return address of a call into this library and, on demand, those of the frames above it.
//!
//! Stable Rust has no intrinsic for it. This library is compiled with frame pointers, so its own frames form
//! a chain up to the first return address outside it. Every link is checked before it is followed: in a
//! build without frame pointers the result is 0, never a fault.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::process::address_space::page_size;
use crate::sys::probe::{OneVma, is_one_vma};

static TEXT_START: AtomicUsize = AtomicUsize::new(0);
static TEXT_END: AtomicUsize = AtomicUsize::new(0);

/// Most frames of this library between its entry and [`find`].
const MOST_FRAMES: usize = 6;
/// Largest frame of this library, bytes.
const LARGEST_FRAME: usize = 1024;
/// Largest frame of the program that a walk steps over, bytes.
const LARGEST_FOREIGN_FRAME: usize = 1 << 16;

/// Sets the address range of this library's own code. At load.
pub(crate) fn set_own_text(start: usize, end: usize) {
    TEXT_START.store(start, Ordering::Relaxed);
    TEXT_END.store(end, Ordering::Relaxed);
}

/// Whether `address` is in this library's own code.
#[inline]
pub(crate) fn is_own_code(address: usize) -> bool {
    let start = TEXT_START.load(Ordering::Relaxed);
    // One unsigned comparison: the distance of an address below `start` wraps around.
    address.wrapping_sub(start) < TEXT_END.load(Ordering::Relaxed).wrapping_sub(start)
}

/// Where a call came from.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    /// Return address of the call into this library; 0 when unknown.
    pub(crate) address: u64,
    /// This library's outermost frame.
    frame: usize,
    /// Frame pointer that the caller left, not checked yet.
    above: usize,
}

/// Returns the caller of the function that this is inlined into.
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
        _ => find_above(below, frame),
    }
}

/// Steps over further frames of this library, which an unoptimised build has.
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

/// Reads the caller's frame pointer and the return address from the start of a frame of this library; `None`
/// when `frame` cannot be one.
#[inline(always)]
#[allow(clippy::inline_always)]
fn read_link(below: usize, frame: usize) -> Option<[usize; 2]> {
    // The distance of a frame below `below` wraps around.
    if frame.wrapping_sub(below) > LARGEST_FRAME || !frame.is_multiple_of(size_of::<usize>()) {
        return None;
    }
    // SAFETY: `frame` is at most LARGEST_FRAME above a live frame of this thread's stack. The stack reaches
    // that far: the caller's frame and the words that started the thread are above.
    Some(unsafe { *(frame as *const [usize; 2]) })
}

impl Caller {
    /// Calls `take` with each return address above the caller's, innermost first, until it returns false. A
    /// frame is read only if one VMA holds it and this library's own frame, so a garbage frame pointer
    /// ends the walk.
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
            // SAFETY: one VMA holds this library's own live frame and all of this one.
            let [above, address] = unsafe { *(frame as *const [usize; 2]) };
            if address == 0 || !take(address as u64) {
                return;
            }
            (below, frame) = (frame, above);
        }
    }
}
