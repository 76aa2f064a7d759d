//! What the program has done that makes VMAs worth a closer look than two cheap questions give. The
//! hooks leave the marks; a fork's child inherits them with the mappings.
//!
//! Registration with userfaultfd shows in `smaps` alone, which is too dear for processes that never
//! made a userfaultfd. A mapping whose driver places it itself shows by its name alone, which means
//! a look into `/proc`; memory needs none, and a process that has mapped no file since the last
//! look has nothing new to be found.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Written by the hooks of `syscall` and `ioctl`, as a byte.
pub(crate) static USERFAULTFD_MADE: AtomicBool = AtomicBool::new(false);

/// Written by the hooks of `mmap`, `shmat` and `syscall`, as a byte: [`FILE_MAPPED_ANEW`].
pub(crate) static FILES: AtomicU8 = AtomicU8::new(FILE_MAPPED_ANEW);

/// What a look at the file mappings of this process has found.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Files {
    /// All may move with others.
    AllMovable = 4,
    /// Some are placed by their drivers, or nobody can tell.
    SomePlacedByDriver = 3,
}

/// A file was mapped since the last look. The loader has done so before anybody else.
pub(crate) const FILE_MAPPED_ANEW: u8 = 1;
/// The same, and a move has been made since: not a program that maps a file for each of its moves.
const WORTH_A_LOOK: u8 = 2;
/// A look is being taken, or was when this process was forked.
const LOOKING: u8 = 5;
const ALL_MOVABLE: u8 = Files::AllMovable as u8;
const SOME_PLACED_BY_DRIVER: u8 = Files::SomePlacedByDriver as u8;

pub(crate) fn userfaultfd_made() -> bool {
    USERFAULTFD_MADE.load(Ordering::Relaxed)
}

/// Whether the VMAs of a move need their names. `look` looks at every file mapping of this process;
/// it is asked when that is likely to spare later moves more than it costs now.
pub(crate) fn names_matter(look: impl FnOnce() -> Files) -> bool {
    match FILES.load(Ordering::Relaxed) {
        ALL_MOVABLE => false,
        known @ (WORTH_A_LOOK | LOOKING) => {
            // Before the look: a file mapped meanwhile marks anew.
            let unmarked =
                FILES.compare_exchange(known, LOOKING, Ordering::SeqCst, Ordering::Relaxed);
            let found = unmarked.map_or(Files::SomePlacedByDriver, |_| look());
            let _ =
                FILES.compare_exchange(LOOKING, found as u8, Ordering::SeqCst, Ordering::Relaxed);
            found == Files::SomePlacedByDriver
        }
        SOME_PLACED_BY_DRIVER => true,
        _ => {
            FILES.store(WORTH_A_LOOK, Ordering::Relaxed);
            true
        }
    }
}
