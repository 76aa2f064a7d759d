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
    let looks = [
        several(event),
        ending(event, moves),
        retried(event),
        many(event, moves),
        fragmented(event),
    ];
    looks.into_iter().flatten().collect()
}

/// More than one VMA or a gap: what Linux refuses up to 6.16.
fn several(event: &Event) -> Option<(Kind, String)> {
    let (parts, gaps) = (event.parts.len() as u64, event.gaps.len() as u64);
    let made = matches!(event.call.outcome, Outcome::Emulated | Outcome::Native | Outcome::Begun);
    (made && parts + gaps > 1).then(|| {
        let what = format!(
            "a move of {} over {} and {}, {}",
            size(event.call.old_len),
            counted(parts, "VMA"),
            counted(gaps, "gap"),
            event.call.outcome.name()
        );
        (Kind::NeedsMultiVma, what)
    })
}

/// A move that ended half-way, or that nothing is known of but its ending.
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
        (Outcome::Native | Outcome::PassedThrough, errno) if is_move && event.parts.is_empty() => {
            unseen(call, errno)
        }
        _ => None,
    }
}

fn retried(event: &Event) -> Option<(Kind, String)> {
    let summary = event.summary.filter(|summary| summary.retries > 0)?;
    let what = format!("{} discovered again", counted(summary.retries.into(), "part"));
    Some((Kind::Retried, what))
}

/// A move that came near the limit on mappings, or met it.
fn many(event: &Event, is_move: bool) -> Option<(Kind, String)> {
    const ENOMEM: u32 = 12;
    let errno = event.call.errno();
    (event.parts.len() >= MANY_VMAS || (is_move && errno == Some(ENOMEM))).then(|| {
        let how = errno.map_or_else(|| "which succeeded".to_owned(), names::errno);
        let what = format!("a move over {} VMAs, {how}", event.parts.len());
        (Kind::MapCount, what)
    })
}

fn fragmented(event: &Event) -> Option<(Kind, String)> {
    let pairs = event.parts.windows(2);
    let equal = pairs.filter(|pair| matches!(pair, [first, second] if could_be_one(first, second)));
    let apart = equal.count();
    (apart > 0).then(|| {
        let what = format!("{apart} of {} boundaries divide equals", event.parts.len() - 1);
        (Kind::Fragmented, what)
    })
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

/// Neighbours that the kernel would have made one VMA, as far as rights and offset tell.
fn could_be_one(first: &Part, second: &Part) -> bool {
    const KNOWN: u8 = 1 << 7;
    let moved = first.errno == 0 && second.errno == 0;
    // Memory has offset 0 throughout.
    let offsets_follow = (first.offset, second.offset) == (0, 0)
        || first.offset.wrapping_add(first.vma_end.wrapping_sub(first.vma_start)) == second.offset;
    moved
        && first.end == second.start
        && first.protection == second.protection
        && first.protection & KNOWN != 0
        && offsets_follow
}
