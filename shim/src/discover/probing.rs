//! Boundaries of VMAs by the probes of [`crate::sys::probe`], which cannot see what backs a VMA.
//!
//! VMAs that are moved together are often alike: the last gap and the last length are tried first,
//! which takes two probes a VMA where they recur. Otherwise boundaries are found by doubling and
//! halving, so the number of probes is logarithmic in the size of VMAs and gaps.
//!
//! ```text
//!      |   last    |   gap    | next VMA  |   gap    |
//!           from --^  free?   ^-- one VMA? ^ free: the VMA ends here
//! ```

use core::convert::Infallible;

use mremap_plan::Range;

use super::prefetched::Prefetched;
use crate::process::address_space::page_size;
use crate::sys::Errno;
use crate::sys::probe::{self, OneVma, below_task_size};

/// Nanoseconds, as measured in `benches/README.md`: a probe, `PROCMAP_QUERY`, and opening and
/// closing `maps` in the middle of a move.
const PROBE_NS: u32 = 190;
const QUERY_NS: u32 = 270;
const OPEN_NS: u32 = 3500;

/// Pages of a gap from which on finding its end takes more probes than opening `maps` costs.
const LONG_GAP: u64 = 64;

/// Length in pages that is tried first in a move: few VMAs are shorter.
const FIRST_GUESS: u64 = 2;

/// A walk over the VMAs of one move.
pub(super) struct Probing {
    /// The range is known not to be one VMA.
    crosses: bool,
    /// `PROCMAP_QUERY` may be used once it is cheaper.
    may_query: bool,
    /// Pages of the VMA found last, and of the gap before it, unless it was the first.
    last: Option<(u64, Option<u64>)>,
    /// A gap as long as the last one is known to follow the last VMA.
    gap_follows: bool,
    probes: u32,
    found: u32,
}

/// Why the next VMA was not found.
pub(super) enum NotFound {
    /// Something is mapped at this address that answers no probe.
    Silent(u64),
    /// `PROCMAP_QUERY` is cheaper.
    TooExpensive,
    /// A probe failed.
    Failed(Errno),
}

impl From<Errno> for NotFound {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

impl Probing {
    pub(super) const fn new() -> Self {
        Self {
            crosses: false,
            may_query: false,
            last: None,
            gap_follows: false,
            probes: 0,
            found: 0,
        }
    }

    /// Notes that the range of the move is not one VMA.
    pub(super) fn range_crosses_boundaries(&mut self) {
        self.crosses = true;
    }

    /// Sets whether to return [`NotFound::TooExpensive`].
    pub(super) fn set_may_query(&mut self, may_query: bool) {
        self.may_query = may_query;
    }

    /// Forgets the last VMA: the address space has changed.
    pub(super) fn restart(&mut self) {
        (self.last, self.gap_follows) = (None, false);
    }

    /// Adds the VMAs that end after `from` and start before `until`, as many as there is room for.
    ///
    /// # Errors
    /// The first of them was not found. A later one is left to the next call.
    pub(super) fn prefetch(
        &mut self,
        mut from: u64,
        until: u64,
        prefetched: &mut Prefetched,
    ) -> Result<(), NotFound> {
        let end = below_task_size(from, until);
        // A range that is not one VMA may be one that ends at `TASK_SIZE`.
        self.crosses &= end == until;
        while from < end && !prefetched.is_full() {
            match self.find_next(from, end) {
                Ok(Some(range)) => {
                    prefetched.add_range(range);
                    from = range.end;
                }
                Ok(None) => break,
                Err(_) if !prefetched.is_empty() => break,
                Err(not_found) => return Err(not_found),
            }
        }
        Ok(())
    }

    /// The first VMA that ends after `from` and starts before `until`, cut to both.
    fn find_next(&mut self, from: u64, until: u64) -> Result<Option<Range>, NotFound> {
        if self.may_query && self.has_overspent() {
            return Err(NotFound::TooExpensive);
        }
        let pages = pages_between(from, until);
        let mut free = self.find_gap(from, pages)?;
        let mut len = self.length_at(from, free, pages);
        if len == 0 {
            let known = free;
            free = self.longest_gap(from, known, pages + 1)?;
            if free < pages {
                // Mapped right after the free pages, and still no VMA answers.
                len = if free == known { 0 } else { self.length_at(from, free, pages) };
                if len == 0 {
                    return Err(NotFound::Silent(from + free * page_size()));
                }
            }
        }
        if free >= pages {
            return Ok(None);
        }
        self.last = Some((len, self.last.map(|_| free)));
        self.found += 1;
        let start = from + free * page_size();
        Ok(Some(Range { start, end: start + len * page_size() }))
    }

    /// Whether `PROCMAP_QUERY` from the beginning would have been cheaper.
    fn has_overspent(&self) -> bool {
        self.probes.saturating_mul(PROBE_NS)
            > self.found.saturating_mul(QUERY_NS).saturating_add(OPEN_NS)
    }

    /// Pages known to be free at `from`: as many as before the last VMA, or all there are, if
    /// fewer.
    fn find_gap(&mut self, from: u64, pages: u64) -> Result<u64, NotFound> {
        let follows = core::mem::take(&mut self.gap_follows);
        match self.last {
            None | Some((_, Some(0))) => Ok(0),
            // The first VMA had no gap before it, so that nothing can be predicted.
            Some((_, None)) => self.longest_gap(from, 0, pages + 1),
            Some((_, Some(gap))) => {
                let gap = gap.min(pages);
                if follows || self.is_free(from, gap)? {
                    Ok(gap)
                } else {
                    self.longest_gap(from, 0, gap)
                }
            }
        }
    }

    /// Pages free at `from`: at least `good`, fewer than `bad`.
    fn longest_gap(&mut self, from: u64, good: u64, bad: u64) -> Result<u64, NotFound> {
        longest(good, bad, |pages| {
            if self.may_query && pages > LONG_GAP {
                return Err(NotFound::TooExpensive);
            }
            Ok(self.is_free(from, pages)?)
        })
    }

    /// Pages in one VMA after `free` free ones, of `pages` in all; 0 where nothing
    /// answers.
    fn length_at(&mut self, from: u64, free: u64, pages: u64) -> u64 {
        let crosses = core::mem::take(&mut self.crosses);
        let start = from + free * page_size();
        let max = pages - free;
        if max == 0 {
            return 0;
        }
        let bad = if crosses { max.max(2) } else { max + 1 };
        let (guess, gap) = match self.last {
            None => (FIRST_GUESS, 0),
            Some((len, gap)) => (len, gap.unwrap_or(0)),
        };
        let guess = guess.min(bad - 1);
        if guess == 1 || !self.holds(start, guess) {
            match self.probe_page(start) {
                OneVma::No => return 0,
                // It will not be moved, so its length does not matter.
                OneVma::Sealed => return 1,
                OneVma::Yes if guess == 1 => {}
                OneVma::Yes => return self.longest_vma(start, 1, guess),
            }
        }
        if guess + 1 == bad {
            return guess;
        }
        // Where the gap recurred, so may the next one: one probe finds this VMA's end and the next
        // gap.
        let behind = gap.min(max - guess);
        if behind != 0
            && gap == free
            && self.is_free(start + guess * page_size(), behind) == Ok(true)
        {
            self.gap_follows = true;
            return guess;
        }
        if !self.holds(start, guess + 1) {
            return guess;
        }
        self.longest_vma(start, guess + 1, bad)
    }

    fn longest_vma(&mut self, start: u64, good: u64, bad: u64) -> u64 {
        let Ok(pages) = longest(good, bad, |pages| Ok::<_, Infallible>(self.holds(start, pages)));
        pages
    }

    /// Whether one VMA holds so many pages.
    fn holds(&mut self, start: u64, pages: u64) -> bool {
        self.probes += 1;
        probe::is_one_vma(start, pages * page_size()) == OneVma::Yes
    }

    fn probe_page(&mut self, start: u64) -> OneVma {
        self.probes += 1;
        probe::is_one_vma(start, page_size())
    }

    fn is_free(&mut self, start: u64, pages: u64) -> Result<bool, Errno> {
        self.probes += 1;
        probe::is_free(start, pages * page_size())
    }
}

/// A shift, since a division could panic.
fn pages_between(start: u64, end: u64) -> u64 {
    (end - start) >> page_size().trailing_zeros()
}

/// The largest number below `bad` for which `holds`, which is monotone and true for `good`. Doubles
/// `good`, then tries whether that is the answer, since most lengths are powers of two, then
/// halves.
fn longest<E>(
    mut good: u64,
    mut bad: u64,
    mut holds: impl FnMut(u64) -> Result<bool, E>,
) -> Result<u64, E> {
    while good + 1 < bad {
        let middle = good + (bad - good) / 2;
        let next = (2 * good).min(middle).max(good + 1);
        if holds(next)? {
            good = next;
            continue;
        }
        bad = next;
        if next == 2 * good && good + 1 < bad {
            if !holds(good + 1)? {
                break;
            }
            good += 1;
        }
    }
    Ok(good)
}
