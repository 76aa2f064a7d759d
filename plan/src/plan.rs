//! The walk over the source of a move: part, gap, part, … in address order.
//!
//! A [`Plan`] is a cursor, not a list: it asks a [`VmaSource`] for one VMA at a time and holds no more than
//! where it stands, so a move of sixty thousand VMAs costs the same few words of stack as a move of two.
//! It asks for the next VMA only after the last part was carried out, as `remap_move` does: a later VMA
//! that may not move is met when the earlier ones have moved already.

use crate::request::{Errno, Move};
use crate::vma::{Range, Vma};

/// Where VMAs come from: the kernel, or a test's own address space.
pub trait VmaSource {
    /// Why the source could not answer.
    type Error;

    /// The first VMA that ends after `from` and starts before `until`, if there is one.
    ///
    /// # Errors
    /// The source could not find out.
    fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<&Vma>, Self::Error>;
}

/// What comes next in a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing lies here: nothing moves, and what lies at the target stays.
    Gap(Range),
    /// Move this: the intersection of [`Plan::vma`] with the range.
    Part(Range),
    /// The move ends here with an errno; parts moved before stay moved.
    Refused(Errno),
    /// The range has been walked to its end.
    Done,
}

/// A move being walked.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    request: Move,
    cursor: u64,
    seen_vma: bool,
    vma: Vma,
    /// The VMA has been found, and a gap handed out before it.
    is_waiting: bool,
}

impl Plan {
    /// A plan at the start of its move.
    pub fn new(request: Move) -> Self {
        Self {
            request,
            cursor: request.source.start,
            seen_vma: false,
            vma: Vma::default(),
            is_waiting: false,
        }
    }

    /// Where the walk stands: everything below has been handed out.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The VMA that the last part was cut from.
    pub fn vma(&self) -> &Vma {
        &self.vma
    }

    /// The next step. After `Refused` and `Done` there is none: the walk has ended.
    ///
    /// A moved part may merge with a VMA that is still to come, and the source may show a VMA again; the
    /// cursor cuts off whatever lies below it.
    ///
    /// # Errors
    /// The source could not answer; nothing was handed out, and asking again is allowed.
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
        // `remap_move`: a VMA that may not move with others stops the walk, unless it is the first and
        // reaches to the end of the range, and so moves alone. A trailing gap is company, too.
        if !vma.may_move_with_others() && (self.seen_vma || vma.range.end < end) {
            return Ok(Step::Refused(Errno::EFAULT));
        }
        self.seen_vma = true;
        self.cursor = part.end;
        Ok(Step::Part(part))
    }

    /// Takes back the part handed out last, from `start` on: it was found changed and is to be discovered
    /// again. The part counts as the first one again if nothing was moved before it.
    pub fn rewind(&mut self, start: u64) {
        self.cursor = start;
        self.is_waiting = false;
        self.seen_vma = start > self.request.source.start;
    }

    /// No VMA from the cursor to the end: nothing at all, or a trailing gap.
    fn without_vma(&mut self, end: u64) -> Step {
        if !self.seen_vma {
            return Step::Refused(Errno::EFAULT);
        }
        self.step_over(end)
    }

    /// The VMA lies further on: a leading gap is an error, any other is stepped over.
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
