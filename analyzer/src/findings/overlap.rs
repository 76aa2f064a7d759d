//! What happened at the same time in one process.

use std::collections::VecDeque;

use mremap_trace::Outcome;

use super::finding::Kind;
use crate::load::Process;
use crate::model::Event;
use crate::model::units::counted;

/// Events remembered; older ones have nearly always ended.
const MOST: usize = 128;

struct Former {
    number: u64,
    tid: u32,
    caller: u64,
    /// Nanoseconds from the trace's start.
    start: u64,
    end: u64,
    /// An emulated move of several parts.
    in_parts: bool,
    parts: usize,
    /// It has been said already that others ran meanwhile.
    told: bool,
    source: (u64, u64),
    target: Option<(u64, u64)>,
}

/// A finding about an event that may not be the one looked at.
pub struct Overlap {
    /// What was found.
    pub kind: Kind,
    /// The event.
    pub event: u64,
    /// Its thread.
    pub tid: u32,
    /// Return address of its call.
    pub caller: u64,
    /// What was seen.
    pub what: String,
}

impl Former {
    fn finding(&self, kind: Kind, what: String) -> Overlap {
        Overlap { kind, event: self.number, tid: self.tid, caller: self.caller, what }
    }
}

/// The last events of a process.
#[derive(Default)]
pub struct Recent {
    former: VecDeque<Former>,
}

fn meet(a: (u64, u64), b: (u64, u64)) -> bool {
    a.0 < b.1 && b.0 < a.1
}

impl Recent {
    /// Takes the next event; what overlaps with it.
    pub fn take(&mut self, process: &Process, event: &Event) -> Vec<Overlap> {
        let call = &event.call;
        let start = process.since_start(call.ticks);
        let range = |start: u64, len: u64| (start, start.saturating_add(len.max(1)));
        let lands = call.errno().is_none().then_some(call.result as u64);
        let mut now = Former {
            number: event.number,
            tid: event.tid,
            caller: call.caller,
            start,
            end: start.saturating_add(process.nanoseconds(call.duration)),
            in_parts: call.outcome == Outcome::Emulated && event.parts.len() > 1,
            parts: event.parts.len(),
            told: false,
            source: range(call.old, call.old_len),
            target: lands.map(|address| range(address, call.new_len)),
        };
        let mut found = Vec::new();
        for former in &mut self.former {
            if former.tid == now.tid || former.end <= now.start {
                continue;
            }
            look(former, &mut now, &mut found);
        }
        self.former.retain(|former| former.end > start);
        if self.former.len() == MOST {
            self.former.pop_front();
        }
        self.former.push_back(now);
        found
    }
}

/// Two events of different threads that overlap in time.
fn look(former: &mut Former, now: &mut Former, found: &mut Vec<Overlap>) {
    found.extend(tell_once(former, now));
    found.extend(tell_once(now, former));
    let ranges = |event: &Former| [Some(event.source), event.target];
    let touch = ranges(former)
        .into_iter()
        .flatten()
        .any(|a| ranges(now).into_iter().flatten().any(|b| meet(a, b)));
    if touch {
        let what = format!(
            "event {} of thread {} was at the same addresses at the same time",
            former.number, former.tid
        );
        found.push(now.finding(Kind::Race, what));
    }
}

/// A move in parts, met by another thread's event for the first time.
fn tell_once(this: &mut Former, other: &Former) -> Option<Overlap> {
    if !this.in_parts || this.told {
        return None;
    }
    this.told = true;
    let (parts, thread, event) = (this.parts, other.tid, other.number);
    let what = format!(
        "{} one by one, while thread {thread} was in event {event}",
        counted(parts as u64, "part")
    );
    Some(this.finding(Kind::NotAtomic, what))
}
