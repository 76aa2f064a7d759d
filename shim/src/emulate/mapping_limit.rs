//! The limit on a process's mappings (`vm.max_map_count`). The kernel checks it once before a move,
//! with room to spare; an emulated move may reach it at each part. Three spare mappings are kept.
//! They are given up so that a move which the kernel would have admitted does not stop half-way.
//!
//! ```text
//!   | rw- | r-- | rw- | r-- | rw- |    three mappings fewer once all of the middle is r--
//!          <-- of this library -->
//! ```

use core::sync::atomic::{AtomicU8, Ordering};

use mremap_plan::{Flags, Range, Request};

use crate::process::seccomp;
use crate::sys::cell::{LARGEST_PAGE, OwnPages};
use crate::sys::{self, Errno};

static SPARE: OwnPages<{ 4 * LARGEST_PAGE }> = OwnPages::new();

const NOT_KEPT: u8 = 0;
const KEPT: u8 = 1;
const GIVEN_UP: u8 = 2;
static STATE: AtomicU8 = AtomicU8::new(NOT_KEPT);

/// Makes the spare mappings, at load, while there is room. The pages are mapped anew, since memory
/// that was written and then forked would not merge, and readable, since leak checkers read them.
pub(crate) fn keep_spare() {
    let flags = libc::MAP_FIXED | libc::MAP_NORESERVE;
    if sys::map_untouched(SPARE.start(), size_of_val(&SPARE), flags).is_ok() {
        take_spare();
    }
}

fn take_spare() {
    let page = |number| SPARE.start() + number * LARGEST_PAGE;
    let set_apart =
        |start| sys::mprotect(start, LARGEST_PAGE, libc::PROT_READ | libc::PROT_WRITE).is_ok();
    if set_apart(page(1)) && set_apart(page(3)) {
        STATE.store(KEPT, Ordering::Relaxed);
    }
}

fn give_up_spare() -> bool {
    sys::mprotect(SPARE.start(), size_of_val(&SPARE), libc::PROT_READ).is_ok()
}

/// Gives up the spare mappings if the limit is why a part could not be moved. Returns whether to
/// try the part again. Only under the move lock.
#[cold]
pub(crate) fn make_room() -> bool {
    // A filter might kill for `mprotect`.
    let made = !seccomp::is_filtered() && is_reached() && give_up_spare();
    if made {
        STATE.store(GIVEN_UP, Ordering::Relaxed);
    }
    made
}

/// Replaces what is mapped at the target of the next part by one mapping, once the spare mappings
/// are given up. The kernel has unmapped the target by the time that it checks the limit for a
/// part; here it stays reserved, and counts as the third spare mapping.
#[inline]
pub(crate) fn prepare(target: Range) {
    if STATE.load(Ordering::Relaxed) == GIVEN_UP {
        let (start, len) = (target.start as usize, target.len() as usize);
        let _ = sys::map_untouched(start, len, libc::MAP_FIXED | libc::MAP_NORESERVE);
    }
}

/// Unmaps what [`prepare`] has mapped, after a part that could not be moved even so: the kernel
/// checks the limit before it unmaps the target.
pub(crate) fn abandon(target: Range) {
    if STATE.load(Ordering::Relaxed) == GIVEN_UP {
        sys::unmap(target.start as usize, target.len() as usize);
    }
}

/// Whether the spare mappings are given up.
pub(super) fn is_near() -> bool {
    STATE.load(Ordering::Relaxed) == GIVEN_UP
}

/// Takes the spare mappings back after a move, if there is room.
pub(crate) fn take_back_spare() {
    if STATE.load(Ordering::Relaxed) == GIVEN_UP {
        STATE.store(NOT_KEPT, Ordering::Relaxed);
        take_spare();
    }
}

/// Whether the kernel would refuse any move because of the limit. Tries a move that cannot succeed,
/// since its source is unmapped: the kernel sees that only after it has checked the limit
/// (`mremap_to` before 6.17, `do_mremap` since). Without `MREMAP_FIXED` it unmaps nothing.
#[cold]
pub(crate) fn is_reached() -> bool {
    const FOUR_GIB: u64 = 1 << 32;
    if STATE.load(Ordering::Relaxed) != KEPT || seccomp::is_filtered() {
        return false;
    }
    let result = sys::mremap(&Request {
        old: (SPARE.start() + LARGEST_PAGE) as u64,
        old_len: FOUR_GIB,
        new_len: FOUR_GIB,
        flags: Flags(Flags::MAYMOVE.0 | Flags::DONTUNMAP.0),
        new: 0,
    });
    result == Err(Errno(libc::ENOMEM))
}
