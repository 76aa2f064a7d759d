//! VMAs that were found and not moved yet. Finding many in a row is cheaper than one between two
//! moves, since the kernel's code stays in the caches. Moving one VMA changes no boundary of a
//! later one.

use core::mem::MaybeUninit;

use mremap_plan::{Backing, Range, Vma};

/// VMAs found in a row.
const CAPACITY: usize = 32;

/// VMAs in the order of their addresses.
pub(super) struct Prefetched {
    /// The first `found` are initialized.
    vmas: [MaybeUninit<Vma>; CAPACITY],
    found: usize,
    taken: usize,
    /// How many may be added.
    limit: usize,
}

impl Prefetched {
    pub(super) const fn new() -> Self {
        Self {
            vmas: [const { MaybeUninit::uninit() }; CAPACITY],
            found: 0,
            taken: 0,
            limit: CAPACITY,
        }
    }

    pub(super) fn clear(&mut self) {
        (self.found, self.taken) = (0, 0);
    }

    /// Takes one VMA at a time from now on: others change while they are moved.
    pub(super) fn limit_to_one(&mut self) {
        self.limit = 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.found
    }

    pub(super) fn is_full(&self) -> bool {
        self.found >= self.limit
    }

    /// Adds a VMA, unless [`Self::is_full`].
    #[inline]
    pub(super) fn add(&mut self, vma: Vma) {
        if let Some(place) = self.vmas.get_mut(self.found) {
            place.write(vma);
            self.found += 1;
        }
    }

    /// Adds a VMA of which only the boundaries are known.
    pub(super) fn add_range(&mut self, range: Range) {
        self.add(Vma { range, backing: Backing::Unknown, ..Vma::default() });
    }

    /// Takes the next VMA.
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
