//! Marks that the hooks leave when the program does something that makes probing insufficient for
//! later moves. Children of `fork` inherit them with the mappings.
//!
//! Registration with userfaultfd is visible only in `smaps`, which is too expensive for a process
//! that never made a userfaultfd. A mapping that its driver places is visible only by its name in
//! `/proc`. Only files have such drivers, so a process that has mapped no file since the last check
//! needs no other.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Set by the hooks of `syscall` and `ioctl`, as a byte.
pub(crate) static USERFAULTFD_MADE: AtomicBool = AtomicBool::new(false);

/// Set by the hooks of `mmap`, `shmat` and `syscall`, as a byte, to [`FILE_MAPPED`].
pub(crate) static FILES: AtomicU8 = AtomicU8::new(FILE_MAPPED);

/// Result of a check of all file mappings of this process.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Files {
    /// None is placed by its driver.
    AllMovable = 4,
    /// Some are, or `/proc` cannot be read.
    SomePlacedByDriver = 3,
}

/// A file was mapped since the last check. The loader does so before any code of ours runs.
pub(crate) const FILE_MAPPED: u8 = 1;
/// The same, and the process has moved memory since without mapping another file: a check is worth
/// its cost.
const WORTH_A_CHECK: u8 = 2;
/// A check is in progress, or was when this process was forked.
const CHECKING: u8 = 5;
const ALL_MOVABLE: u8 = Files::AllMovable as u8;
const SOME_PLACED_BY_DRIVER: u8 = Files::SomePlacedByDriver as u8;

/// Whether the process has made a userfaultfd.
pub(crate) fn userfaultfd_made() -> bool {
    USERFAULTFD_MADE.load(Ordering::Relaxed)
}

/// Whether the names of the VMAs of this move matter. `check` looks at all file mappings; it is
/// called when it is likely to save later moves more than it costs.
pub(crate) fn names_matter(check: impl FnOnce() -> Files) -> bool {
    match FILES.load(Ordering::Relaxed) {
        ALL_MOVABLE => false,
        known @ (WORTH_A_CHECK | CHECKING) => {
            // Marked before the check, so that a file mapped during it is not missed.
            let marked =
                FILES.compare_exchange(known, CHECKING, Ordering::SeqCst, Ordering::Relaxed);
            let found = marked.map_or(Files::SomePlacedByDriver, |_| check());
            let _ =
                FILES.compare_exchange(CHECKING, found as u8, Ordering::SeqCst, Ordering::Relaxed);
            found == Files::SomePlacedByDriver
        }
        SOME_PLACED_BY_DRIVER => true,
        _ => {
            FILES.store(WORTH_A_CHECK, Ordering::Relaxed);
            true
        }
    }
}

/// Assumes all of it: the process ran before this library was loaded, and its calls of these
/// functions are not seen.
pub(crate) fn assume_all() {
    USERFAULTFD_MADE.store(true, Ordering::Relaxed);
    FILES.store(SOME_PLACED_BY_DRIVER, Ordering::Relaxed);
}
