//! The limit on a process's mappings (`vm.max_map_count`). The kernel checks it once before a move,
//! with room to spare; an emulated move meets it at each part. Two mappings are kept that can be
//! given up, so that a move which the kernel would have let in does not stop half-way.
//!
//! ```text
//!   | rw- | r-- | rw- | r-- | rw- |    two mappings fewer once the middle is r--
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

/// Sets the two mappings apart, at load, while there is room. The pages are mapped anew, since
/// memory that was written and then forked would not merge; and readable, since leak checkers read
/// them.
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

/// Gives the spare mappings up if the limit is why a part could not be moved. True when the part is
/// worth another try. Only under the move lock.
#[cold]
pub(crate) fn make_room() -> bool {
    // A filter might kill for `mprotect`.
    let made = !seccomp::is_filtered() && is_reached() && protect_middle(libc::PROT_READ);
    if made {
        STATE.store(GIVEN_UP, Ordering::Relaxed);
    }
    made
}

/// Unmaps the target of the next part once the spare mappings are given up. The kernel's own move
/// has unmapped it, too, when it checks the limit for a part; where the part fails then, so would
/// the kernel's.
#[inline]
pub(crate) fn prepare(target: Range) {
    if STATE.load(Ordering::Relaxed) == GIVEN_UP {
        sys::unmap(target.start as usize, target.len() as usize);
    }
}

/// Takes the spare mappings back after a move, if there is room.
pub(crate) fn take_back_spare() {
    if STATE.load(Ordering::Relaxed) == GIVEN_UP {
        STATE.store(NOT_KEPT, Ordering::Relaxed);
        take_spare();
    }
}

/// Whether the kernel would refuse any move because of the limit. Tries a move that can never
/// succeed: its source is a range of our own that no VMA holds, which the kernel finds out after it
/// has checked the limit (`mremap_to` before 6.17, `do_mremap` since). Without `MREMAP_FIXED` it
/// unmaps nothing.
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
