//! The limit on a process's mappings (`vm.max_map_count`). The kernel looks at it once, before a move, and wants
//! room for more than a move needs; our moves meet it once for each part. So that one which was let in is not
//! stopped half-way where the kernel would have gone on, two mappings are kept that can be given up.
//!
//! ```text
//!   | rw- | r-- | rw- | r-- | rw- |    the library's own memory; two mappings fewer once the middle is r--, too
//! ```

use core::sync::atomic::{AtomicU8, Ordering};

use mremap_plan::{Flags, Range, Request};

use crate::process::seccomp;
use crate::sys::cell::{LARGEST_PAGE, OwnPages};
use crate::sys::{self, Errno};

static SPARE: OwnPages<{ 3 * LARGEST_PAGE }> = OwnPages::new();

const NOT_KEPT: u8 = 0;
const KEPT: u8 = 1;
const GIVEN_UP: u8 = 2;
static STATE: AtomicU8 = AtomicU8::new(NOT_KEPT);

/// Sets the two mappings apart. Early, while there is room; for good. Mapped anew, since what was ever written,
/// and then forked, merges with nothing; and all of it readable, since leak checkers read it.
pub(crate) fn keep_spare() {
    let mapped = sys::map_untouched(SPARE.start(), size_of_val(&SPARE));
    if mapped.is_ok() {
        take_spare();
    }
}

fn take_spare() {
    if protect_middle(libc::PROT_READ | libc::PROT_WRITE) {
        STATE.store(KEPT, Ordering::Relaxed);
    }
}

/// A part of a move that was let in could not be moved: gives the spare mappings up, if the limit is why. Whether
/// it is worth another try. Only while moves are exclusive.
#[cold]
pub(crate) fn make_room() -> bool {
    // Under a filter nothing is called that could end the program.
    let made = !seccomp::is_filtered() && is_reached() && protect_middle(libc::PROT_READ);
    if made {
        STATE.store(GIVEN_UP, Ordering::Relaxed);
    }
    made
}

/// A part moves next. Once at the limit, its target is unmapped before: so has the kernel by the time when it
/// looks at its limit for a part, which is two mappings further than it wants to see before a move. Where the
/// part fails then, so would the kernel's.
#[inline]
pub(crate) fn prepare(target: Range) {
    if STATE.load(Ordering::Relaxed) == GIVEN_UP {
        sys::unmap(target.start as usize, target.len() as usize);
    }
}

/// The move is over: takes them back, if there is room.
pub(crate) fn take_back_spare() {
    if STATE.load(Ordering::Relaxed) == GIVEN_UP {
        STATE.store(NOT_KEPT, Ordering::Relaxed);
        take_spare();
    }
}

/// Whether the kernel would refuse any move for the limit. Asked by a move that can never be: a range of our
/// own that no VMA holds, which is found out after the limit was looked at (`mremap_to` before 6.17,
/// `do_mremap` since). Without `FIXED` it unmaps nothing either.
#[cold]
pub(crate) fn is_reached() -> bool {
    const FOUR_GIB: u64 = 1 << 32;
    if STATE.load(Ordering::Relaxed) != KEPT {
        return false;
    }
    let result = sys::mremap(&Request {
        old: middle() as u64,
        old_len: FOUR_GIB,
        new_len: FOUR_GIB,
        flags: Flags(Flags::MAYMOVE.0 | Flags::DONTUNMAP.0),
        new: 0,
    });
    result == Err(Errno(libc::ENOMEM))
}

fn middle() -> usize {
    SPARE.start() + LARGEST_PAGE
}

fn protect_middle(protection: i32) -> bool {
    sys::mprotect(middle(), LARGEST_PAGE, protection).is_ok()
}
