//! Random numbers that are the same on every machine and for ever: a seed names a case.

/// `SplitMix64`. Not a crate, whose next version may draw differently: seeds are written into regression
/// tests and transcripts.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of one case of a run.
    pub fn of_case(seed: u64, number: u64) -> Self {
        let mut outer = Self(seed ^ 0x6d72_656d_6170);
        let start = outer.next() ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut inner = Self(start);
        inner.next();
        inner
    }

    #[allow(clippy::should_implement_trait)] // an endless iterator would be unwrapped everywhere
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in `percent` of a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// One of several, the higher weight the likelier.
    pub fn weighted<T: Copy>(&mut self, of: &[(u64, T)]) -> T {
        let mut left = self.below(of.iter().map(|(weight, _)| weight).sum());
        for &(weight, value) in of {
            if left < weight {
                return value;
            }
            left -= weight;
        }
        of[0].1
    }
}
