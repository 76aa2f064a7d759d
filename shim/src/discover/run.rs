//! VMAs that probably follow the last one in its own way, to be moved before it is known: their own moves tell most of
//! what there is to know, and what is left a question for many of them at once.
//!
//! ```text
//!            |   last    | gap |   like it   | gap |   like it   |
//!           from               ^start        ^end
//! ```
//!
//! The kernel moves `[start, end)` only if one VMA holds it. What can be wrong then:
//!
//! - It was refused, its target unmapped. No loss: the whole destination was asked for and is free, and nobody else is
//!   there to map something.
//! - The gap was none, or the VMA reached into it. Something is left between `from` and the end of the last part moved:
//!   one question, and all of them are taken back (`crate::supposed`).
//! - Without gaps: the VMA reached across `end`. It was moved in two pieces, which have grown together again. One in
//!   [`SAMPLE`] ends is asked for before, so that a long VMA is not moved in many.
//!
//! The first VMA is supposed to be like the last move's, where the last two moves were alike.
//!
//! All of this for VMAs that grow together again ([`Files::AllPlain`](super::evidence::Files)): not for those of huge
//! pages, whose moves begin at a huge page's boundary or fail.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mremap_plan::Range;

/// Parts moved before what is left is asked for.
const MOST_PARTS: u64 = 64;
/// Of so many ends without a gap the last one is asked for.
const SAMPLE: u64 = 8;
/// The smallest huge page there is.
const HUGE_PAGE: u64 = if cfg!(target_arch = "x86_64") {
    1 << 21
} else {
    1 << 16
};

/// How VMAs follow each other: pages of nothing, then so many bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) gap: u64,
    pub(super) len: u64,
}

/// The shape of the last move's VMAs, and whether it was that of the one before, too: who moves one thing often moves
/// it again. Written by one thread at a time; what is read is only supposed.
static LAST_GAP: AtomicU64 = AtomicU64::new(0);
static LAST_LEN: AtomicU64 = AtomicU64::new(0);
static LASTED: AtomicBool = AtomicBool::new(false);

impl Shape {
    /// That of the last two moves, if they had one.
    pub(super) fn of_last_moves() -> Option<Self> {
        LASTED.load(Ordering::Relaxed).then(Self::last)
    }

    fn last() -> Self {
        Self {
            gap: LAST_GAP.load(Ordering::Relaxed),
            len: LAST_LEN.load(Ordering::Relaxed),
        }
    }

    /// VMAs of this shape were moved.
    pub(super) fn remember(self) {
        LASTED.store(self == Self::last(), Ordering::Relaxed);
        LAST_GAP.store(self.gap, Ordering::Relaxed);
        LAST_LEN.store(self.len, Ordering::Relaxed);
    }

    /// It did not last.
    pub(super) fn forget() {
        LASTED.store(false, Ordering::Relaxed);
    }
}

/// Parts that are alike.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    from: u64,
    /// Bytes from there to the first part.
    lead: u64,
    gap: u64,
    len: u64,
    until: u64,
    distance: u64,
    /// The first part is known to be no mapping of huge pages.
    first_is_small: bool,
}

impl Run {
    /// The parts from `from` on, all of one shape, the first one after `lead` bytes, to be moved by `distance`. The
    /// last may be cut off by the range's end.
    pub(super) fn new(from: u64, until: u64, lead: u64, shape: Shape, distance: u64) -> Self {
        let Shape { gap, len } = shape;
        let longest = (gap + len).saturating_mul(MOST_PARTS);
        Self {
            from,
            lead,
            gap,
            len,
            until: until.min(from.saturating_add(longest)),
            distance,
            first_is_small: false,
        }
    }

    /// A part that a huge page's mapping may begin with is none of a run, unless it is the first and this says that it
    /// is not one.
    pub(super) fn small_from_the_first(mut self, is_small: impl FnOnce(u64, u64) -> bool) -> Option<Self> {
        let first = self.from + self.lead;
        if self.may_be_huge(first) {
            self.first_is_small = is_small(first, self.len.min(self.until - first));
            return self.first_is_small.then_some(self);
        }
        Some(self)
    }

    fn may_be_huge(&self, start: u64) -> bool {
        (start | start.wrapping_add(self.distance)) & (HUGE_PAGE - 1) == 0
    }

    /// Leaves only what `ends_at` says of: asked for one in [`SAMPLE`] of the parts' ends, or for each where they are
    /// so long that a huge page fits between two that are asked for. Those before the range's end need no gap's check.
    pub(super) fn cut_where(mut self, range_end: u64, mut ends_at: impl FnMut(u64) -> bool) -> Option<Self> {
        let step = if self.len <= HUGE_PAGE / (2 * SAMPLE) {
            self.len * SAMPLE
        } else {
            self.len
        };
        let mut end = self.from;
        while end < self.until {
            let next = (end + step).min(self.until);
            if next < range_end && !ends_at(next) {
                break;
            }
            end = next;
        }
        self.until = end;
        (end > self.from).then_some(self)
    }

    /// How its parts follow each other.
    pub(super) fn shape(&self) -> Shape {
        Shape {
            gap: self.gap,
            len: self.len,
        }
    }

    /// Whether there are gaps, in which something may be left.
    pub(crate) fn has_gaps(&self) -> bool {
        self.gap != 0
    }

    /// Where it begins: the end of the VMA before.
    pub(crate) fn from(&self) -> u64 {
        self.from
    }

    /// The parts, up to the first that a huge page's mapping may begin with.
    #[inline]
    pub(crate) fn parts(self) -> impl Iterator<Item = Range> {
        let mut start = self.from + self.lead;
        let mut is_small = self.first_is_small;
        core::iter::from_fn(move || {
            if start >= self.until || !is_small && self.may_be_huge(start) {
                return None;
            }
            is_small = false;
            let end = (start + self.len).min(self.until);
            let part = Range { start, end };
            start = end + self.gap;
            Some(part)
        })
    }
}
