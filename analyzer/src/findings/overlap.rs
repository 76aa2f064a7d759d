//! Calls of several threads at the same time: races, and moves that were not atomic.
//!
//! A record has the begin and the end of its call. The kernel did its work at an unknown moment
//! between them. Memory that a call freed may therefore belong to another thread before the call
//! ends, and memory that a call was given may have belonged to another thread after the call began:
//!
//! ```text
//!  thread 1   |begin ......... frees A ......... end|
//!  thread 2          mmap = A   |begin .... moves A .... end|
//! ```
//!
//! A race is reported only when the same memory must have belonged to two calls at once, whatever
//! the moments, or when a call does not find its source because another thread has just moved it
//! away.

use std::collections::VecDeque;

use mremap_trace::Outcome;

use super::finding::Kind;
use crate::load::Process;
use crate::model::Event;
use crate::model::names::{DONTUNMAP, FIXED};
use crate::model::units::counted;

/// Calls remembered of one process. Older ones have nearly always ended.
const MAX_FORMER: usize = 128;
/// Ranges compared of one call; a move may have tens of thousands of parts.
const MAX_HELD: usize = 64;
/// How long after a move its source is still missed, nanoseconds.
const JUST: u64 = 100_000;
/// The source is not mapped, or not in one VMA.
const EFAULT: u32 = 14;

type Range = (u64, u64);

/// Memory that belonged to a call's thread.
struct Held {
    addresses: Range,
    /// From when to when for certain, in nanoseconds since the trace's start. Begin and end are
    /// equal when only that moment is certain.
    time: Range,
    /// Whether the call unmapped it or moved it away.
    is_freed: bool,
}

impl Held {
    /// Whether the same memory belonged to both threads at one moment.
    fn contradicts(&self, other: &Self) -> bool {
        meet(self.addresses, other.addresses) && meet(self.time, other.time)
    }
}

fn meet(a: Range, b: Range) -> bool {
    a.0 < b.1 && b.0 < a.1
}

/// A call.
struct Former {
    number: u64,
    tid: u32,
    /// Whether findings may be about it.
    is_wanted: bool,
    /// Begin and end, nanoseconds since the trace's start.
    time: Range,
    /// Parts of an emulated move of several; else 0.
    parts: u64,
    /// It was reported that another thread ran during the move.
    is_reported: bool,
    held: Vec<Held>,
    /// The start of the source, when the call failed because nothing was mapped there.
    missing: Option<u64>,
}

/// A finding about one of two calls.
pub struct Overlap {
    /// What was found.
    pub kind: Kind,
    /// The event.
    pub event: u64,
    /// Its thread.
    pub tid: u32,
    /// What was seen.
    pub what: String,
}

/// The latest calls of a process.
#[derive(Default)]
pub struct Recent {
    former: VecDeque<Former>,
}

impl Recent {
    /// Takes the next event; returns what follows from it and those at the same time.
    pub fn take(&mut self, process: &Process, event: &Event, is_wanted: bool) -> Vec<Overlap> {
        let mut now = Former::of(process, event, is_wanted);
        let mut found = Vec::new();
        self.former.retain(|former| former.time.1.saturating_add(JUST) > now.time.0);
        let tid = now.tid;
        let mut is_race = false;
        for former in self.former.iter_mut().rev().filter(|former| former.tid != tid) {
            if meet(former.time, now.time) {
                found.extend(former.report_not_atomic(&now));
                found.extend(now.report_not_atomic(former));
            }
            found.extend(now.report_missing(former));
            found.extend(former.report_missing(&now));
            if !is_race {
                let race = now.report_race(former);
                is_race = race.is_some();
                found.extend(race);
            }
        }
        if self.former.len() == MAX_FORMER {
            self.former.pop_front();
        }
        self.former.push_back(now);
        found
    }
}

impl Former {
    fn of(process: &Process, event: &Event, is_wanted: bool) -> Self {
        let call = &event.call;
        let begin = process.since_start(call.ticks);
        let in_parts = call.outcome == Outcome::Emulated && event.parts.len() > 1;
        let mut former = Self {
            number: event.number,
            tid: event.tid,
            is_wanted,
            time: (begin, begin.saturating_add(process.nanoseconds(call.duration))),
            parts: if in_parts { event.parts.len() as u64 } else { 0 },
            is_reported: false,
            held: Vec::new(),
            missing: (call.errno() == Some(EFAULT)).then_some(call.old),
        };
        if call.errno().is_none() && call.outcome != Outcome::Begun {
            former.hold(event, u64::from(process.header.page_size.max(1)));
        }
        former
    }

    /// Notes the memory that the call of an event held. The call succeeded.
    fn hold(&mut self, event: &Event, page: u64) {
        let call = &event.call;
        let end = |start: u64, len: u64| {
            start.saturating_add(len.checked_next_multiple_of(page).unwrap_or(u64::MAX))
        };
        let (old, new) = (call.old, call.result as u64);
        let (old_end, new_end) = (end(old, call.old_len), end(new, call.new_len));
        if old == new {
            let common = old_end.min(new_end);
            self.hold_throughout((old, common));
            self.hold_until_freed((common, old_end));
            self.hold_at_end((common, new_end));
            return;
        }
        let is_fixed = call.flags & FIXED != 0;
        let stays = call.flags & DONTUNMAP != 0 || call.old_len == 0;
        let mut hold = |source: Range, target: Range| {
            if stays {
                self.hold_throughout(source);
            } else {
                self.hold_until_freed(source);
            }
            if is_fixed { self.hold_throughout(target) } else { self.hold_at_end(target) }
        };
        if !is_fixed || call.outcome == Outcome::OneVma {
            hold((old, old_end), (new, new_end));
        } else if event.parts.is_empty() {
            // There may be gaps, under which other threads have mappings. The first page is not in
            // one.
            hold((old, old_end.min(old.saturating_add(page))), (new, new.saturating_add(page)));
        } else {
            for part in event.parts.iter().take(MAX_HELD) {
                let target = event.target(part.start);
                let len = part.end.saturating_sub(part.start);
                hold((part.start, part.end), (target, target.saturating_add(len)));
            }
        }
    }

    fn hold_throughout(&mut self, addresses: Range) {
        self.held.push(Held { addresses, time: self.time, is_freed: false });
    }

    fn hold_until_freed(&mut self, addresses: Range) {
        let begin = self.time.0;
        self.held.push(Held { addresses, time: (begin, begin), is_freed: true });
    }

    fn hold_at_end(&mut self, addresses: Range) {
        let end = self.time.1;
        self.held.push(Held { addresses, time: (end, end), is_freed: false });
    }

    fn finding(&self, kind: Kind, what: String) -> Option<Overlap> {
        self.is_wanted.then_some(Overlap { kind, event: self.number, tid: self.tid, what })
    }

    /// Reports a move in parts with another thread's call during it, once.
    fn report_not_atomic(&mut self, other: &Self) -> Option<Overlap> {
        if self.parts == 0 || std::mem::replace(&mut self.is_reported, true) {
            return None;
        }
        let what = format!(
            "{} one by one, while thread {} was in event {}",
            counted(self.parts, "part"),
            other.tid,
            other.number
        );
        self.finding(Kind::NotAtomic, what)
    }

    /// Reports that two calls used the same memory at once.
    fn report_race(&self, other: &Self) -> Option<Overlap> {
        let both = self.held.iter().find(|a| other.held.iter().any(|b| a.contradicts(b)))?;
        let what = format!(
            "event {} of thread {} used {:#x} at the same time",
            other.number, other.tid, both.addresses.0
        );
        self.finding(Kind::Race, what)
    }

    /// Reports that the source of this call was missing because the other call freed it, once.
    fn report_missing(&mut self, other: &Self) -> Option<Overlap> {
        let old = self.missing.filter(|_| other.time.0 < self.time.1)?;
        let mut freed = other.held.iter().filter(|held| held.is_freed);
        freed.find(|held| (held.addresses.0..held.addresses.1).contains(&old))?;
        self.missing = None;
        let what = format!(
            "EFAULT, because event {} of thread {} has just moved {old:#x} away",
            other.number, other.tid
        );
        self.finding(Kind::Race, what)
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, Range};

    /// Addresses that a call held during `time`.
    fn held(addresses: Range, time: Range) -> Held {
        Held { addresses, time, is_freed: false }
    }

    #[test]
    fn only_times_that_must_meet_contradict() {
        let whole = held((0, 8), (10, 20));
        for (time, is_race) in [
            ((15, 25), true),
            ((20, 25), false),
            ((15, 15), true),
            ((10, 10), false),
            ((20, 20), false),
            ((5, 5), false),
        ] {
            assert_eq!(whole.contradicts(&held((4, 12), time)), is_race, "{time:?}");
            assert!(!whole.contradicts(&held((8, 12), time)), "other memory");
        }
        let (begin, end) = (held((0, 8), (12, 12)), held((0, 8), (12, 12)));
        assert!(!begin.contradicts(&end), "the memory may have changed hands in between");
    }
}
