//! Conversion of ticks to nanoseconds.

/// 2^52: larger doubles are whole numbers, and their low bits are the number.
const WHOLE: f64 = (1_u64 << 52) as f64;
/// Longest duration that a record holds, in ticks.
const LONGEST: f64 = (1_u64 << 41) as f64;
/// The fraction bits of a double.
const FRACTION: u64 = (1 << 52) - 1;

/// The length of a tick.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Nanoseconds per tick.
    pub ns_per_tick: f64,
}

impl Clock {
    /// Converts ticks to nanoseconds.
    #[inline]
    pub fn nanoseconds(self, ticks: u64) -> u64 {
        (ticks as f64 * self.ns_per_tick) as u64
    }

    /// Whether [`Clock::exactly`] and [`Clock::whole`] are exact for every duration that a record
    /// holds.
    #[inline]
    pub fn is_exact_for_durations(self) -> bool {
        self.ns_per_tick * LONGEST < WHOLE / 2.0
    }

    /// Converts a duration to nanoseconds with fractions, in a form that compilers vectorise:
    /// baseline x86-64 has no vector instruction that converts 64-bit integers to doubles.
    #[inline]
    pub fn exactly(self, ticks: u64) -> f64 {
        (f64::from_bits(WHOLE.to_bits() | ticks) - WHOLE) * self.ns_per_tick
    }

    /// Rounds down to whole nanoseconds: adding 2^52 rounds to nearest, and 1 is subtracted if that
    /// was up.
    #[inline]
    pub fn whole(exact: f64) -> u64 {
        let near = exact + WHOLE;
        (near.to_bits() & FRACTION).wrapping_sub(u64::from(near - WHOLE > exact))
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn both_conversions_agree_on_every_duration() {
        let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random
        };
        for ns_per_tick in [0.02, 1.0 / 3.0, 0.476_190_476, 1.0, 1.5, 99.9] {
            let clock = Clock { ns_per_tick };
            assert!(clock.is_exact_for_durations());
            for round in 0..2000 {
                let shift = 23 + round % 41;
                let ticks = next() >> shift;
                let whole = Clock::whole(clock.exactly(ticks));
                assert_eq!(whole, clock.nanoseconds(ticks), "{ticks} ticks of {ns_per_tick} ns");
            }
        }
    }
}
