//! Looks at every event once, in the order of time.

use std::collections::{BTreeMap, HashMap};

use mremap_trace::Outcome;

use super::conformance::{self, Answer};
use super::finding::{Evidence, Finding, Kind};
use super::moves;
use super::overlap::Recent;
use crate::load::Process;
use crate::model::{Event, names};

/// Evidence kept of one kind.
const MOST_EVIDENCE: usize = 100;
/// Failed calls remembered for each thread.
const MOST_FAILED: usize = 8;
/// Events within which a failed call's destination is taken for the reason of an `EFAULT` there.
const NEARBY: u64 = 4;
/// Nothing is mapped at the start of the range.
const EFAULT: u32 = 14;
/// Threads whose failed calls are remembered.
const MOST_THREADS: usize = 65_536;

/// What is known so far.
#[derive(Default)]
pub struct Observer {
    /// What was found.
    pub findings: BTreeMap<Kind, Finding>,
    /// Events looked at.
    pub events: u64,
    /// Emulated calls that were recomputed and match.
    pub conforming: u64,
    recent: HashMap<usize, Recent>,
    failed: HashMap<(usize, u32), Vec<Event>>,
}

impl Observer {
    /// What the headers tell.
    pub fn start(&mut self, of: usize, process: &Process) {
        let lost = process.header.lost();
        if lost > 0 {
            let finding = self.findings.entry(Kind::NotRecorded).or_default();
            finding.count = finding.count.saturating_add(lost);
            finding.evidence.push(Evidence {
                event: 0,
                pid: process.header.pid,
                tid: 0,
                what: format!("{lost} calls of {} were not recorded", process.exe),
                site: (of, 0),
            });
        }
    }

    /// Takes the next event.
    pub fn take(&mut self, process: &Process, event: &Event) {
        self.events += 1;
        for (kind, what) in moves::look(process, event) {
            self.add(kind, process, event, what);
        }
        self.recompute(process, event);
        self.look_for_use(process, event);
        let recent = self.recent.entry(event.process).or_default();
        for found in recent.take(process, event) {
            self.put(
                found.kind,
                Evidence {
                    event: found.event,
                    pid: process.header.pid,
                    tid: found.tid,
                    what: found.what,
                    site: (event.process, found.caller),
                },
            );
        }
    }

    fn add(&mut self, kind: Kind, process: &Process, event: &Event, what: String) {
        let evidence = Evidence {
            event: event.number,
            pid: process.header.pid,
            tid: event.tid,
            what,
            site: (event.process, event.call.caller),
        };
        self.put(kind, evidence);
    }

    fn put(&mut self, kind: Kind, evidence: Evidence) {
        let finding = self.findings.entry(kind).or_default();
        finding.count += 1;
        if finding.evidence.len() < MOST_EVIDENCE {
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

    /// A failed call's "result" handed to a later call of the same thread.
    fn look_for_use(&mut self, process: &Process, event: &Event) {
        let key = (event.process, event.tid);
        let call = &event.call;
        let known = self.failed.get(&key).is_some_and(|failed| !failed.is_empty());
        if known {
            let used = self.failed.get_mut(&key).and_then(|failed| {
                let at = failed.iter().rposition(|former| uses_result(former, event))?;
                Some(failed.remove(at))
            });
            if let Some(former) = used {
                let errno = former.call.errno().map(names::errno).unwrap_or_default();
                self.add(
                    Kind::FailedAndUsed,
                    process,
                    event,
                    format!(
                        "event {} failed with {errno}; {:#x}, which it should have returned, is moved or resized here",
                        former.number, call.old
                    ),
                );
            }
        }
        if call.errno().is_some() && (known || self.failed.len() < MOST_THREADS) {
            let failed = self.failed.entry(key).or_default();
            if failed.len() == MOST_FAILED {
                failed.remove(0);
            }
            let mut former = event.clone();
            (former.parts, former.gaps) = (Vec::new(), Vec::new());
            failed.push(former);
        } else if call.errno().is_none() && known && call.outcome != Outcome::Begun {
            // Once something has come to lie at the place asked for, using it is right.
            if let Some(failed) = self.failed.get_mut(&key) {
                let (start, len) = (call.result as u64, call.new_len);
                failed.retain(|former| former.call.new.wrapping_sub(start) >= len.max(1));
            }
        }
    }
}

/// Whether a call takes for memory what a failed one returned (`MAP_FAILED`) or had asked for.
fn uses_result(failed: &Event, event: &Event) -> bool {
    const MAP_FAILED: u64 = u64::MAX;
    let asked = failed.call.flags & 2 != 0 && failed.call.new != failed.call.old;
    let soon = event.number.saturating_sub(failed.number) <= NEARBY;
    event.call.old == MAP_FAILED
        || event.call.old == failed.call.result as u64
        || (asked
            && soon
            && event.call.old == failed.call.new
            && event.call.errno() == Some(EFAULT))
}
