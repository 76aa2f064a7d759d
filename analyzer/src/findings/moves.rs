//! What one event tells by itself.

use mremap_trace::{Outcome, Part};

use super::finding::Kind;
use crate::load::Process;
use crate::model::units::size;
use crate::model::{Event, is_move, names};

/// Half of the kernel's default limit on mappings.
const MANY_VMAS: usize = 32_765;

/// Findings of one event.
pub fn look(process: &Process, event: &Event) -> Vec<(Kind, String)> {
    let call = &event.call;
    if call.outcome == Outcome::PassedThrough && call.errno() != Some(12) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let moves = is_move(call, process.header.page_size);
    let moved = event.parts.iter().filter(|part| part.errno == 0).count();
    if spans_several(event) {
        found.push((
            Kind::NeedsMultiVma,
            format!(
                "a move of {} over {} VMAs and {} gaps, {}",
                size(call.old_len),
                event.parts.len(),
                event.gaps.len(),
                names::outcome(call.outcome)
            ),
        ));
    }
    match (call.outcome, call.errno()) {
        (Outcome::Begun, _) => found.push((
            Kind::KilledHalfWay,
            format!("{moved} parts had moved when the trace was last written"),
        )),
        (Outcome::Emulated, Some(errno)) if moved > 0 => found.push((
            Kind::PartialMove,
            format!("{moved} parts moved, then {}", names::errno(errno)),
        )),
        (Outcome::Native, None) if moves && process.header.detail == 0 => {
            found.push((Kind::NativeUnseen, format!("a move of {}", size(call.old_len))));
        }
        _ => {}
    }
    if let Some(summary) = event.summary.filter(|summary| summary.retries > 0) {
        found.push((
            Kind::Retried,
            format!("{} parts discovered again", summary.retries),
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
