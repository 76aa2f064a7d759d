//! VMAs by the questions of [`super::questions`], which need nothing but `mremap` and `mmap`. What they cannot
//! tell is what stands behind a VMA.
//!
//! VMAs that are moved together are often alike: those that would follow the last one in its own way are asked for
//! first, many in a row, since a question between two moves costs half as much again. Else boundaries are found by
//! doubling and halving: logarithmic in the size of VMAs and of gaps.
//!
//! What "alike" takes of questions, for each VMA:
//!
//! ```text
//!            |   last    | gap |   like it   | gap |
//!                        start^              ^end
//! ```
//!
//! 1. Its end: with gaps, that the next one is free; without, that no VMA reaches across `end` ([`ends_at`]).
//! 2. That one VMA holds `[start, end)`, and one that answers, or the first answer would mean nothing.
//!
//! The second is left out where its move tells as much ([`Supposing`]).

use core::convert::Infallible;

use mremap_plan::{Backing, Range, Vma};

use super::questions::{self, OneVma, below_task_size, ends_at, is_one_vma};
use crate::address_space::page_size;
use crate::sys::Failed;
use crate::thread;

/// VMAs asked for in a row.
const MOST_AHEAD: u32 = 32;

/// Nanoseconds, as measured in `benches/README.md`: by the middle one of these questions, by `PROCMAP_QUERY`, and
/// what opening and closing a maps file takes.
const QUESTION_NS: u32 = 190;
const QUERY_NS: u32 = 270;
const OPEN_NS: u32 = 3500;

/// Pages of a gap from which on opening a maps file costs no more than finding the gap's end.
const LONG_GAP: u64 = 64;

/// Whether a VMA's own move may be what tells that there is one VMA. The kernel moves `[start, end)` only if one
/// VMA holds it; one that has refused may have unmapped the target, which is no loss where the target was free. It
/// stays free if there is no other thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Supposing {
    No,
    /// As far as is known. The bytes from source to destination.
    MayBe(u64),
    /// The rest of the destination was found free.
    Yes,
}

/// What the last VMA looked like, and what is known of the next ones.
pub(super) struct Bisection {
    gap: u64,
    len: u64,
    /// VMAs like the last one that are known to follow it.
    ahead: u32,
    supposing: Supposing,
    /// Every VMA of the range answers, memory or file.
    all_answer: bool,
    /// The whole range is not one VMA, as its first question told.
    crosses: bool,
    /// A maps file may be opened instead.
    may_give_up: bool,
    asked: u32,
    found: u32,
}

/// Why a VMA could not be found.
pub(super) enum NotFound {
    /// Something is mapped from this address on that does not answer: only `/proc` knows its bounds.
    Silent(u64),
    /// Behind a gap so long that asking a maps file is cheaper.
    FarAway,
    /// The question itself failed.
    Failed(Failed),
}

impl From<Failed> for NotFound {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl Bisection {
    pub(super) fn new() -> Self {
        Self {
            gap: 0,
            len: 0,
            ahead: 0,
            supposing: Supposing::No,
            all_answer: false,
            crosses: false,
            may_give_up: false,
            asked: 0,
            found: 0,
        }
    }

    /// The range is known to be more than one VMA.
    pub(super) fn range_crosses_boundaries(&mut self) {
        self.crosses = true;
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

    /// Whether what is dear to find may be left to a maps file.
    pub(super) fn may_give_up(&mut self, may: bool) {
        self.may_give_up = may;
    }

    /// Forgets what is known ahead: the address space has changed.
    pub(super) fn restart(&mut self) {
        (self.len, self.ahead) = (0, 0);
    }

    /// No more supposing in this move; whether there was any.
    pub(super) fn stop_supposing(&mut self) -> bool {
        let supposed = self.supposing == Supposing::Yes;
        self.supposing = Supposing::No;
        self.restart();
        supposed
    }

    /// Whether asking a maps file from the beginning would have been cheaper by now.
    pub(super) fn has_overspent(&self) -> bool {
        self.may_give_up && self.ahead == 0 && self.asked * QUESTION_NS > self.found * QUERY_NS + OPEN_NS
    }

    /// As [`mremap_plan::VmaSource`].
    pub(super) fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<Vma>, NotFound> {
        let until = below_task_size(until);
        if until <= from {
            return Ok(None);
        }
        let mut begins_free = None;
        if self.ahead == 0 && self.len != 0 {
            // The first VMA had nothing before it: a gap is as likely as not.
            if self.found == 1 {
                begins_free = Some(self.is_free(from, page_size())?);
            }
            if begins_free != Some(true) {
                self.ahead = self.count_alike(from, until)?;
            }
        }
        let range = if self.ahead > 0 {
            self.ahead -= 1;
            self.alike(from, until)
        } else {
            let Some(range) = self.search(from, until, begins_free)? else {
                return Ok(None);
            };
            (self.gap, self.len) = (range.start - from, range.len());
            range
        };
        self.found += 1;
        Ok(Some(Vma {
            range,
            backing: Backing::Unknown,
            ..Vma::default()
        }))
    }

    /// Where a VMA like the last one would be, behind the one that ends at `from`.
    fn alike(&self, from: u64, until: u64) -> Range {
        let start = from.saturating_add(self.gap);
        let end = start.saturating_add(self.len).min(until);
        Range { start, end }
    }

    /// How many VMAs like the last one follow.
    fn count_alike(&mut self, from: u64, until: u64) -> Result<u32, Failed> {
        let mut next = self.alike(from, until);
        if next.is_empty() {
            return Ok(0);
        }
        if let Supposing::MayBe(distance) = self.supposing
            && next.end < until
        {
            let is_free = self.is_free(from.wrapping_add(distance), until - from)?;
            self.supposing = if is_free { Supposing::Yes } else { Supposing::No };
        }
        if self.gap != 0 && !self.is_free(from, self.gap)? {
            return Ok(0);
        }
        let mut count = 0;
        while count < MOST_AHEAD && !next.is_empty() && self.is_vma(next, until)? {
            count += 1;
            next = self.alike(next.end, until);
        }
        Ok(count)
    }

    /// Whether exactly one VMA is there, as far as it must be known before it is moved.
    fn is_vma(&mut self, range: Range, until: u64) -> Result<bool, Failed> {
        let need_not_ask = self.supposing == Supposing::Yes && (self.gap != 0 || self.all_answer);
        if !need_not_ask && !self.lies_in_one_vma(range.start, range.len()) {
            return Ok(false);
        }
        if range.end == until {
            Ok(true)
        } else if self.gap == 0 {
            self.asked += 1;
            Ok(ends_at(range.end))
        } else {
            self.is_free(range.end, self.gap.min(until - range.end))
        }
    }

    /// The VMA at `from`, or the next one; `begins_free` where the first page was asked for already.
    fn search(
        &mut self,
        from: u64,
        until: u64,
        begins_free: Option<bool>,
    ) -> Result<Option<Range>, NotFound> {
        let page = page_size();
        // A shift, since a division could panic.
        let pages = (until - from) >> page.trailing_zeros();
        let crosses = core::mem::take(&mut self.crosses);
        let is_likely_mapped = begins_free == Some(false) || self.found == 0;
        if begins_free != Some(true) && (is_likely_mapped || !self.is_free(from, page)?) {
            let len = self.length_at(from, pages + u64::from(!crosses));
            if len != 0 {
                let end = from + len;
                return Ok(Some(Range { start: from, end }));
            }
            if !self.is_free(from, page)? {
                return Err(NotFound::Silent(from));
            }
        }
        let free = longest(1, pages + 1, |pages| {
            if self.may_give_up && pages > LONG_GAP {
                return Err(NotFound::FarAway);
            }
            Ok(self.is_free(from, pages * page)?)
        })?;
        if free == pages {
            return Ok(None);
        }
        let start = from + free * page;
        match self.length_at(start, pages - free + 1) {
            0 => Err(NotFound::Silent(start)),
            len => Ok(Some(Range {
                start,
                end: start + len,
            })),
        }
    }

    /// Bytes from `start` that lie in one VMA, fewer than `bad` pages; 0 when nothing answers there.
    fn length_at(&mut self, start: u64, bad: u64) -> u64 {
        let page = page_size();
        let mut holds = |pages: u64| self.lies_in_one_vma(start, pages * page);
        // Two pages first: hardly anybody moves many VMAs of one.
        if bad > 2 && holds(2) {
            let Ok(pages) = longest(2, bad, |pages| Ok::<_, Infallible>(holds(pages)));
            return pages * page;
        }
        self.asked += 1;
        // Of a sealed one nothing more needs to be known: it will not move.
        if is_one_vma(start, page) == OneVma::No {
            0
        } else {
            page
        }
    }

    fn lies_in_one_vma(&mut self, start: u64, len: u64) -> bool {
        self.asked += 1;
        is_one_vma(start, len) == OneVma::Yes
    }

    fn is_free(&mut self, start: u64, len: u64) -> Result<bool, Failed> {
        self.asked += 1;
        questions::is_free(start, len)
    }
}

/// The greatest number below `bad` for which `holds`, which it does for `good`. What holds for a number holds for
/// every smaller one.
fn longest<E>(mut good: u64, mut bad: u64, mut holds: impl FnMut(u64) -> Result<bool, E>) -> Result<u64, E> {
    while good + 1 < bad {
        let next = (2 * good).min(good + (bad - good) / 2);
        if holds(next)? {
            good = next;
        } else {
            bad = next;
        }
    }
    Ok(good)
}
