//! Findings of single events.

use mremap_trace::{Call, Outcome, Part};

use super::finding::Kind;
use crate::load::Process;
use crate::model::names::DONTUNMAP;
use crate::model::units::{counted, size};
use crate::model::{Event, is_move, names};

/// Half of the kernel's default limit on mappings.
const MANY_VMAS: usize = 32_765;
const ENOMEM: u32 = 12;
const EFAULT: u32 = 14;

/// Checks one event.
pub fn check(process: &Process, event: &Event) -> Vec<(Kind, String)> {
    let is_move = is_move(&event.call, process.header.page_size);
    let findings = [
        needs_multi_vma(event, is_move),
        ending(event, is_move),
        retried(event),
        map_count(event, is_move),
        fragmented(event),
    ];
    findings.into_iter().flatten().collect()
}

/// Finds moves that Linux refuses up to 6.16: over more than one VMA, over a gap, or with
/// `MREMAP_DONTUNMAP` and lengths that are equal only as pages.
fn needs_multi_vma(event: &Event, is_move: bool) -> Option<(Kind, String)> {
    let call = &event.call;
    let (parts, gaps) = (event.parts.len() as u64, event.gaps.len() as u64);
    if matches!(call.outcome, Outcome::Emulated | Outcome::Native | Outcome::Begun)
        && parts + gaps > 1
    {
        let what = format!(
            "a move of {} over {} and {}, {}",
            size(call.old_len),
            counted(parts, "VMA"),
            counted(gaps, "gap"),
            call.outcome.name()
        );
        return Some((Kind::NeedsMultiVma, what));
    }
    let is_uneven = call.flags & DONTUNMAP != 0 && call.old_len != call.new_len;
    (is_move && is_uneven && is_the_kernels(call) && call.errno().is_none()).then(|| {
        let what = "MREMAP_DONTUNMAP with lengths that are equal only when rounded to pages";
        (Kind::NeedsMultiVma, what.to_owned())
    })
}

/// Whether the call was forwarded to the kernel unchanged.
fn is_the_kernels(call: &Call) -> bool {
    matches!(call.outcome, Outcome::Native | Outcome::PassedThrough)
}

/// Finds moves that stopped half-way or never ended, and native moves whose VMAs are not recorded.
fn ending(event: &Event, is_move: bool) -> Option<(Kind, String)> {
    let call = &event.call;
    let moved = event.parts.iter().filter(|part| part.errno == 0).count() as u64;
    match (call.outcome, call.errno()) {
        (Outcome::Begun, _) => {
            let what =
                format!("{} had moved when the trace was last written", counted(moved, "part"));
            Some((Kind::KilledHalfWay, what))
        }
        (Outcome::Emulated, Some(errno)) if moved > 0 => {
            let what = format!("{} moved, then {}", counted(moved, "part"), names::errno(errno));
            Some((Kind::PartialMove, what))
        }
        // With a summary the VMAs were recorded: there are none.
        (_, errno) if is_move && is_the_kernels(call) && event.summary.is_none() => {
            native_unseen(call, errno)
        }
        _ => None,
    }
}

/// Reports a native move whose VMAs are not recorded, unless its arguments show how older kernels
/// handle it.
fn native_unseen(call: &Call, errno: Option<u32>) -> Option<(Kind, String)> {
    let what = match errno {
        None if call.flags & DONTUNMAP != 0 && call.old_len != call.new_len => return None,
        None => format!("a move of {}", size(call.old_len)),
        Some(EFAULT) => format!("a move of {} that failed with EFAULT", size(call.old_len)),
        Some(_) => return None,
    };
    Some((Kind::NativeUnseen, what))
}

fn retried(event: &Event) -> Option<(Kind, String)> {
    let summary = event.summary.filter(|summary| summary.retries > 0)?;
    let what = format!("{} searched again", counted(summary.retries.into(), "part"));
    Some((Kind::Retried, what))
}

/// Finds moves that came near the limit on mappings, and calls that reached it. A growth may fail
/// with `ENOMEM` for other reasons; a move, and a call that requests no more memory, hardly can.
fn map_count(event: &Event, is_move: bool) -> Option<(Kind, String)> {
    let call = &event.call;
    let no_growth = call.new_len <= call.old_len && call.new_len > 0;
    if call.errno() == Some(ENOMEM) && (is_move || no_growth) {
        let what = if is_move { "a move" } else { "a call that asked for no more memory" };
        return Some((Kind::MapCount, format!("{what} failed with ENOMEM")));
    }
    (event.parts.len() >= MANY_VMAS).then(|| {
        (Kind::MapCount, format!("a move over {}", counted(event.parts.len() as u64, "VMA")))
    })
}

fn fragmented(event: &Event) -> Option<(Kind, String)> {
    let pairs = event.parts.windows(2);
    let apart = pairs.filter(|pair| matches!(pair, [first, second] if could_be_one(first, second)));
    let apart = apart.count();
    (apart > 0).then(|| {
        let what =
            format!("{apart} of {} boundaries are between equal VMAs", event.parts.len() - 1);
        (Kind::Fragmented, what)
    })
}

/// Whether the kernel could have merged neighbours, judging by permissions and file offset.
fn could_be_one(first: &Part, second: &Part) -> bool {
    const KNOWN: u8 = 1 << 7;
    let moved = first.errno == 0 && second.errno == 0;
    // Anonymous memory is recorded with offset 0.
    let offsets_follow = (first.offset, second.offset) == (0, 0)
        || first.offset.wrapping_add(first.vma_end.wrapping_sub(first.vma_start)) == second.offset;
    moved
        && first.end == second.start
        && first.protection == second.protection
        && first.protection & KNOWN != 0
        && offsets_follow
}
