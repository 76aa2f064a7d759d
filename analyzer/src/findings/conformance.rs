//! Every emulated event once more: the same request and the VMAs on record, walked by `plan`, must come to
//! the same parts, gaps and result.

use std::convert::Infallible;

use mremap_plan::{AddressSpace, Errno, Judgement, Move, Plan, Range, Step, Vma, VmaSource};
use mremap_trace::{Outcome, Part};

use crate::load::Process;
use crate::model::{Event, names};

/// What recomputing an event came to.
pub enum Answer {
    /// The shim decided nothing here.
    NotEmulated,
    /// The same.
    Matches,
    /// The trace does not hold what it takes.
    CannotSay(String),
    /// Something else.
    Differs(String),
}

/// Address spaces that programs have: 47 and 56 bits on `x86_64`, 48 and 52 on aarch64.
const TASK_SIZES: [u64; 4] = [(1 << 47) - 4096, 1 << 48, 1 << 52, (1 << 56) - 4096];

/// The VMAs on record.
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
        self.found = Vma {
            range: Range { start: part.vma_start.min(part.start), end: part.vma_end.max(part.end) },
            offset: part.offset,
            ..Vma::default()
        };
        Ok(Some(&self.found))
    }
}

/// Recomputes an event.
pub fn recompute(process: &Process, event: &Event) -> Answer {
    let call = &event.call;
    let end = call.new.saturating_add(call.new_len);
    let page_size = u64::from(process.header.page_size);
    if !page_size.is_power_of_two() {
        return Answer::CannotSay("the trace does not tell the page size".to_owned());
    }
    let task_size = TASK_SIZES.into_iter().find(|size| *size >= end);
    let judge = |task_size| event.request().judge(AddressSpace { page_size, task_size });
    let judgement = judge(task_size.unwrap_or(TASK_SIZES[0]));
    match call.outcome {
        Outcome::PassedThrough | Outcome::Native | Outcome::Begun => Answer::NotEmulated,
        Outcome::Refused => refused(event, judgement, judge(TASK_SIZES[0])),
        Outcome::OneVma | Outcome::Emulated => match judgement {
            Judgement::Move(wanted) if call.outcome == Outcome::Emulated => walk(event, wanted),
            Judgement::Move(_) => Answer::Matches,
            other => Answer::Differs(format!("the kernel's own checks say {other:?}")),
        },
    }
}

/// A refusal must be one by the checks, or by what was found mapped.
fn refused(event: &Event, widest: Judgement, narrowest: Judgement) -> Answer {
    let errno = event.call.errno().unwrap_or(0);
    let said = |judgement| matches!(judgement, Judgement::Refused(said) if said.0 as u32 == errno);
    if said(widest) || said(narrowest) {
        return Answer::Matches;
    }
    match widest {
        Judgement::Move(_) if errno == Errno::EFAULT.0 as u32 => {
            // Nothing mapped at the start, or a first VMA that may not move with others: neither is recorded.
            Answer::CannotSay(
                "refused with EFAULT by what was found mapped, which is not on record".to_owned(),
            )
        }
        Judgement::Move(wanted) => walk(event, wanted),
        other => Answer::Differs(format!(
            "refused with {}, where the kernel's own checks say {other:?}",
            names::errno(errno)
        )),
    }
}

fn walk(event: &Event, wanted: Move) -> Answer {
    if let Some(summary) = event.summary {
        let moved = event.parts.iter().filter(|part| part.errno == 0);
        let bytes: u64 = moved.clone().map(|part| part.end.saturating_sub(part.start)).sum();
        let counts = (moved.count() as u32, event.gaps.len() as u32, bytes);
        if counts != (summary.parts, summary.gaps, summary.bytes) {
            return Answer::CannotSay("parts or gaps of it were lost".to_owned());
        }
    } else {
        return Answer::CannotSay("it has no summary on record".to_owned());
    }
    let mut source = Recorded { parts: &event.parts, found: Vma::default() };
    let mut plan = Plan::new(wanted);
    let (mut parts, mut gaps) = (event.parts.iter(), event.gaps.iter());
    let errno = event.call.errno();
    loop {
        let Ok(step) = plan.next_step(&mut source);
        match step {
            Step::Part(part) => match parts.next() {
                Some(seen) if (seen.start, seen.end) == (part.start, part.end) => {
                    if seen.errno != 0 {
                        return same_end(errno, Some(seen.errno));
                    }
                }
                seen => return differs("part", part, seen.map(|part| (part.start, part.end))),
            },
            Step::Gap(gap) => match gaps.next() {
                Some(seen) if (seen.start, seen.end) == (gap.start, gap.end) => {}
                None if errno.is_some() => return stopped(errno),
                seen => return differs("gap", gap, seen.map(|gap| (gap.start, gap.end))),
            },
            Step::Refused(refusal) => return same_end(errno, Some(refusal.0 as u32)),
            Step::Done if parts.next().is_some() || gaps.next().is_some() => {
                return Answer::Differs("more was moved than the request asks for".to_owned());
            }
            Step::Done if errno.is_some() => return stopped(errno),
            Step::Done => {
                let right = event.call.result as u64 == wanted.destination;
                return if right {
                    Answer::Matches
                } else {
                    Answer::Differs(format!(
                        "returned {:#x}, not the destination",
                        event.call.result
                    ))
                };
            }
        }
    }
}

/// The walk went on where the shim stopped: at a VMA that is not on record.
fn stopped(errno: Option<u32>) -> Answer {
    let errno = errno.map(names::errno).unwrap_or_default();
    Answer::CannotSay(format!("stopped with {errno} at a VMA that is not on record"))
}

fn same_end(seen: Option<u32>, right: Option<u32>) -> Answer {
    let name = |errno: Option<u32>| errno.map_or_else(|| "success".to_owned(), names::errno);
    if seen == right {
        Answer::Matches
    } else {
        Answer::Differs(format!("ended in {}, should end in {}", name(seen), name(right)))
    }
}

fn differs(what: &str, right: Range, seen: Option<(u64, u64)>) -> Answer {
    let right = format!("{:#x}..{:#x}", right.start, right.end);
    Answer::Differs(match seen {
        Some((start, end)) => format!("{what} {start:#x}..{end:#x}, should be {right}"),
        None => format!("{what} {right} is missing"),
    })
}
