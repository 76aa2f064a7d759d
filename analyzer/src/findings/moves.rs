//! What one event tells by itself.

use mremap_trace::{Call, Outcome, Part};

use super::finding::Kind;
use crate::load::Process;
use crate::model::units::{counted, size};
use crate::model::{Event, is_move, names};

/// `MREMAP_DONTUNMAP`.
const DONTUNMAP: u32 = 4;
/// Half of the kernel's default limit on mappings.
const MANY_VMAS: usize = 32_765;

/// Findings of one event.
pub fn look(process: &Process, event: &Event) -> Vec<(Kind, String)> {
    let call = &event.call;
    let moves = is_move(call, process.header.page_size);
    if call.outcome == Outcome::PassedThrough && !moves {
        return Vec::new();
    }
    let mut found = Vec::new();
    let moved = event.parts.iter().filter(|part| part.errno == 0).count();
    if spans_several(event) {
        found.push((
            Kind::NeedsMultiVma,
            format!(
                "a move of {} over {} and {}, {}",
                size(call.old_len),
                counted(event.parts.len() as u64, "VMA"),
                counted(event.gaps.len() as u64, "gap"),
                names::outcome(call.outcome)
            ),
        ));
    }
    match (call.outcome, call.errno()) {
        (Outcome::Begun, _) => found.push((
            Kind::KilledHalfWay,
            format!(
                "{} had moved when the trace was last written",
                counted(moved as u64, "part")
            ),
        )),
        (Outcome::Emulated, Some(errno)) if moved > 0 => found.push((
            Kind::PartialMove,
            format!(
                "{} moved, then {}",
                counted(moved as u64, "part"),
                names::errno(errno)
            ),
        )),
        (Outcome::Native | Outcome::PassedThrough, errno) if moves && event.parts.is_empty() => {
            found.extend(unseen(call, errno));
        }
        _ => {}
    }
    if let Some(summary) = event.summary.filter(|summary| summary.retries > 0) {
        found.push((
            Kind::Retried,
            format!("{} discovered again", counted(summary.retries.into(), "part")),
        ));
    }
    if event.parts.len() >= MANY_VMAS || (moves && call.errno() == Some(12)) {
        found.push((
            Kind::MapCount,
            format!(
                "a move over {} VMAs, {}",
                event.parts.len(),
                call.errno()
                    .map_or_else(|| "which succeeded".to_owned(), names::errno)
            ),
        ));
    }
    let apart = event
        .parts
        .windows(2)
        .filter(|pair| matches!(pair, [first, second] if could_be_one(first, second)))
        .count();
    if apart > 0 {
        found.push((
            Kind::Fragmented,
            format!("{apart} of {} boundaries divide equals", event.parts.len() - 1),
        ));
    }
    found
}

/// A move that the kernel made itself, whose VMAs are not on record. Refused by the checks of every kernel, it
/// would be so before 6.17, too.
fn unseen(call: &Call, errno: Option<u32>) -> Option<(Kind, String)> {
    const EFAULT: u32 = 14;
    let what = match errno {
        None if call.flags & DONTUNMAP != 0 && call.old_len != call.new_len => {
            let what = "MREMAP_DONTUNMAP with lengths that are equal only once rounded to pages";
            return Some((Kind::NeedsMultiVma, what.to_owned()));
        }
        None => format!("a move of {}", size(call.old_len)),
        Some(EFAULT) => format!("a move of {} that failed with EFAULT", size(call.old_len)),
        Some(_) => return None,
    };
    Some((Kind::NativeUnseen, what))
}

/// More than one VMA or a gap: what Linux refuses up to 6.16.
fn spans_several(event: &Event) -> bool {
    matches!(
        event.call.outcome,
        Outcome::Emulated | Outcome::Native | Outcome::Begun
    ) && event.parts.len() + event.gaps.len() > 1
}

/// Neighbours that the kernel would have made one VMA, as far as rights and offset tell.
fn could_be_one(first: &Part, second: &Part) -> bool {
    const KNOWN: u8 = 1 << 7;
    let moved = first.errno == 0 && second.errno == 0;
    // Memory has offset 0 throughout.
    let offsets_follow = (first.offset, second.offset) == (0, 0)
        || first
            .offset
            .wrapping_add(first.vma_end.wrapping_sub(first.vma_start))
            == second.offset;
    moved
        && first.end == second.start
        && first.protection == second.protection
        && first.protection & KNOWN != 0
        && offsets_follow
}
