//! Durations of a chunk's calls in nanoseconds, converted in one loop without branches so that the
//! compiler vectorises it.

use mremap_trace::layout::SLOTS_PER_CHUNK;

use super::histogram::{FIRST_OF_DOUBLES, bucket_of, bucket_of_double};
use crate::load::{Calls, Clock};

/// Slots of a chunk, including its header.
const SLOTS: usize = SLOTS_PER_CHUNK as usize;

/// Duration of one call.
#[derive(Clone, Copy)]
pub struct Time {
    /// In nanoseconds.
    pub ns: u64,
    /// Its histogram bucket.
    pub bucket: usize,
}

impl Time {
    /// The duration of `ns` nanoseconds.
    #[cfg(test)]
    pub fn of(ns: u64) -> Self {
        let bucket = bucket_of(ns);
        Self { ns, bucket }
    }
}

/// Durations by slot; undefined for slots without a call.
pub struct Times {
    ns: [u64; SLOTS],
    /// Undefined for durations below [`FIRST_OF_DOUBLES`].
    buckets: [u64; SLOTS],
    /// Whether every duration is below 2^31 ticks, and so stored as it is.
    are_short: bool,
}

impl Default for Times {
    fn default() -> Self {
        let (ns, buckets) = ([0; SLOTS], [0; SLOTS]);
        Self { ns, buckets, are_short: false }
    }
}

impl Times {
    /// Replaces all durations by those of another chunk.
    pub fn fill(&mut self, clock: Clock, calls: &Calls<'_>) {
        self.are_short = clock.is_exact_for_durations() && self.fill_vectorised(clock, calls);
        if !self.are_short {
            for ((ns, bucket), call) in self.entries().zip(calls.slots()) {
                *ns = clock.nanoseconds(call.duration());
                *bucket = bucket_of(*ns) as u64;
            }
        }
    }

    /// Converts without branches. Returns false if a duration was too long for that.
    fn fill_vectorised(&mut self, clock: Clock, calls: &Calls<'_>) -> bool {
        let mut any = 0;
        for ((ns, bucket), call) in self.entries().zip(calls.slots()) {
            any |= call.packed_duration();
            let exact = clock.exactly(call.packed_duration().into());
            *ns = Clock::whole(exact);
            *bucket = bucket_of_double(exact);
        }
        any < 1 << 31
    }

    fn entries(&mut self) -> impl Iterator<Item = (&mut u64, &mut u64)> {
        self.ns.iter_mut().zip(&mut self.buckets)
    }

    /// The largest ticks at which a call ended.
    pub fn latest_end(&self, calls: &Calls<'_>) -> u64 {
        let mut latest = 0;
        if self.are_short {
            calls.for_each(|_, call| {
                let ticks = u64::from(call.packed_duration());
                latest = latest.max(call.ticks().saturating_add(ticks));
            });
        } else {
            calls.for_each(|_, call| {
                latest = latest.max(call.ticks().saturating_add(call.duration()));
            });
        }
        latest
    }

    /// Duration of the call in a slot.
    #[inline]
    pub fn of(&self, slot: usize) -> Time {
        let (ns, bucket) = (self.ns[slot % SLOTS], self.buckets[slot % SLOTS]);
        let bucket = std::hint::select_unpredictable(ns < FIRST_OF_DOUBLES, ns, bucket) as usize;
        Time { ns, bucket }
    }
}

#[cfg(test)]
mod tests {
    use mremap_trace::layout::SLOT_SIZE;
    use mremap_trace::{Call, Outcome, Record};

    use super::{SLOTS, Times};
    use crate::load::{Calls, Clock};
    use crate::stats::histogram::bucket_of;

    #[test]
    fn converts_each_duration_as_the_clock_does() {
        // A duration of 2^40 ticks is stored in units of 1024.
        for longest in [3000, 1 << 30, 1 << 40] {
            let durations: [u64; SLOTS] = std::array::from_fn(|slot| longest * slot as u64 / 63);
            let slots = durations.map(|duration| {
                let call = Record::Call(Call {
                    outcome: Outcome::OneVma,
                    ticks: 0,
                    duration,
                    old: 0,
                    old_len: 0,
                    new_len: 0,
                    flags: 0,
                    new: 0,
                    result: 0,
                    caller: 0,
                });
                let mut slot = [0; SLOT_SIZE];
                for (bytes, word) in slot.as_chunks_mut().0.iter_mut().zip(call.encode()) {
                    *bytes = word.to_ne_bytes();
                }
                slot
            });
            let calls = Calls::among(&slots, u64::MAX);
            for ns_per_tick in [0.476_190_476, 1.0, 99.9, 1e9] {
                let clock = Clock { ns_per_tick };
                let mut times = Times::default();
                times.fill(clock, &calls);
                let ends = calls.iter().map(|(_, call)| call.ticks + call.duration);
                assert_eq!(Some(times.latest_end(&calls)), ends.max());
                for (slot, call) in &calls {
                    let (ns, time) = (clock.nanoseconds(call.duration), times.of(slot as usize));
                    assert_eq!(
                        (time.ns, time.bucket),
                        (ns, bucket_of(ns)),
                        "{} ticks",
                        call.duration
                    );
                }
            }
        }
    }
}
