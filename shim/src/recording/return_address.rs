//! The return address of a call into this library and, on demand, those of the frames above it.
//!
//! Stable Rust has no intrinsic for it. This library is compiled with frame pointers, so its own
//! frames form a chain up to the first return address outside it. Every link is checked before it
//! is followed: in a build without frame pointers the result is 0, never a fault.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::process::address_space::page_size;
use crate::process::seccomp;
use crate::sys;

static TEXT_START: AtomicUsize = AtomicUsize::new(0);
static TEXT_END: AtomicUsize = AtomicUsize::new(0);

/// Limit on frames of this library between its entry and [`find`].
const MAX_FRAMES: usize = 6;
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
    for _ in 0..MAX_FRAMES {
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

/// Reads the caller's frame pointer and the return address from the start of a frame of this
/// library; `None` when `frame` cannot be one.
#[inline(always)]
#[allow(clippy::inline_always)]
fn read_link(below: usize, frame: usize) -> Option<[usize; 2]> {
    // The distance of a frame below `below` wraps around.
    if frame.wrapping_sub(below) > LARGEST_FRAME || !frame.is_multiple_of(size_of::<usize>()) {
        return None;
    }
    // SAFETY: `frame` is at most LARGEST_FRAME above a live frame of this thread's stack. The stack
    // reaches that far: the caller's frame and the words that started the thread are above.
    Some(unsafe { *(frame as *const [usize; 2]) })
}

impl Caller {
    /// Calls `take` with each return address above the caller's, innermost first, until it returns
    /// false. Without frame pointers the chain leads anywhere, even to a guard page: the walk ends
    /// where memory cannot be read.
    pub(crate) fn walk_up(&self, mut take: impl FnMut(u64) -> bool) {
        let mut stack = StackWindow::of(self.frame);
        let (mut below, mut frame) = (self.frame, self.above);
        while frame > below
            && frame - below <= LARGEST_FOREIGN_FRAME
            && frame.is_multiple_of(size_of::<usize>())
            && let Some([above, address]) = stack.link_at(frame)
            && address != 0
            && take(address as u64)
        {
            (below, frame) = (frame, above);
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Caller {
    /// Returns the caller's stack pointer once the call has returned, and its frame pointer. `None`
    /// where the caller is unknown.
    pub(crate) fn registers(&self) -> Option<[usize; 2]> {
        (self.address != 0).then(|| [self.frame + size_of::<[usize; 2]>(), self.above])
    }

    /// Calls `take` with the words of the stack above the call, in the order of addresses, until it
    /// returns false, memory cannot be read, or `most` words were taken.
    pub(crate) fn words_up(&self, max: usize, mut take: impl FnMut(usize) -> bool) {
        let mut stack = StackWindow::of(self.frame);
        let first = self.frame + size_of::<[usize; 2]>();
        for index in 0..max {
            match stack.link_at(first + index * size_of::<usize>()) {
                Some([word, _]) if take(word) => {}
                _ => return,
            }
        }
    }
}

/// The stack above a live frame. The page of that frame is read directly, since it cannot be
/// unreadable in part; further up the kernel reads, a few frames with one system call.
struct StackWindow {
    page_end: usize,
    start: usize,
    len: usize,
    words: [usize; 256],
}

impl StackWindow {
    /// `frame` is that of a function which has not returned.
    fn of(frame: usize) -> Self {
        let page = page_size() as usize;
        Self { page_end: (frame & !(page - 1)) + page, start: 0, len: 0, words: [0; 256] }
    }

    /// Reads the two words at an aligned address above the live frame; `None` where they cannot be
    /// read. Under a filter, which may not admit the system call, only the frame's page can be.
    fn link_at(&mut self, address: usize) -> Option<[usize; 2]> {
        if address + size_of::<[usize; 2]>() <= self.page_end {
            // SAFETY: aligned, above a live frame of this thread, and in the same page.
            return Some(unsafe { *(address as *const [usize; 2]) });
        }
        let known = self.index_of(address);
        let index = if known.is_some() { known } else { self.read_from(address) }?;
        Some([*self.words.get(index)?, *self.words.get(index + 1)?])
    }

    /// Index of two words that are in the window.
    fn index_of(&self, address: usize) -> Option<usize> {
        let index = address.checked_sub(self.start)? / size_of::<usize>();
        (index + 2 <= self.len).then_some(index)
    }

    #[cold]
    fn read_from(&mut self, address: usize) -> Option<usize> {
        if seccomp::is_filtered() {
            return None;
        }
        self.start = address;
        self.len = sys::read_own_memory(address, &mut self.words).unwrap_or(0);
        self.index_of(address)
    }
}
