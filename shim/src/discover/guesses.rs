//! VMAs that are guessed, and asked for before they are needed: many in a row, since a question between two moves
//! costs half as much again.
//!
//! ```text
//!            |   last    | gap |  guessed  | gap |
//!                        start^              ^end
//! ```
//!
//! Each takes two questions:
//!
//! 1. Its end: if a gap is guessed to follow, that it is free; else, that no VMA reaches across `end`
//!    ([`Asked::ends_at`]).
//! 2. That one VMA holds `[start, end)`, and one that answers, or the first answer would mean nothing.
//!
//! The second is left out where its move tells as much ([`Supposing`]).

use core::ops::RangeInclusive;

use mremap_plan::Range;

use super::ahead::{Ahead, plain};
use super::shapes::{Shape, Shapes};
use crate::process::thread;
use crate::sys::Errno;
use crate::sys::probe::Asked;

/// Wrong guesses after which a single VMA's likeness to an earlier one is no more reason to guess.
const MOST_WRONG: u32 = 2;

/// Supposed VMAs that could not be moved, after which there is no more supposing in a move.
const MOST_UNMOVED: u32 = 3;

/// The sizes of huge pages, as powers of two, whatever the size of other pages.
const HUGE_PAGES: RangeInclusive<u32> =
    if cfg!(target_arch = "x86_64") { 21..=30 } else { 16..=34 };

/// Whether a VMA's own move may be what tells that there is one VMA. The kernel moves `[start, end)` only if one
/// VMA holds it; one that has refused may have unmapped the target, which is no loss where the target was free. It
/// stays free if there is no other thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Supposing {
    No,
    /// As far as is known. The bytes from source to destination.
    MayBe(u64),
    /// The rest of the destination was found free. The same bytes.
    Yes(u64),
}

/// The VMAs of one move: those that are guessed to come next, and how the guesses went.
pub(super) struct Guesses {
    shapes: Shapes,
    /// What comes behind those that were guessed rightly is not as guessed.
    is_refuted: bool,
    /// Guesses that were wrong, less those that were right.
    wrong: u32,
    supposing: Supposing,
    /// Every VMA of the range answers, memory or file.
    all_answer: bool,
    /// Supposed VMAs that could not be moved.
    unmoved: u32,
}

impl Guesses {
    pub(super) fn new() -> Self {
        Self {
            shapes: Shapes::new(),
            is_refuted: false,
            wrong: 0,
            supposing: Supposing::No,
            all_answer: false,
            unmoved: 0,
        }
    }

    /// A move begins.
    pub(super) fn begin(&mut self) {
        self.shapes.begin();
    }

    /// Each VMA found is moved at once, by so many bytes.
    pub(super) fn moves_by(&mut self, distance: u64) {
        if thread::is_the_only_one() {
            self.supposing = Supposing::MayBe(distance);
        }
    }

    /// No VMA of the range is of a kind that answers nothing.
    pub(super) fn every_vma_answers(&mut self) {
        self.all_answer = true;
    }

    /// Nothing is guessed until a VMA is found.
    pub(super) fn restart(&mut self) {
        self.shapes.forget_place();
        self.is_refuted = false;
    }

    /// A guessed VMA could not be moved; whether that may be because it was supposed to be one. Then the next one will
    /// be known, and after a few such cases all of them.
    pub(super) fn stop_supposing(&mut self) -> bool {
        let was_supposed = matches!(self.supposing, Supposing::Yes(_));
        if was_supposed {
            self.restart();
            self.wrong += 1;
            self.unmoved += 1;
            if self.unmoved == MOST_UNMOVED {
                self.suppose_no_more();
            }
        }
        was_supposed
    }

    /// The destination is not free any more.
    pub(super) fn suppose_no_more(&mut self) {
        self.supposing = Supposing::No;
    }

    /// The next VMA was found, and how it lies.
    pub(super) fn learn(&mut self, shape: Shape) {
        self.shapes.learn(shape, self.wrong > MOST_WRONG);
    }

    /// The same, while nothing is guessed.
    pub(super) fn remember(&mut self, shape: Shape) {
        self.shapes.append(shape);
    }

    /// Whether the VMAs remembered last came round in a period, and are guessed to go on so.
    pub(super) fn find_period(&mut self) -> bool {
        (self.wrong, self.is_refuted) = (0, false);
        self.shapes.find_period()
    }

    /// Whether the next VMA is guessed to be like the last.
    pub(super) fn are_alike(&self) -> bool {
        self.shapes.is_guess_alike()
    }

    /// Whether the last row of guesses ended before its time; asked once.
    pub(super) fn is_just_refuted(&mut self) -> bool {
        core::mem::take(&mut self.is_refuted)
    }

    /// Asks for the VMAs that are guessed to follow, the first ones of a move or others.
    pub(super) fn ask_ahead(
        &mut self,
        from: u64,
        until: u64,
        is_first: bool,
        asked: &mut Asked,
        ahead: &mut Ahead,
    ) -> Result<(), Errno> {
        let Some(mut shape) = self.shapes.guess() else {
            return Ok(());
        };
        let mut range = shape.behind(from, until);
        // A move begins with a VMA, and whether that is all of it was asked before.
        if range.is_empty() || is_first && (shape.gap != 0 || range.end == until) {
            return Ok(());
        }
        if let Supposing::MayBe(distance) = self.supposing
            && range.end < until
        {
            let is_free = asked.is_free(from.wrapping_add(distance), until - from)?;
            self.supposing = if is_free { Supposing::Yes(distance) } else { Supposing::No };
        }
        ahead.begin_guesses();
        let mut is_right = shape.gap == 0 || asked.is_free(from, shape.gap)?;
        while is_right && !ahead.is_full() && !range.is_empty() {
            let next = self.shapes.guess_behind().unwrap_or(shape);
            let is_trusted = self.wrong == 0 || !ahead.is_empty();
            is_right = self.is_vma(range, is_trusted, next.gap, until, asked)?;
            if is_right {
                self.shapes.confirm(shape);
                ahead.add(plain(range));
                (shape, range) = (next, next.behind(range.end, until));
            }
        }
        if is_right {
            self.wrong = self.wrong.saturating_sub(1);
        } else {
            self.is_refuted = !ahead.is_empty();
            self.wrong += 1;
        }
        Ok(())
    }

    /// Whether exactly one VMA is there, and that gap behind it, as far as it must be known before it is moved.
    fn is_vma(
        &self,
        range: Range,
        is_trusted: bool,
        gap: u64,
        until: u64,
        asked: &mut Asked,
    ) -> Result<bool, Errno> {
        let need_not_ask =
            is_trusted && (gap != 0 || self.all_answer) && self.may_be_refused(range, until);
        if !need_not_ask && !asked.is_one_vma(range.start, range.len()) {
            return Ok(false);
        }
        if range.end == until {
            Ok(true)
        } else if gap == 0 {
            Ok(asked.ends_at(range.end))
        } else {
            asked.is_free(range.end, gap.min(until - range.end))
        }
    }

    /// Whether nothing would be lost if the kernel refused to move a range. Where huge pages lie there, and both ends are
    /// aligned to them, it rounds the length up before it unmaps the target and refuses (`mremap` of Linux 6.1): that must
    /// not reach beyond what was found free.
    fn may_be_refused(&self, range: Range, until: u64) -> bool {
        let Supposing::Yes(distance) = self.supposing else {
            return false;
        };
        let aligned = (range.start | range.start.wrapping_add(distance)).trailing_zeros();
        if aligned < *HUGE_PAGES.start() {
            return true;
        }
        let rounded = range.end.checked_next_multiple_of(1 << aligned.min(*HUGE_PAGES.end()));
        rounded.is_some_and(|rounded| rounded <= until)
    }
}
