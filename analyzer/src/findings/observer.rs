//! Takes every event once, in order of time, and collects findings.

use std::collections::{BTreeMap, HashMap};

use mremap_trace::{Call, Outcome};

use super::conformance::{self, Answer};
use super::finding::{Evidence, Finding, Kind};
use super::moves;
use super::overlap::Recent;
use super::runs::Runs;
use crate::load::Process;
use crate::model::names::FIXED;
use crate::model::units::counted;
use crate::model::{Event, names};

/// Instances kept of one kind.
const MAX_EVIDENCE: usize = 100;
/// Failed calls remembered of each thread.
const MAX_FAILED: usize = 8;
/// How many calls of its thread later a failed call's result is still taken for the reason of an
/// error.
const NEARBY: u64 = 4;
const EFAULT: u32 = 14;
/// Threads whose failed calls are remembered.
const MAX_THREADS: usize = 65_536;

/// What is known so far.
#[derive(Default)]
pub struct Observer {
    /// The findings.
    pub findings: BTreeMap<Kind, Finding>,
    /// Events that findings may be about.
    pub events: u64,
    /// Emulated calls that were recomputed and match.
    pub conforming: u64,
    recent: HashMap<usize, Recent>,
    threads: HashMap<(usize, u32), Thread>,
    runs: Runs,
}

/// The calls of a thread that failed lately.
#[derive(Default)]
struct Thread {
    calls: u64,
    failed: Vec<Failed>,
}

struct Failed {
    number: u64,
    /// Its number among the calls of the thread.
    nth: u64,
    call: Call,
}

impl Observer {
    /// Takes the header of a trace.
    pub fn start(&mut self, process: &Process) {
        let lost = process.header.lost();
        if lost > 0 {
            let finding = self.findings.entry(Kind::NotRecorded).or_default();
            finding.count = finding.count.saturating_add(lost);
            finding.evidence.push(Evidence {
                event: 0,
                pid: process.header.pid,
                tid: 0,
                what: format!("{} of {} not recorded", counted(lost, "call"), process.exe),
            });
        }
    }

    /// Takes the next event. `is_wanted`: it passes the filter.
    pub fn take(&mut self, process: &Process, event: &Event, is_wanted: bool) {
        let used = self.find_use_of_failed(event);
        if is_wanted {
            self.events += 1;
            for (kind, what) in moves::check(process, event) {
                self.add(kind, process, event, what);
            }
            self.recompute(process, event);
            if let Some(what) = used {
                self.add(Kind::FailedAndUsed, process, event, what);
            }
        }
        if let Some(run) = self.runs.take(process, event, is_wanted) {
            self.put(Kind::CouldBeOneCall, run);
        }
        let recent = self.recent.entry(event.process).or_default();
        for found in recent.take(process, event, is_wanted) {
            self.put(
                found.kind,
                Evidence {
                    event: found.event,
                    pid: process.header.pid,
                    tid: found.tid,
                    what: found.what,
                },
            );
        }
    }

    /// Ends the observation after the last event.
    pub fn finish(&mut self) {
        for run in self.runs.finish() {
            self.put(Kind::CouldBeOneCall, run);
        }
    }

    fn add(&mut self, kind: Kind, process: &Process, event: &Event, what: String) {
        let evidence =
            Evidence { event: event.number, pid: process.header.pid, tid: event.tid, what };
        self.put(kind, evidence);
    }

    fn put(&mut self, kind: Kind, evidence: Evidence) {
        let finding = self.findings.entry(kind).or_default();
        finding.count += 1;
        if finding.evidence.len() < MAX_EVIDENCE {
            finding.evidence.push(evidence);
        }
    }

    fn recompute(&mut self, process: &Process, event: &Event) {
        match conformance::recompute(process, event) {
            Answer::NotEmulated => {}
            Answer::Matches => self.conforming += 1,
            Answer::CannotSay(why) => self.add(Kind::NotRecomputed, process, event, why),
            Answer::Differs(how) => self.add(Kind::Nonconforming, process, event, how),
        }
    }

    /// Describes how an event uses the result of a failed call of its thread, if it does.
    fn find_use_of_failed(&mut self, event: &Event) -> Option<String> {
        let key = (event.process, event.tid);
        let call = &event.call;
        if self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&key) {
            return None;
        }
        let thread = self.threads.entry(key).or_default();
        thread.calls += 1;
        let nth = thread.calls;
        thread.failed.retain(|failed| nth - failed.nth <= NEARBY);
        let used = thread.failed.iter().rposition(|failed| failed.is_used_by(call));
        let what = used.map(|at| {
            let failed = thread.failed.remove(at);
            let errno = failed.call.errno().map(names::errno).unwrap_or_default();
            let what =
                if failed.has_result(call.old) { "its result" } else { "the address it asked for" };
            format!(
                "event {} failed with {errno}; {what} {:#x} is the source here",
                failed.number, call.old
            )
        });
        // A source that is used again was not taken for moved: the program noticed the failure.
        thread.failed.retain(|failed| failed.call.old != call.old);
        if call.errno().is_some() {
            if thread.failed.len() == MAX_FAILED {
                thread.failed.remove(0);
            }
            thread.failed.push(Failed { number: event.number, nth, call: *call });
        } else if call.outcome != Outcome::Begun {
            // Something is mapped at the requested address now, so using it is right.
            let (start, len) = (call.result as u64, call.new_len.max(1));
            thread.failed.retain(|failed| failed.call.new.wrapping_sub(start) >= len);
        }
        what
    }
}

impl Failed {
    /// Whether an address is `MAP_FAILED`, or minus the errno as the system call returned it.
    fn has_result(&self, address: u64) -> bool {
        const MAP_FAILED: u64 = u64::MAX;
        address == MAP_FAILED || address == self.call.result as u64
    }

    /// Whether a call has as its source what this one returned or requested.
    fn is_used_by(&self, call: &Call) -> bool {
        let asked = self.call.flags & FIXED != 0 && self.call.new != self.call.old;
        self.has_result(call.old)
            || (asked && call.old == self.call.new && call.errno() == Some(EFAULT))
    }
}
