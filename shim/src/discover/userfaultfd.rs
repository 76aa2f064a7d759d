//! Whether some VMA of this process may be registered with userfaultfd. That shows in `smaps` alone, which is
//! too dear for processes that never made a userfaultfd: nearly all.
//!
//! There is no libc function for it. A userfaultfd comes from `syscall` or from an `ioctl`, whose hooks leave
//! the mark; a fork's child inherits the mark with the registrations.

use core::sync::atomic::{AtomicBool, Ordering};

/// Written by the hooks of `syscall` and `ioctl` as a byte.
pub(crate) static IS_POSSIBLE: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_possible() -> bool {
    IS_POSSIBLE.load(Ordering::Relaxed)
}
