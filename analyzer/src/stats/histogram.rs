//! Values in log-linear buckets: each power of two is cut into 64, so a value read back is within 0.8 % of
//! the true one. Smallest and largest are exact.

/// Buckets of one power of two, as a power of two.
const FINE: u32 = 6;

/// Counts of values.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum: u64,
    least: u64,
    most: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            count: 0,
            sum: 0,
            least: u64::MAX,
            most: 0,
        }
    }
}

#[inline]
fn bucket_of(value: u64) -> usize {
    let power = (64 - value.leading_zeros()).saturating_sub(FINE + 1);
    ((u64::from(power) << FINE) + (value >> power)) as usize
}

/// First value of a bucket, and how many it holds.
fn range_of(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    let power = (bucket >> FINE).saturating_sub(1);
    ((bucket - (power << FINE)) << power, 1 << power)
}

impl Histogram {
    /// Takes one value.
    #[inline]
    pub fn add(&mut self, value: u64) {
        let bucket = bucket_of(value);
        match self.counts.get_mut(bucket) {
            Some(count) => *count += 1,
            None => self.grow(bucket),
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    #[cold]
    fn grow(&mut self, bucket: usize) {
        self.counts.resize(bucket, 0);
        self.counts.push(1);
    }

    /// Takes all values of another one.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    /// Values taken.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The smallest, 0 when there is none.
    pub fn least(&self) -> u64 {
        if self.count == 0 { 0 } else { self.least }
    }

    /// The largest.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// The value that `percent` of the values do not exceed, within 0.8 %.
    pub fn percentile(&self, percent: f64) -> u64 {
        self.at_rank((self.count as f64 * percent / 100.0).ceil() as u64)
    }

    /// The value at a rank from 1 on.
    pub fn at_rank(&self, rank: u64) -> u64 {
        let rank = rank.max(1);
        if rank >= self.count {
            return self.most;
        }
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                let (first, width) = range_of(bucket);
                return (first + width / 2).clamp(self.least(), self.most);
            }
        }
        self.most
    }

    /// How many values exceed a bound, give or take those within 1.6 % of it.
    pub fn above(&self, bound: u64) -> u64 {
        self.counts.iter().skip(bucket_of(bound) + 1).sum()
    }

    /// Values between two powers of `base`, as (from, to, count), for drawing: the non-empty span only.
    pub fn coarse(&self, per_octave: u32) -> Vec<(u64, u64, u64)> {
        let step = (1usize << FINE) / (per_octave.clamp(1, 1 << FINE) as usize);
        let chunks = self.counts.chunks(step).enumerate();
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
    use super::{Histogram, bucket_of, range_of};

    #[test]
    fn every_value_lies_in_its_own_bucket() {
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
        assert!(
            histogram.above(900_000).abs_diff(10_000) < 200,
            "{}",
            histogram.above(900_000)
        );
        assert_eq!((histogram.percentile(100.0), histogram.least()), (1_000_000, 10));
    }
}
