//! What the program has done that makes VMAs worth a closer look than two cheap questions give. The hooks
//! leave the marks; a fork's child inherits them with the mappings.
//!
//! Registration with userfaultfd shows in `smaps` alone, which is too dear for processes that never made a
//! userfaultfd. A mapping whose driver places it itself shows by its name alone, which means a look into
//! `/proc`; memory needs none, and a process that has mapped no file since the last look has nothing new to
//! be found.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Written by the hooks of `syscall` and `ioctl`, as a byte.
pub(crate) static USERFAULTFD_MADE: AtomicBool = AtomicBool::new(false);

/// Written by the hooks of `mmap` and `syscall`, as a byte: [`FILE_MAPPED_ANEW`].
pub(crate) static FILES: AtomicU8 = AtomicU8::new(FILE_MAPPED_ANEW);

/// No file mapping of this process is placed by its driver.
const ALL_MOVABLE: u8 = 0;
/// A file was mapped since the last look. The loader has done so before anybody else.
pub(crate) const FILE_MAPPED_ANEW: u8 = 1;
/// The same, and a move has been made since: not a program that maps a file for each of its moves.
const WORTH_A_LOOK: u8 = 2;
/// Some are placed by their drivers, or nobody can tell.
const SOME_PLACED_BY_DRIVER: u8 = 3;

pub(crate) fn userfaultfd_made() -> bool {
    USERFAULTFD_MADE.load(Ordering::Relaxed)
}

/// Whether the VMAs of a move need their names. `look` tells whether some mapping of this process is placed
/// by its driver; it is asked when that is likely to spare later moves more than it costs now.
pub(crate) fn names_matter(look: impl FnOnce() -> bool) -> bool {
    match FILES.load(Ordering::Relaxed) {
        ALL_MOVABLE => false,
        WORTH_A_LOOK => {
            // Before the look: a file mapped meanwhile marks anew.
            let unmarked =
                FILES.compare_exchange(WORTH_A_LOOK, ALL_MOVABLE, Ordering::SeqCst, Ordering::Relaxed);
            let found = unmarked.is_err() || look();
            if found && unmarked.is_ok() {
                FILES.store(SOME_PLACED_BY_DRIVER, Ordering::Relaxed);
            }
            found
        }
        SOME_PLACED_BY_DRIVER => true,
        _ => {
            FILES.store(WORTH_A_LOOK, Ordering::Relaxed);
            true
        }
    }
}
