//! A histogram with log-linear buckets: 64 for each power of two, so a percentile is within 0.8 %
//! of the true value. Minimum and maximum are exact.

use std::collections::BTreeMap;

/// log2 of the number of buckets for each power of two.
const FINE: u32 = 6;

/// Counts of values. A count has 32 bits; the few that overflow continue in `overflows`.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u32>,
    /// How often a bucket's count has overflowed.
    overflows: BTreeMap<usize, u64>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            overflows: BTreeMap::new(),
            count: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

/// The bucket of `value`.
#[inline]
pub fn bucket_of(value: u64) -> usize {
    let power = (64 - value.leading_zeros()).saturating_sub(FINE + 1);
    ((u64::from(power) << FINE) + (value >> power)) as usize
}

/// The first bucket of the next power of two.
pub fn first_of_next_power(bucket: usize) -> usize {
    ((bucket >> FINE) + 1) << FINE
}

/// Least value that [`bucket_of_double`] accepts.
pub const FIRST_OF_DOUBLES: u64 = 1 << FINE;

/// The bucket of a value of at least [`FIRST_OF_DOUBLES`]: exponent and leading fraction bits of
/// the double.
#[inline]
pub fn bucket_of_double(value: f64) -> u64 {
    /// Aligns the bits of the least value with its bucket.
    const OFFSET: u64 = ((FIRST_OF_DOUBLES as f64).to_bits() >> (52 - FINE)) - FIRST_OF_DOUBLES;
    (value.to_bits() >> (52 - FINE)).wrapping_sub(OFFSET)
}

/// First value of a bucket, and its width.
fn range_of(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    let power = (bucket >> FINE).saturating_sub(1);
    ((bucket - (power << FINE)) << power, 1 << power)
}

impl Histogram {
    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        self.measure(u128::from(value), value, value);
        self.count_in(bucket_of(value), 1);
    }

    /// Adds sum, minimum and maximum of values that [`Histogram::count_in`] counts.
    pub fn measure(&mut self, sum: u128, min: u64, max: u64) {
        self.sum += sum;
        self.min = self.min.min(min);
        self.max = self.max.max(max);
    }

    /// Counts `more` values in a bucket.
    pub fn count_in(&mut self, bucket: usize, more: u64) {
        self.count += more;
        self.reach(bucket + 1);
        let sum = u64::from(self.counts[bucket]) + more;
        self.counts[bucket] = sum as u32;
        if sum >> 32 > 0 {
            *self.overflows.entry(bucket).or_default() += sum >> 32;
        }
    }

    /// Counts values in all buckets: `counts` has the number for each.
    pub fn count_all(&mut self, counts: &[u8]) {
        let used = counts.iter().rposition(|more| *more > 0).map_or(0, |last| last + 1);
        self.reach(used);
        for (bucket, more) in counts.iter().enumerate().take(used) {
            let (sum, overflowed) = self.counts[bucket].overflowing_add(u32::from(*more));
            self.counts[bucket] = sum;
            if overflowed {
                *self.overflows.entry(bucket).or_default() += 1;
            }
        }
        self.count += counts.iter().map(|more| u64::from(*more)).sum::<u64>();
    }

    /// Makes room for `buckets` buckets.
    fn reach(&mut self, buckets: usize) {
        if self.counts.len() < buckets {
            self.counts.resize(buckets, 0);
        }
    }

    /// The count of each bucket, up to the last one in use.
    fn counts(&self) -> impl Iterator<Item = u64> {
        let overflows = |bucket| self.overflows.get(&bucket).copied().unwrap_or(0);
        let counts = self.counts.iter().enumerate();
        counts.map(move |(bucket, count)| u64::from(*count) + (overflows(bucket) << 32))
    }

    /// Adds all values of another one.
    pub fn merge(&mut self, other: &Self) {
        self.reach(other.counts.len());
        self.measure(other.sum, other.min, other.max);
        let fits = |(count, more): (&u32, &u32)| count.checked_add(*more).is_some();
        if other.overflows.is_empty() && self.counts.iter().zip(&other.counts).all(fits) {
            self.count += other.count;
            for (count, more) in self.counts.iter_mut().zip(&other.counts) {
                *count += more;
            }
        } else {
            for (bucket, more) in other.counts().enumerate().filter(|(_, more)| *more > 0) {
                self.count_in(bucket, more);
            }
        }
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum; `u64::MAX` if it does not fit.
    pub fn sum(&self) -> u64 {
        u64::try_from(self.sum).unwrap_or(u64::MAX)
    }

    /// The smallest value, 0 if there is none.
    pub fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min }
    }

    /// The largest value.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The `percent`th percentile, within 0.8 %.
    pub fn percentile(&self, percent: f64) -> u64 {
        self.at_rank((self.count as f64 * percent / 100.0).ceil() as u64)
    }

    /// The value at a rank, counted from 1.
    pub fn at_rank(&self, rank: u64) -> u64 {
        let rank = rank.max(1);
        if rank >= self.count {
            return self.max;
        }
        let mut seen = 0;
        for (bucket, count) in self.counts().enumerate() {
            seen += count;
            if seen >= rank {
                let (first, width) = range_of(bucket);
                return (first + width / 2).clamp(self.min(), self.max);
            }
        }
        self.max
    }

    /// Number of values above `bound`; those within 1.6 % of it may be counted either way.
    pub fn above(&self, bound: u64) -> u64 {
        self.counts().skip(bucket_of(bound) + 1).sum()
    }

    /// The buckets merged to `per_octave` for each power of two, as (from, to, count), from the
    /// first used bucket on.
    pub fn coarse(&self, per_octave: u32) -> Vec<(u64, u64, u64)> {
        let step = (1usize << FINE) / (per_octave.clamp(1, 1 << FINE) as usize);
        let counts: Vec<u64> = self.counts().collect();
        let chunks = counts.chunks(step).enumerate();
        let mut bars: Vec<(u64, u64, u64)> = chunks
            .map(|(index, counts)| {
                let first = range_of(index * step).0;
                let (last, width) = range_of(index * step + counts.len() - 1);
                (first, last + width, counts.iter().sum())
            })
            .collect();
        let first = bars.iter().position(|bar| bar.2 > 0).unwrap_or(bars.len());
        bars.drain(..first);
        bars
    }
}

#[cfg(test)]
mod tests {
    use super::{FINE, Histogram, bucket_of, bucket_of_double, range_of};

    #[test]
    fn a_double_has_the_bucket_of_its_whole_part() {
        for power in FINE..50 {
            for from in [1_u64 << power, (1 << power) + (1 << (power - 1)), (2 << power) - 3] {
                for value in from..from + 3 {
                    for fraction in [0.0, 0.25, 0.99] {
                        let double = value as f64 + fraction;
                        assert_eq!(
                            bucket_of_double(double),
                            bucket_of(double as u64) as u64,
                            "{double}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn counts_of_many_buckets_are_those_of_each() {
        let (mut together, mut apart) = (Histogram::default(), Histogram::default());
        let nearly = u64::from(u32::MAX) - 100;
        together.count_in(2, nearly);
        apart.count_in(2, nearly);
        together.count_all(&[1, 0, 255, 3, 0]);
        for (bucket, more) in [(0, 1), (2, 255), (3, 3)] {
            apart.count_in(bucket, more);
        }
        assert_eq!(together.count(), nearly + 259);
        assert_eq!(together.counts().collect::<Vec<_>>(), apart.counts().collect::<Vec<_>>());
    }

    #[test]
    fn a_count_overflowed_32_bits() {
        let mut histogram = Histogram::default();
        histogram.add(7);
        for _ in 0..33 {
            histogram.merge(&histogram.clone());
        }
        histogram.add(9);
        assert_eq!(histogram.count(), (1 << 33) + 1);
        assert_eq!(histogram.sum(), (7 << 33) + 9);
        assert_eq!((histogram.at_rank(1 << 33), histogram.max()), (7, 9));
        assert_eq!(histogram.coarse(64).first(), Some(&(7, 8, 1 << 33)));
    }

    #[test]
    fn every_value_is_within_its_bucket() {
        let mut value = 1u64;
        while value < 1 << 62 {
            for near in [value - 1, value, value + 1, value + value / 3] {
                let (first, width) = range_of(bucket_of(near));
                assert!((first..first + width).contains(&near), "{near}");
                assert!(width == 1 || width * 64 <= near, "{near} in a bucket of {width}");
            }
            value = value * 2 + 1;
        }
        assert!(range_of(bucket_of(u64::MAX)).0 < u64::MAX);
    }

    #[test]
    fn percentiles_are_within_a_hundredth() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000u64 {
            histogram.add(value * 10);
        }
        for percent in [1.0, 50.0, 90.0, 99.9] {
            let exact = percent / 100.0 * 1_000_000.0;
            let read = histogram.percentile(percent) as f64;
            assert!((read - exact).abs() / exact < 0.008, "{percent}: {read}");
        }
        assert!(histogram.above(900_000).abs_diff(10_000) < 200, "{}", histogram.above(900_000));
        assert_eq!((histogram.percentile(100.0), histogram.min()), (1_000_000, 10));
    }
}
