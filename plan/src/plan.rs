//! The walk over the source of a move, in address order: part, gap, part, …
//!
//! A [`Plan`] is a cursor, not a list. It takes one VMA at a time from a [`VmaSource`], so a move
//! of sixty thousand VMAs needs no more stack than a move of two. Like `remap_move`, it looks for
//! the next VMA only after the last part has moved: a VMA that may not move is met after the
//! earlier ones have moved.

use crate::request::{Errno, Move};
use crate::vma::{Range, Vma};

/// Finds VMAs: in this process, or in the address space of a test.
pub trait VmaSource {
    /// Why no VMA could be found.
    type Error;

    /// Returns the first VMA that ends after `from` and starts before `until`, if there is one.
    ///
    /// # Errors
    /// The search failed.
    fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<&Vma>, Self::Error>;
}

/// The next step of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is mapped here: nothing moves, and what is mapped at the target stays.
    Gap(Range),
    /// To be moved: the intersection of [`Plan::vma`] with the source range.
    Part(Range),
    /// The move ends with an errno. Parts that have moved stay moved.
    Refused(Errno),
    /// The end of the range.
    Done,
}

/// A walk over the source of a move.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    request: Move,
    cursor: u64,
    seen_vma: bool,
    vma: Vma,
    /// `vma` was found, and the gap before it returned first.
    is_waiting: bool,
}

impl Plan {
    /// Starts the walk.
    pub fn new(request: Move) -> Self {
        Self {
            request,
            cursor: request.source.start,
            seen_vma: false,
            vma: Vma::default(),
            is_waiting: false,
        }
    }

    /// Returns the address up to which steps were returned.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Returns the VMA of the last part.
    pub fn vma(&self) -> &Vma {
        &self.vma
    }

    /// Returns the next step. `Refused` and `Done` are the last.
    ///
    /// A moved part may merge with a later VMA of the source, which is then found again: what is
    /// below the cursor is cut off.
    ///
    /// # Errors
    /// The search for the next VMA failed. The call may be repeated.
    #[inline]
    pub fn next_step<S: VmaSource>(&mut self, source: &mut S) -> Result<Step, S::Error> {
        let end = self.request.source.end;
        if self.cursor >= end {
            return Ok(if self.seen_vma { Step::Done } else { Step::Refused(Errno::EFAULT) });
        }
        if !self.is_waiting {
            match source.next_vma(self.cursor, end)? {
                Some(vma) => self.vma = *vma,
                None => return Ok(self.without_vma(end)),
            }
        }
        self.is_waiting = false;
        let vma = &self.vma;
        let part = vma.range.intersect(Range { start: self.cursor, end });
        if part.is_empty() {
            return Ok(self.without_vma(end));
        }
        if part.start > self.cursor {
            return Ok(self.before(part.start));
        }
        // `remap_move`: a VMA that may not move with others ends the walk, unless it is the first
        // and reaches to the end of the range. A trailing gap counts as another.
        if !vma.may_move_with_others() && (self.seen_vma || vma.range.end < end) {
            return Ok(Step::Refused(Errno::EFAULT));
        }
        self.seen_vma = true;
        self.cursor = part.end;
        Ok(Step::Part(part))
    }

    /// Takes back the last part from `start` on, to discover it again because it has changed. It
    /// counts as the first part again if nothing before it has moved.
    pub fn rewind(&mut self, start: u64) {
        self.cursor = start;
        self.is_waiting = false;
        self.seen_vma = start > self.request.source.start;
    }

    /// No VMA between cursor and end: an empty range, or a trailing gap.
    fn without_vma(&mut self, end: u64) -> Step {
        if !self.seen_vma {
            return Step::Refused(Errno::EFAULT);
        }
        self.step_over(end)
    }

    /// The next VMA starts after the cursor: a leading gap is an error.
    fn before(&mut self, start: u64) -> Step {
        if !self.seen_vma {
            return Step::Refused(Errno::EFAULT);
        }
        self.is_waiting = true;
        self.step_over(start)
    }

    fn step_over(&mut self, end: u64) -> Step {
        let gap = Range { start: self.cursor, end };
        self.cursor = end;
        Step::Gap(gap)
    }
}
