//! Whether this kernel has the multi-VMA move: found by trying it once, on pages of our own, at the first
//! move. Version numbers do not tell, since vendors backport.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use mremap_plan::{Flags, Range, Request};
pub(crate) use mremap_trace::Capability;

use crate::emulate::move_lock::Exclusive;
use crate::process::diagnostics;
use crate::recording::ring;
use crate::sys::cell::{LARGEST_PAGE, OwnPages};
use crate::sys::{self, Errno};

static FOUND: AtomicU8 = AtomicU8::new(0);
static TRIED: AtomicBool = AtomicBool::new(false);

/// Pages to try on.
static PAGES: OwnPages<{ 6 * LARGEST_PAGE }> = OwnPages::new();

/// What this kernel can do, tried on the first call. A trial that failed for another reason (the limit on
/// mappings) leaves [`Capability::Unknown`]: emulating is right on every kernel.
pub(crate) fn of_kernel() -> Capability {
    match found() {
        Capability::Unknown => try_once(),
        found => found,
    }
}

fn found() -> Capability {
    Capability::from_raw(FOUND.load(Ordering::Relaxed).into()).unwrap_or_default()
}

/// ```text
///   page 1      page 2              page 4      page 5
///  | r--     |  rw-     |   --->   | r--     |  rw-     |
/// ```
fn try_once() -> Capability {
    let _exclusive = Exclusive::enter();
    let found = found();
    if found != Capability::Unknown {
        return found;
    }
    // Once: a trial that failed half-way may have left a hole, where something of the program's lies by now.
    if TRIED.swap(true, Ordering::Relaxed) {
        return Capability::Unknown;
    }
    let first = PAGES.start() + LARGEST_PAGE;
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
    let capability = match tried {
        Ok(_) => Capability::MultiVma,
        Err(Errno::EFAULT) => Capability::OneVma,
        Err(_) => return Capability::Unknown,
    };
    FOUND.store(capability as u8, Ordering::Relaxed);
    ring::note_capability(capability);
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
    let start = PAGES.start() as u64;
    Range { start, end: start + size_of_val(&PAGES) as u64 }
}
