//! VMAs by the questions of [`crate::sys::probe`], which need nothing but `mremap` and `mmap`. What they cannot
//! tell is what stands behind a VMA.
//!
//! VMAs that are moved together often lie as others did before them: those that would follow in that way are asked for
//! first ([`super::guesses`]). Else boundaries are found by doubling and halving: logarithmic in the size of VMAs and of
//! gaps.

use core::convert::Infallible;

use mremap_plan::Range;

use super::ahead::{Ahead, plain};
use super::guesses::Guesses;
use super::shapes::Shape;
use crate::process::address_space::page_size;
use crate::sys::Errno;
use crate::sys::probe::{Asked, OneVma, below_task_size};

/// What the middle one of these questions takes, between moves (`benches/README.md`).
const QUESTION_NS: u32 = 190;

/// Pages of a gap from which on finding its end takes so long that another way is begun, if that takes no longer.
const LONG_GAP: u64 = 64;
const LONG_GAP_NS: u32 = 7000;

/// Nanoseconds of another way to find VMAs: to begin with it, and for each VMA.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    pub(super) begin: u32,
    pub(super) each: u32,
}

/// A walk over the VMAs of one move.
pub(super) struct Bisection {
    pub(super) guesses: Guesses,
    /// The whole range is not one VMA, as its first question told.
    crosses: bool,
    /// What the other way costs, if there is one.
    alternative: Option<Cost>,
    asked: Asked,
    found: u32,
}

/// Why a VMA could not be found.
pub(super) enum NotFound {
    /// Something is mapped from this address on that does not answer: only `/proc` knows its bounds.
    Silent(u64),
    /// The other way is cheaper.
    Dear,
    /// The question itself failed.
    Failed(Errno),
}

impl From<Errno> for NotFound {
    fn from(failed: Errno) -> Self {
        Self::Failed(failed)
    }
}

impl Bisection {
    pub(super) fn new() -> Self {
        Self {
            guesses: Guesses::new(),
            crosses: false,
            alternative: None,
            asked: Asked::default(),
            found: 0,
        }
    }

    /// The range is known to be more than one VMA.
    pub(super) fn range_crosses_boundaries(&mut self) {
        self.crosses = true;
    }

    /// What is dear to find may be left to another way, or not.
    pub(super) fn set_alternative(&mut self, alternative: Option<Cost>) {
        self.alternative = alternative;
    }

    /// What all questions took, about.
    pub(super) fn spent_ns(&self) -> u32 {
        self.asked.count().saturating_mul(QUESTION_NS)
    }

    /// Whether the other way from the beginning would have been cheaper by now.
    fn has_overspent(&self) -> bool {
        self.alternative.is_some_and(|cost| {
            self.spent_ns() > cost.begin.saturating_add(self.found.saturating_mul(cost.each))
        })
    }

    /// Puts the first VMA that ends after `from` and starts before `until` into `ahead`, if there is one, and maybe others
    /// behind it.
    pub(super) fn find(
        &mut self,
        from: u64,
        until: u64,
        ahead: &mut Ahead,
    ) -> Result<(), NotFound> {
        let asked_until = until;
        let until = below_task_size(until);
        if until <= from {
            return Ok(());
        }
        // What crosses may be the end of all addresses.
        self.crosses &= until == asked_until;
        let mut begins_free = None;
        if !self.guesses.is_just_refuted() {
            // The first VMA has nothing before it, and tells nothing of gaps.
            if self.found == 1 && self.guesses.are_alike() {
                begins_free = Some(self.asked.is_free(from, page_size())?);
            }
            if begins_free != Some(true) {
                let is_first = self.found == 0;
                self.guesses.ask_ahead(from, until, is_first, &mut self.asked, ahead)?;
            }
        }
        if !ahead.is_empty() {
            self.found = self.found.saturating_add(ahead.len());
            return Ok(());
        }
        ahead.clear();
        if self.has_overspent() {
            return Err(NotFound::Dear);
        }
        if let Some(range) = self.search(from, until, begins_free)? {
            self.guesses.learn(Shape::of(range, from));
            self.found += 1;
            ahead.add(plain(range));
        }
        Ok(())
    }

    /// A VMA that was found in another way.
    pub(super) fn remember(&mut self, range: Range, from: u64) {
        self.found = self.found.saturating_add(1);
        self.guesses.remember(Shape::of(range, from));
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
        let is_first = self.found == 0;
        let is_likely_mapped = begins_free == Some(false) || is_first;
        if begins_free != Some(true) && (is_likely_mapped || !self.asked.is_free(from, page)?) {
            let len = self.length_at(from, pages + u64::from(!(is_first && self.crosses)));
            if len != 0 {
                let end = from + len;
                return Ok(Some(Range { start: from, end }));
            }
            if !self.asked.is_free(from, page)? {
                return Err(NotFound::Silent(from));
            }
        }
        let free = longest(1, pages + 1, |pages| {
            let is_dear = |cost: Cost| cost.begin <= LONG_GAP_NS;
            if pages > LONG_GAP && self.alternative.is_some_and(is_dear) {
                return Err(NotFound::Dear);
            }
            Ok(self.asked.is_free(from, pages * page)?)
        })?;
        if free == pages {
            return Ok(None);
        }
        let start = from + free * page;
        match self.length_at(start, pages - free + 1) {
            0 => Err(NotFound::Silent(start)),
            len => Ok(Some(Range { start, end: start + len })),
        }
    }

    /// Bytes from `start` that lie in one VMA, fewer than `bad` pages; 0 when nothing answers there.
    fn length_at(&mut self, start: u64, bad: u64) -> u64 {
        let page = page_size();
        let mut holds = |pages: u64| self.asked.is_one_vma(start, pages * page);
        // Two pages first: hardly anybody moves many VMAs of one.
        if bad > 2 && holds(2) {
            let Ok(pages) = longest(2, bad, |pages| Ok::<_, Infallible>(holds(pages)));
            return pages * page;
        }
        // Of a sealed one nothing more needs to be known: it will not move.
        match self.asked.what_is_at(start) {
            OneVma::No => 0,
            OneVma::Yes | OneVma::Sealed => page,
        }
    }
}

/// The greatest number below `bad` for which `holds`, which it does for `good`. What holds for a number holds for
/// every smaller one.
fn longest<E>(
    mut good: u64,
    mut bad: u64,
    mut holds: impl FnMut(u64) -> Result<bool, E>,
) -> Result<u64, E> {
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
