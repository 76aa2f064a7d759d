//! Moves that one call of Linux 6.17 could have made: several in a row by one thread, of
//! neighbouring ranges, by the same distance.

use std::collections::HashMap;

use super::finding::Evidence;
use crate::load::Process;
use crate::model::units::{count, counted, duration, size};
use crate::model::{Event, is_move};

/// Longest pause between two moves of a run, nanoseconds.
const LONGEST_PAUSE: u64 = 1_000_000;
/// Largest gap between two ranges of a run: a larger one probably has mappings that must not move.
const LARGEST_GAP: u64 = 1 << 20;
/// Limit on threads whose runs are followed.
const MAX_THREADS: usize = 65_536;

/// Moves in a row.
struct Run {
    first: Evidence,
    /// Whether a move of the run passes the filter.
    is_wanted: bool,
    last_event: u64,
    moves: u64,
    bytes: u64,
    gaps: u64,
    flags: u32,
    distance: u64,
    /// From the first byte moved to the last.
    source: (u64, u64),
    /// Nanoseconds in the calls.
    nanoseconds: u64,
    /// End of the last call, nanoseconds since the trace's start.
    end: u64,
}

/// The runs that the threads are in.
#[derive(Default)]
pub struct Runs {
    by_thread: HashMap<(usize, u32), Run>,
}

impl Runs {
    /// Takes the next event. Returns the run that it ends.
    pub fn take(&mut self, process: &Process, event: &Event, is_wanted: bool) -> Option<Evidence> {
        let thread = (event.process, event.tid);
        let next = Run::of(process, event, is_wanted);
        if let (Some(run), Some(next)) = (self.by_thread.get_mut(&thread), &next)
            && run.extend(next, process.since_start(event.call.ticks))
        {
            return None;
        }
        let ended = match next {
            Some(next) if self.by_thread.len() < MAX_THREADS => self.by_thread.insert(thread, next),
            _ => self.by_thread.remove(&thread),
        };
        ended.and_then(Run::finding)
    }

    /// Returns the runs that the trace ends in.
    pub fn finish(&mut self) -> Vec<Evidence> {
        let mut runs: Vec<Evidence> =
            self.by_thread.drain().filter_map(|(_, run)| run.finding()).collect();
        runs.sort_by_key(|evidence| evidence.event);
        runs
    }
}

impl Run {
    fn of(process: &Process, event: &Event, is_wanted: bool) -> Option<Self> {
        let call = &event.call;
        if call.errno().is_some() || !is_move(call, process.header.page_size) {
            return None;
        }
        let nanoseconds = process.nanoseconds(call.duration);
        let page = u64::from(process.header.page_size.max(1));
        let len = call.old_len.checked_next_multiple_of(page)?;
        Some(Self {
            first: Evidence {
                event: event.number,
                pid: process.header.pid,
                tid: event.tid,
                what: String::new(),
            },
            is_wanted,
            last_event: event.number,
            moves: 1,
            bytes: len,
            gaps: 0,
            flags: call.flags,
            distance: call.new.wrapping_sub(call.old),
            source: (call.old, call.old.checked_add(len)?),
            nanoseconds,
            end: process.since_start(call.ticks).saturating_add(nanoseconds),
        })
    }

    /// Adds a move that begins at `begin`. Returns false if one call could not make all of them.
    fn extend(&mut self, next: &Self, begin: u64) -> bool {
        let gap = if next.source.0 >= self.source.1 {
            next.source.0 - self.source.1
        } else if next.source.1 <= self.source.0 {
            self.source.0 - next.source.1
        } else {
            return false;
        };
        let source = (self.source.0.min(next.source.0), self.source.1.max(next.source.1));
        let overlaps = (self.distance as i64).unsigned_abs() < source.1 - source.0;
        let follows = begin.saturating_sub(self.end) <= LONGEST_PAUSE;
        let is_alike = (next.flags, next.distance) == (self.flags, self.distance);
        if !is_alike || !follows || overlaps || gap > LARGEST_GAP {
            return false;
        }
        self.is_wanted |= next.is_wanted;
        self.last_event = next.last_event;
        self.moves += 1;
        self.bytes += next.bytes;
        self.gaps += u64::from(gap > 0);
        self.source = source;
        self.nanoseconds += next.nanoseconds;
        self.end = next.end;
        true
    }

    fn finding(self) -> Option<Evidence> {
        if self.moves < 2 || !self.is_wanted {
            return None;
        }
        let gaps = if self.gaps == 0 {
            String::new()
        } else {
            format!(" with {}", counted(self.gaps, "gap"))
        };
        let what = format!(
            "{} moves up to event {}, {} in all{gaps}, {} in the calls",
            count(self.moves),
            self.last_event,
            size(self.bytes),
            duration(self.nanoseconds)
        );
        Some(Evidence { what, ..self.first })
    }
}
