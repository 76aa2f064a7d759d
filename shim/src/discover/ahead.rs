//! VMAs that were found and not moved yet, mostly many at a time: questions in a row stay warm in the caches, and moving
//! one VMA changes no boundary of a later one (a merge only widens it).

use core::mem::MaybeUninit;

use mremap_plan::{Backing, Range, Vma};

/// VMAs asked for in a row.
const ROOM: usize = 32;

/// VMAs in the order of their addresses, to be taken one by one.
pub(super) struct Ahead {
    /// The first `found` are written.
    vmas: [MaybeUninit<Vma>; ROOM],
    found: usize,
    taken: usize,
    /// They were guessed, and the guesses confirmed.
    are_guessed: bool,
}

impl Ahead {
    pub(super) fn new() -> Self {
        Self {
            vmas: [const { MaybeUninit::uninit() }; ROOM],
            found: 0,
            taken: 0,
            are_guessed: false,
        }
    }

    /// What was found is taken, or not true any more.
    pub(super) fn clear(&mut self) {
        (self.found, self.taken, self.are_guessed) = (0, 0, false);
    }

    /// What follows was guessed.
    pub(super) fn begin_guesses(&mut self) {
        self.clear();
        self.are_guessed = true;
    }

    /// Whether the VMAs here, and those taken since the last [`Ahead::clear`], were guessed.
    pub(super) fn are_guessed(&self) -> bool {
        self.are_guessed
    }

    /// How many are there.
    pub(super) fn len(&self) -> u32 {
        (self.found - self.taken) as u32
    }

    /// Whether none is left.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.found
    }

    /// Whether no more can be added.
    pub(super) fn is_full(&self) -> bool {
        self.found == ROOM
    }

    /// Adds one behind the others; there is room.
    #[inline]
    pub(super) fn add(&mut self, vma: Vma) {
        if let Some(place) = self.vmas.get_mut(self.found) {
            place.write(vma);
            self.found += 1;
        }
    }

    /// The next one.
    #[inline]
    pub(super) fn take(&mut self) -> Option<&Vma> {
        if self.is_empty() {
            return None;
        }
        let vma = self.vmas.get(self.taken)?;
        self.taken += 1;
        // SAFETY: one of the first `found`, since `taken` was below it.
        Some(unsafe { vma.assume_init_ref() })
    }
}

/// A VMA of which no more is known than its place.
pub(super) fn plain(range: Range) -> Vma {
    Vma { range, backing: Backing::Unknown, ..Vma::default() }
}
