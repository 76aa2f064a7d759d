//! Calls over time, in a fixed number of bins whose width doubles as the trace gets longer.

use super::times::Times;
use crate::load::Calls;

/// Number of bins.
const BINS: usize = 1024;
/// log2 of the initial width of a bin in nanoseconds.
const INITIAL_WIDTH: u32 = 10;

/// Totals of the calls that started in one bin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bin {
    /// Calls.
    pub calls: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Time in them, nanoseconds.
    pub time: u64,
}

impl Bin {
    #[inline]
    fn plus(self, more: Self) -> Self {
        Self {
            calls: self.calls + more.calls,
            failed: self.failed + more.failed,
            time: self.time.saturating_add(more.time),
        }
    }
}

/// Calls over time.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Start of the first bin: wall clock, nanoseconds since 1970.
    pub base: u64,
    width: u32,
    bins: Vec<Bin>,
    /// End of the last call, nanoseconds since `base`.
    last: u64,
}

impl Timeline {
    /// An empty timeline.
    pub fn new(base: u64) -> Self {
        Self { base, width: INITIAL_WIDTH, bins: vec![Bin::default(); BINS], last: 0 }
    }

    /// Adds the calls of one chunk, whose totals are `whole`: in one step if they share a bin,
    /// which is the common case. `since_base` converts ticks to nanoseconds since `base`.
    pub fn add(
        &mut self,
        calls: &Calls<'_>,
        times: &Times,
        whole: Bin,
        since_base: impl Fn(u64) -> u64,
    ) {
        if whole.calls == 0 {
            return;
        }
        let (mut any, mut all) = (0, u64::MAX);
        calls.for_each(|_, call| {
            any |= call.ticks();
            all &= call.ticks();
        });
        self.last = self.last.max(since_base(times.latest_end(calls)));
        let (first, last) = bounds(any, all);
        let (first, last) = (since_base(first) >> self.width, since_base(last) >> self.width);
        if first == last && last < BINS as u64 {
            self.add_bin(first << self.width, whole);
            return;
        }
        calls.for_each(|_, call| self.reach(since_base(call.ticks())));
        calls.for_each(|slot, call| {
            let bin = Bin { calls: 1, failed: call.has_failed().into(), time: times.of(slot).ns };
            self.add_bin(since_base(call.ticks()), bin);
        });
    }

    /// Widens the bins until one contains `time`.
    #[inline]
    fn reach(&mut self, time: u64) {
        while time >> self.width >= BINS as u64 {
            self.widen();
        }
    }

    #[inline]
    fn add_bin(&mut self, time: u64, more: Bin) {
        self.reach(time);
        if let Some(bin) = self.bins.get_mut((time >> self.width) as usize) {
            *bin = bin.plus(more);
        }
    }

    #[cold]
    fn widen(&mut self) {
        let folded: Vec<Bin> = self
            .bins
            .chunks(2)
            .map(|pair| pair.iter().copied().fold(Bin::default(), Bin::plus))
            .collect();
        self.bins = folded;
        self.bins.resize(BINS, Bin::default());
        self.width += 1;
    }

    /// Adds another timeline. A bin is added at its start, so calls may appear up to one bin of
    /// `other` too early.
    pub fn merge(&mut self, other: &Self) {
        let shift = other.base.saturating_sub(self.base);
        if other.bins.iter().any(|bin| bin.calls > 0) {
            self.last = self.last.max(shift.saturating_add(other.last));
        }
        for (index, bin) in other.bins.iter().enumerate().filter(|(_, bin)| bin.calls > 0) {
            self.add_bin(shift.saturating_add((index as u64) << other.width), *bin);
        }
    }

    /// Nanoseconds from `base` to the end of the last call.
    pub fn span(&self) -> u64 {
        self.last
    }

    /// Width of a bin, nanoseconds.
    pub fn bin_ns(&self) -> u64 {
        1 << self.width
    }

    /// The bins up to the last one with a call.
    pub fn bins(&self) -> &[Bin] {
        let used = self.bins.iter().rposition(|bin| bin.calls > 0).map_or(0, |last| last + 1);
        self.bins.get(..used).unwrap_or(&[])
    }

    /// The bins merged into at most `columns` columns, and the width of a column in nanoseconds.
    pub fn columns(&self, columns: usize) -> (Vec<Bin>, u64) {
        let bins = self.bins();
        let each = bins.len().div_ceil(columns.max(1)).max(1);
        let drawn =
            bins.chunks(each).map(|chunk| chunk.iter().copied().fold(Bin::default(), Bin::plus));
        (drawn.collect(), self.bin_ns().saturating_mul(each as u64))
    }
}

/// Bounds of a set of numbers from their bitwise OR and AND: the bits above the highest differing
/// one are common to all.
fn bounds(any: u64, all: u64) -> (u64, u64) {
    let below = u64::MAX.checked_shr((any ^ all).leading_zeros()).unwrap_or(0);
    (all & !below, any | below)
}

#[cfg(test)]
mod tests {
    use super::{Bin, Timeline};

    #[test]
    fn widening_bins_loses_no_call() {
        let mut timeline = Timeline::new(0);
        for moment in [0, 5_000, 1 << 30, 1 << 40, u64::MAX >> 1] {
            timeline.add_bin(moment, Bin { calls: 1, ..Bin::default() });
        }
        assert_eq!(timeline.bins().iter().map(|bin| bin.calls).sum::<u64>(), 5);
        let mut other = Timeline::new(1_000);
        other.merge(&timeline);
        assert_eq!(other.bins().iter().map(|bin| bin.calls).sum::<u64>(), 5);
    }
}
