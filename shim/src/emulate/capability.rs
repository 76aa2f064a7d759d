//! Whether this kernel has the multi-VMA move: found by trying it once, on pages of our own, at the first
//! move. Version numbers do not tell, since vendors backport.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use mremap_plan::{Flags, Range, Request};

use crate::emulate::move_lock::Exclusive;
use crate::process::diagnostics;
use crate::recording::ring;
use crate::sys;

/// What the trial found. The numbers are those of the trace's header.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Capability {
    /// The trial could not be made, or not yet.
    Unknown = 0,
    /// The kernel moves one VMA at a time.
    OneVma = 1,
    /// The kernel moves several.
    MultiVma = 2,
}

static FOUND: AtomicU8 = AtomicU8::new(0);
static TRIED: AtomicBool = AtomicBool::new(false);

/// The largest page size served.
const LARGEST_PAGE: usize = 65536;

/// Pages to try on, touched by nobody before or after. In `.bss`, because under `RLIMIT_AS` nothing could
/// be mapped anew.
#[repr(C, align(65536))]
struct TrialPages(UnsafeCell<[u8; 6 * LARGEST_PAGE]>);

// SAFETY: nothing ever reads or writes these bytes; only their mappings are used, by one thread at a time.
unsafe impl Sync for TrialPages {}

static PAGES: TrialPages = TrialPages(UnsafeCell::new([0; 6 * LARGEST_PAGE]));

/// What this kernel can do, tried on the first call. A trial that failed for another reason (the limit on
/// mappings) leaves [`Capability::Unknown`]: emulating is right on every kernel.
pub(crate) fn of_kernel() -> Capability {
    match FOUND.load(Ordering::Relaxed) {
        0 => try_once(),
        1 => Capability::OneVma,
        _ => Capability::MultiVma,
    }
}

/// ```text
///   page 1      page 2              page 4      page 5
///  | r--     |  rw-     |   --->   | r--     |  rw-     |
/// ```
fn try_once() -> Capability {
    let _exclusive = Exclusive::enter();
    match FOUND.load(Ordering::Relaxed) {
        0 => {}
        1 => return Capability::OneVma,
        _ => return Capability::MultiVma,
    }
    // Once: a trial that failed half-way may have left a hole, where something of the program's lies by now.
    if TRIED.swap(true, Ordering::Relaxed) {
        return Capability::Unknown;
    }
    let first = PAGES.0.get().addr() + LARGEST_PAGE;
    if sys::mprotect(first, LARGEST_PAGE, libc::PROT_READ).is_err() {
        return Capability::Unknown;
    }
    let len = 2 * LARGEST_PAGE as u64;
    let tried = sys::mremap(&Request {
        old: first as u64,
        old_len: len,
        new_len: len,
        flags: Flags(Flags::MAYMOVE.0 | Flags::FIXED.0),
        new: (first + 3 * LARGEST_PAGE) as u64,
    });
    restore(first);
    let capability = if tried >= 0 {
        Capability::MultiVma
    } else if tried == -(libc::EFAULT as isize) {
        Capability::OneVma
    } else {
        return Capability::Unknown;
    };
    FOUND.store(capability as u8, Ordering::Relaxed);
    ring::note_capability(capability as u32);
    diagnostics::inform(
        match capability {
            Capability::MultiVma => {
                "this kernel moves several VMAs in one mremap: nothing to emulate"
            }
            _ => "this kernel moves one VMA at a time: moves of several are emulated",
        },
        "",
        None,
    );
    capability
}

/// Maps again what the trial unmapped, as it was: leak checkers read all of a library's memory.
fn restore(first: usize) {
    for start in [first, first + 3 * LARGEST_PAGE] {
        sys::map_zeros_if_free(start, 2 * LARGEST_PAGE);
        let _ = sys::mprotect(start, 2 * LARGEST_PAGE, libc::PROT_READ | libc::PROT_WRITE);
    }
}

/// Where the trial is made. For an instant there was a hole in it, so that something of the program's may lie there
/// since.
pub(crate) fn trial_pages() -> Range {
    let start = PAGES.0.get().addr() as u64;
    Range { start, end: start + size_of::<TrialPages>() as u64 }
}
