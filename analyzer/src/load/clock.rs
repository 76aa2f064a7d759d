//! Ticks into nanoseconds, any number of them, or durations quickly.

/// 2^52: from here on a double counts whole numbers, and its low bits are the number.
const WHOLE: f64 = (1_u64 << 52) as f64;
/// Ticks of the longest duration that a record can hold.
const LONGEST: f64 = (1_u64 << 41) as f64;
/// The bits of a double's fraction.
const FRACTION: u64 = (1 << 52) - 1;

/// How long a tick is.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Nanoseconds of a tick.
    pub ns_per_tick: f64,
}

impl Clock {
    /// A number of ticks in nanoseconds.
    #[inline]
    pub fn nanoseconds(self, ticks: u64) -> u64 {
        (ticks as f64 * self.ns_per_tick) as u64
    }

    /// Whether [`Clock::exactly`] and [`Clock::whole`] are right for every duration that a record can hold.
    #[inline]
    pub fn is_exact_for_durations(self) -> bool {
        self.ns_per_tick * LONGEST < WHOLE / 2.0
    }

    /// A duration in nanoseconds and fractions of them. Baseline processors have no instruction between doubles and
    /// 64-bit numbers that works on several at once; the bits of 2^52 and a number below it are their sum's.
    #[inline]
    pub fn exactly(self, ticks: u64) -> f64 {
        (f64::from_bits(WHOLE.to_bits() | ticks) - WHOLE) * self.ns_per_tick
    }

    /// The nanoseconds without fractions: adding 2^52 rounds to a whole number, and one is taken off where that was
    /// upwards.
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
    fn every_duration_is_converted_to_the_last_bit() {
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
