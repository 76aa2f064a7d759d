//! How long the calls of a chunk took, worked out for all at once: a loop without branches works on two numbers at
//! a time.

use mremap_trace::layout::SLOTS_PER_CHUNK;

use super::histogram::{FIRST_OF_DOUBLES, bucket_of, bucket_of_double};
use crate::load::{Calls, Clock};

/// Slots of a chunk, one of which is its header.
const ROOM: usize = SLOTS_PER_CHUNK as usize;

/// How long one call took.
#[derive(Clone, Copy)]
pub struct Time {
    /// Nanoseconds.
    pub ns: u64,
    /// Their bucket in a histogram.
    pub bucket: usize,
}

impl Time {
    /// Of so many nanoseconds.
    #[cfg(test)]
    pub fn of(ns: u64) -> Self {
        let bucket = bucket_of(ns);
        Self { ns, bucket }
    }
}

/// Times of a chunk's calls, by their slots. Those of other slots mean nothing.
pub struct Times {
    ns: [u64; ROOM],
    /// Those of times from [`FIRST_OF_DOUBLES`] on.
    buckets: [u64; ROOM],
}

impl Default for Times {
    fn default() -> Self {
        let (ns, buckets) = ([0; ROOM], [0; ROOM]);
        Self { ns, buckets }
    }
}

impl Times {
    /// Takes the calls of a chunk in the place of those of an earlier one.
    pub fn fill(&mut self, clock: Clock, calls: &Calls<'_>) {
        if !clock.is_exact_for_durations() || !self.fill_at_once(clock, calls) {
            for ((ns, bucket), call) in self.places().zip(calls.slots()) {
                *ns = clock.nanoseconds(call.duration());
                *bucket = bucket_of(*ns) as u64;
            }
        }
    }

    /// The same by a loop without branches; whether all durations were short enough to be stored as they are.
    fn fill_at_once(&mut self, clock: Clock, calls: &Calls<'_>) -> bool {
        let mut any = 0;
        for ((ns, bucket), call) in self.places().zip(calls.slots()) {
            any |= call.packed_duration();
            let exact = clock.exactly(call.packed_duration().into());
            *ns = Clock::whole(exact);
            *bucket = bucket_of_double(exact);
        }
        any < 1 << 31
    }

    fn places(&mut self) -> impl Iterator<Item = (&mut u64, &mut u64)> {
        self.ns.iter_mut().zip(&mut self.buckets)
    }

    /// That of the call in a slot.
    #[inline]
    pub fn of(&self, slot: usize) -> Time {
        let (ns, bucket) = (self.ns[slot % ROOM], self.buckets[slot % ROOM]);
        let bucket = std::hint::select_unpredictable(ns < FIRST_OF_DOUBLES, ns, bucket) as usize;
        Time { ns, bucket }
    }
}

#[cfg(test)]
mod tests {
    use mremap_trace::layout::SLOT_SIZE;
    use mremap_trace::{Call, Outcome, Record};

    use super::{ROOM, Times};
    use crate::load::{Calls, Clock};
    use crate::stats::histogram::bucket_of;

    #[test]
    fn times_are_those_of_each_call_by_itself() {
        // The last one makes a chunk with a duration that is stored in units of 1024 ticks.
        for longest in [3000, 1 << 30, 1 << 40] {
            let durations: [u64; ROOM] = std::array::from_fn(|slot| longest * slot as u64 / 63);
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
                for (slot, call) in calls.iter() {
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
