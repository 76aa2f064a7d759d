//! Recomputes the moves that the shim decided on. `plan`, given the request and the recorded VMAs,
//! must come to the recorded parts, gaps and result.

use std::convert::Infallible;

use mremap_plan::{AddressSpace, Judgement, Move, Plan, Range, Step, Vma, VmaSource};
use mremap_trace::{Outcome, Part};

use crate::load::Process;
use crate::model::{Event, names};

/// The result of recomputing an event.
pub enum Answer {
    /// The shim decided nothing.
    NotEmulated,
    /// The record is right.
    Matches,
    /// The trace lacks what it takes, as described.
    CannotSay(String),
    /// The record is wrong, as described.
    Differs(String),
}

use Answer::{CannotSay, Differs, Matches, NotEmulated};

/// Every `TASK_SIZE`: 47 and 56 bits on `x86_64`, 48 and 52 bits on `aarch64`.
const TASK_SIZES: [u64; 4] = [(1 << 47) - 4096, 1 << 48, 1 << 52, LARGEST_TASK_SIZE];
const LARGEST_TASK_SIZE: u64 = (1 << 56) - 4096;

/// Recomputes an event.
pub fn recompute(process: &Process, event: &Event) -> Answer {
    if matches!(event.call.outcome, Outcome::PassedThrough | Outcome::Native | Outcome::Begun) {
        return NotEmulated;
    }
    let page_size = u64::from(process.header.page_size);
    if !page_size.is_power_of_two() {
        return CannotSay("the trace has no page size".to_owned());
    }
    let request = event.request().without_tag();
    let space = |task_size| AddressSpace { page_size, task_size };
    let len = space(0).page_align(request.old_len);
    let source = Range { start: request.old, end: request.old.saturating_add(len) };
    if let Some(part) = event.parts.iter().find(|part| !is_inside(part, source)) {
        return Differs(format!(
            "part {:#x}..{:#x} exceeds its VMA {:#x}..{:#x} or the source",
            part.start, part.end, part.vma_start, part.vma_end
        ));
    }
    let judge = |task_size| request.judge(space(task_size));
    match event.call.outcome {
        Outcome::Refused => refused(process, event, &TASK_SIZES.map(judge)),
        outcome => match (judge(task_size(process, event)), judge(LARGEST_TASK_SIZE)) {
            (Judgement::Move(wanted), _) if outcome == Outcome::Emulated => {
                emulated(process, event, wanted)
            }
            (Judgement::Move(wanted), _) => one_vma(process, event, wanted),
            (_, Judgement::Move(_)) => CannotSay(format!(
                "its destination {:#x} is beyond all other addresses of the process",
                event.call.new
            )),
            (judgement, _) => Differs(describe(judgement)),
        },
    }
}

/// Whether a part is inside its VMA and inside the source.
fn is_inside(part: &Part, source: Range) -> bool {
    part.start < part.end
        && part.vma_start.max(source.start) <= part.start
        && part.end <= part.vma_end.min(source.end)
}

/// The smallest `TASK_SIZE` for the addresses that the process is known to use.
fn task_size(process: &Process, event: &Event) -> u64 {
    let ends = process.modules().iter().map(|named| named.module.end);
    let source_end = event.call.old.saturating_add(event.call.old_len);
    let highest = ends.chain([source_end, event.call.caller]).max().unwrap_or(0);
    TASK_SIZES.into_iter().find(|size| *size >= highest).unwrap_or(LARGEST_TASK_SIZE)
}

fn describe(judgement: Judgement) -> String {
    match judgement {
        Judgement::NotAMove => "the call is not a move".to_owned(),
        Judgement::Move(_) => "the kernel's checks accept the call".to_owned(),
        Judgement::Refused(errno) => {
            format!("the kernel's checks refuse the call with {}", names::errno(errno.0 as u32))
        }
    }
}

/// Recomputes a refusal, which follows from the request or from what was mapped. `judgements` are
/// those by every `TASK_SIZE`.
fn refused(process: &Process, event: &Event, judgements: &[Judgement]) -> Answer {
    let Some(errno) = event.call.errno() else {
        return Differs("it was refused, but returned an address".to_owned());
    };
    if event.parts.iter().any(|part| part.errno == 0) {
        return Differs("it was refused, but parts of it moved".to_owned());
    }
    let is_refused = |judgement: &Judgement| matches!(judgement, Judgement::Refused(refusal) if refusal.0 as u32 == errno);
    if judgements.iter().any(is_refused) {
        return Matches;
    }
    match judgements.last() {
        // Nothing mapped at the start, or a first VMA that must not move.
        Some(Judgement::Move(_)) if event.parts.is_empty() => CannotSay(format!(
            "it was refused with {} because of VMAs that are not recorded",
            names::errno(errno)
        )),
        Some(Judgement::Move(wanted)) => emulated(process, event, *wanted),
        Some(judgement) => {
            Differs(format!("refused with {}, but {}", names::errno(errno), describe(*judgement)))
        }
        None => NotEmulated,
    }
}

fn one_vma(process: &Process, event: &Event, wanted: Move) -> Answer {
    if event.call.errno().is_some() {
        // The kernel's own answer to the whole call.
        return Matches;
    }
    match (event.parts.len(), event.gaps.len()) {
        (0, 0) => check_result(event, wanted),
        (1, 0) => emulated(process, event, wanted),
        (parts, gaps) => {
            Differs(format!("one VMA, but {parts} parts and {gaps} gaps are recorded"))
        }
    }
}

/// Checks the summary, then walks the move again.
fn emulated(process: &Process, event: &Event, wanted: Move) -> Answer {
    match summary_error(event) {
        Some(error) if is_complete(process) => Differs(error),
        Some(error) => CannotSay(format!("{error}, and records were lost")),
        None => walk(event, wanted),
    }
}

/// Compares the summary with the parts and gaps.
fn summary_error(event: &Event) -> Option<String> {
    let Some(summary) = event.summary else { return Some("its summary is missing".to_owned()) };
    let moved = event.parts.iter().filter(|part| part.errno == 0);
    let bytes: u64 =
        moved.clone().map(|part| part.end.saturating_sub(part.start)).fold(0, u64::saturating_add);
    let (parts, gaps) = (moved.count() as u32, event.gaps.len() as u32);
    ((parts, gaps, bytes) != (summary.parts, summary.gaps, summary.bytes)).then(|| {
        format!(
            "its summary has {} parts, {} gaps and {} bytes, but {parts}, {gaps} and {bytes} are recorded",
            summary.parts, summary.gaps, summary.bytes
        )
    })
}

/// Whether the trace holds every record that was made.
fn is_complete(process: &Process) -> bool {
    let header = &process.header;
    header.lost() == 0
        && u64::from(header.chunks) <= header.positions()
        && process.damage.is_empty()
        && process.found.damage.is_empty()
}

/// The recorded VMAs.
struct Recorded<'a> {
    parts: &'a [Part],
    found: Vma,
}

impl VmaSource for Recorded<'_> {
    type Error = Infallible;

    fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<&Vma>, Infallible> {
        let mut parts = self.parts.iter();
        let Some(part) = parts.find(|part| part.end > from && part.start < until) else {
            return Ok(None);
        };
        let range = Range { start: part.vma_start, end: part.vma_end };
        self.found = Vma { range, offset: part.offset, ..Vma::default() };
        Ok(Some(&self.found))
    }
}

fn walk(event: &Event, wanted: Move) -> Answer {
    let mut source = Recorded { parts: &event.parts, found: Vma::default() };
    let mut plan = Plan::new(wanted);
    let (mut parts, mut gaps) = (event.parts.iter(), event.gaps.iter());
    let errno = event.call.errno();
    loop {
        let Ok(step) = plan.next_step(&mut source);
        match step {
            Step::Part(part) => match parts.next() {
                Some(seen) if (seen.start, seen.end) != (part.start, part.end) => {
                    return differs("part", part, Some((seen.start, seen.end)));
                }
                Some(seen) if seen.errno != 0 && parts.next().is_some() => {
                    return Differs("it went on after a part that failed".to_owned());
                }
                Some(seen) if seen.errno != 0 => return check_end(errno, seen.errno),
                Some(_) => {}
                None => return differs("part", part, None),
            },
            Step::Gap(gap) => match gaps.next() {
                Some(seen) if (seen.start, seen.end) == (gap.start, gap.end) => {}
                None if errno.is_some() => return stopped(errno),
                seen => return differs("gap", gap, seen.map(|gap| (gap.start, gap.end))),
            },
            Step::Refused(refusal) => return check_end(errno, refusal.0 as u32),
            Step::Done if parts.next().is_some() || gaps.next().is_some() => {
                return Differs("it moved more than was requested".to_owned());
            }
            Step::Done if errno.is_some() => return stopped(errno),
            Step::Done => return check_result(event, wanted),
        }
    }
}

fn check_result(event: &Event, wanted: Move) -> Answer {
    if event.call.result as u64 == wanted.destination {
        return Matches;
    }
    Differs(format!("it returned {:#x}, not the destination", event.call.result))
}

/// The shim stopped at a VMA that was not recorded.
fn stopped(errno: Option<u32>) -> Answer {
    let errno = errno.map(names::errno).unwrap_or_default();
    CannotSay(format!("it stopped with {errno} at a VMA that is not recorded"))
}

fn check_end(seen: Option<u32>, right: u32) -> Answer {
    if seen == Some(right) {
        return Matches;
    }
    let seen = seen.map_or_else(|| "success".to_owned(), names::errno);
    Differs(format!("it ended with {seen} instead of {}", names::errno(right)))
}

fn differs(what: &str, right: Range, seen: Option<(u64, u64)>) -> Answer {
    let right = format!("{:#x}..{:#x}", right.start, right.end);
    Differs(match seen {
        Some((start, end)) => format!("{what} {start:#x}..{end:#x} instead of {right}"),
        None => format!("{what} {right} is missing"),
    })
}
