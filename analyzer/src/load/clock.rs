//! Ticks into nanoseconds, one at a time or a chunk's worth at once.

/// 2^52: from here on a double counts whole numbers, and its low bits are the number.
const WHOLE: f64 = (1_u64 << 52) as f64;
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

    /// The same for many, to the last bit. Baseline processors have no instruction between doubles and 64-bit
    /// numbers that works on several at once: adding 2^52 rounds to a whole number, and one is taken off
    /// where that was upwards.
    pub fn convert(self, ticks: &mut [u64]) {
        let bound = ticks.iter().fold(0, |all, one| all | one);
        if bound > FRACTION || bound as f64 * self.ns_per_tick >= WHOLE / 2.0 {
            for one in ticks {
                *one = self.nanoseconds(*one);
            }
            return;
        }
        for one in ticks {
            let exact = (f64::from_bits(WHOLE.to_bits() | *one) - WHOLE) * self.ns_per_tick;
            let near = exact + WHOLE;
            *one = (near.to_bits() & FRACTION) - u64::from(near - WHOLE > exact);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn many_at_once_are_converted_as_one_at_a_time() {
        let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random
        };
        for ns_per_tick in [0.02, 1.0 / 3.0, 0.476_190_476, 1.0, 1.5, 99.9] {
            let clock = Clock { ns_per_tick };
            for round in 0..2000 {
                let shift = 12 + round % 52;
                let mut many: [u64; 16] = std::array::from_fn(|_| next() >> shift);
                let one_at_a_time = many.map(|ticks| clock.nanoseconds(ticks));
                clock.convert(&mut many);
                assert_eq!(many, one_at_a_time, "{ns_per_tick} ns a tick, {shift}");
            }
        }
    }
}
