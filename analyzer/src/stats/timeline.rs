//! Calls over time: a fixed number of bins that grow wider as the recording grows longer.

use super::times::Times;
use crate::load::Calls;

/// Bins; the last one reaches as far as the longest recording so far.
const BINS: usize = 1024;
/// Bits of the first width, in nanoseconds: about a microsecond.
const FIRST_WIDTH: u32 = 10;

/// One bin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bin {
    /// Calls that began in it.
    pub calls: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Nanoseconds in them.
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

/// Calls over time, from `base` on.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Wall clock of the first bin's start, nanoseconds.
    pub base: u64,
    width: u32,
    bins: Vec<Bin>,
}

impl Timeline {
    /// An empty one.
    pub fn new(base: u64) -> Self {
        Self { base, width: FIRST_WIDTH, bins: vec![Bin::default(); BINS] }
    }

    /// Takes the calls of one chunk, all together where they share a bin, as they mostly do. A moment counts from
    /// the base, in nanoseconds.
    pub fn add(
        &mut self,
        calls: &Calls<'_>,
        times: &Times,
        whole: Bin,
        moment: impl Fn(u64) -> u64,
    ) {
        if whole.calls == 0 {
            return;
        }
        let (mut any, mut all) = (0, u64::MAX);
        calls.for_each(|_, call| {
            any |= call.ticks();
            all &= call.ticks();
        });
        let (first, last) = within(any, all);
        let (first, last) = (moment(first) >> self.width, moment(last) >> self.width);
        if first == last && last < BINS as u64 {
            self.add_bin(first << self.width, whole);
            return;
        }
        calls.for_each(|_, call| self.reach(moment(call.ticks())));
        calls.for_each(|slot, call| {
            let bin = Bin { calls: 1, failed: call.has_failed().into(), time: times.of(slot).ns };
            self.add_bin(moment(call.ticks()), bin);
        });
    }

    /// Grows bins until a moment lies in one.
    #[inline]
    fn reach(&mut self, moment: u64) {
        while moment >> self.width >= BINS as u64 {
            self.widen();
        }
    }

    #[inline]
    fn add_bin(&mut self, moment: u64, more: Bin) {
        self.reach(moment);
        if let Some(bin) = self.bins.get_mut((moment >> self.width) as usize) {
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

    /// Takes all calls of another one. Its bins are put where they begin, so a call may come to stand one
    /// of its bins early.
    pub fn merge(&mut self, other: &Self) {
        let shift = other.base.saturating_sub(self.base);
        for (index, bin) in other.bins.iter().enumerate().filter(|(_, bin)| bin.calls > 0) {
            self.add_bin(shift.saturating_add((index as u64) << other.width), *bin);
        }
    }

    /// Nanoseconds of a bin.
    pub fn bin_ns(&self) -> u64 {
        1 << self.width
    }

    /// Bins up to the last one with a call.
    pub fn bins(&self) -> &[Bin] {
        let used = self.bins.iter().rposition(|bin| bin.calls > 0).map_or(0, |last| last + 1);
        self.bins.get(..used).unwrap_or(&[])
    }

    /// The bins with calls drawn together into so many columns or fewer, and the nanoseconds of one.
    pub fn columns(&self, columns: usize) -> (Vec<Bin>, u64) {
        let bins = self.bins();
        let each = bins.len().div_ceil(columns.max(1)).max(1);
        let drawn =
            bins.chunks(each).map(|chunk| chunk.iter().copied().fold(Bin::default(), Bin::plus));
        (drawn.collect(), self.bin_ns().saturating_mul(each as u64))
    }
}

/// Two moments that all moments lie between or at, as close as a power of two allows, from the bits that any of them has
/// and those that all have.
fn within(any: u64, all: u64) -> (u64, u64) {
    let below = u64::MAX.checked_shr((any ^ all).leading_zeros()).unwrap_or(0);
    (all & !below, any | below)
}

#[cfg(test)]
mod tests {
    use super::{Bin, Timeline};

    #[test]
    fn no_call_is_lost_when_bins_grow_wider() {
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
