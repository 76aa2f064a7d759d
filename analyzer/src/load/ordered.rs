//! Events in the order of time, with their parts and gaps: a merge of the chunks that are open at a moment,
//! one or two a thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::ControlFlow;

use anyhow::Result;
use mremap_trace::layout::{SLOT_SIZE, SLOTS_PER_CHUNK};
use mremap_trace::{Call, ChunkHeader, Outcome, Record, Slot};

use super::calls::words;
use super::index::Index;
use super::process::Process;
use super::survey::Traces;
use crate::model::Event;
use crate::terminal::Progress;

/// Chunks open at once. Only a file made to do harm has more; its order suffers, not the reader.
const MOST_OPEN: usize = 8192;
/// Parts and gaps kept of one event; the kernel's own limit on mappings is 65,530 unless raised.
const MOST_PIECES: usize = 262_144;

/// A call without what belongs to it.
pub struct Met<'a> {
    /// Place by wall clock among all events of all processes read, from 1.
    pub number: u64,
    /// Its process.
    pub process: &'a Process,
    /// The index of its process among those read.
    pub of: usize,
    /// The thread that called.
    pub tid: u32,
    /// The call.
    pub call: &'a Call,
}
/// Frames kept of one event.
const MOST_FRAMES: usize = 256;

struct Open {
    tid: u32,
    /// Latest first; whether a stack follows.
    calls: Vec<(u32, Call, bool)>,
}

/// Hands on every call that `wanted` picks, as a whole event, in the order of time; until `take` breaks off.
///
/// # Errors
/// Those of `take`.
pub fn in_order(
    traces: &Traces,
    index: &Index,
    mut wanted: impl FnMut(&Met<'_>) -> bool,
    mut take: impl FnMut(&Process, Event) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut waiting = index.by_time.iter().copied().peekable();
    let mut open: Vec<Open> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    // Moment of the next call, file, place, and which open chunk.
    let mut heap: BinaryHeap<Reverse<(u64, u32, u32, usize)>> = BinaryHeap::new();
    let mut number = 0;
    let progress = Progress::new(index.by_time.len() as u64, "reading");
    loop {
        while let Some(&(moment, file, place)) = waiting.peek() {
            let earliest = heap.peek().map_or(u64::MAX, |Reverse(top)| top.0);
            if moment > earliest || heap.len() >= MOST_OPEN {
                break;
            }
            waiting.next();
            progress.step();
            let Some(process) = traces.processes.get(file as usize) else {
                continue;
            };
            let at = free.pop().unwrap_or(open.len());
            let calls = open.get_mut(at).map(|old| std::mem::take(&mut old.calls));
            let chunk = open_chunk(process, place, calls.unwrap_or_default());
            let Some((_, call, _)) = chunk.calls.last() else {
                continue;
            };
            heap.push(Reverse((process.wall_clock(call.ticks), file, place, at)));
            match open.get_mut(at) {
                Some(slot) => *slot = chunk,
                None => open.push(chunk),
            }
        }
        let Some(mut top) = heap.peek_mut() else {
            return Ok(());
        };
        let Reverse((_, file, place, at)) = *top;
        let (Some(process), Some(chunk)) = (traces.processes.get(file as usize), open.get_mut(at)) else {
            PeekMut::pop(top);
            continue;
        };
        let Some((slot, call, has_stack)) = chunk.calls.pop() else {
            PeekMut::pop(top);
            free.push(at);
            continue;
        };
        // The chunk stays in the heap, by its next call.
        if let Some((_, next, _)) = chunk.calls.last() {
            *top = Reverse((process.wall_clock(next.ticks), file, place, at));
            drop(top);
        } else {
            PeekMut::pop(top);
            free.push(at);
        }
        number += 1;
        let tid = chunk.tid;
        if wanted(&Met {
            number,
            process,
            of: file as usize,
            tid,
            call: &call,
        }) {
            let mut event = Event::new(number, file as usize, tid, call);
            event.slot = slot_number(place, slot);
            if has_stack || may_have_parts(process, &event.call) {
                assemble(process, index, place, slot, &mut event);
            }
            if take(process, event)?.is_break() {
                return Ok(());
            }
        }
    }
}

fn open_chunk(process: &Process, place: u32, mut calls: Vec<(u32, Call, bool)>) -> Open {
    let bytes = process.source.chunk(place);
    calls.clear();
    for (slot, record) in records(&bytes, 1) {
        match (record, calls.last_mut()) {
            (Record::Call(call), _) => calls.push((slot, call, false)),
            (Record::Stack(stack), Some(last)) => {
                last.2 |= u64::from(stack.call) == slot_number(place, last.0);
            }
            _ => {}
        }
    }
    // The stack of a chunk's last call may stand in its thread's next chunk.
    let has_stacks = calls.iter().any(|(_, _, has_stack)| *has_stack);
    if let Some(last) = calls.last_mut() {
        last.2 |= has_stacks;
    }
    calls.sort_by_key(|(slot, call, _)| Reverse((call.ticks, *slot)));
    Open {
        tid: ChunkHeader::decode(&bytes).map_or(0, |chunk| chunk.tid),
        calls,
    }
}

/// A slot's file-wide number.
fn slot_number(place: u32, slot: u32) -> u64 {
    u64::from(place) * u64::from(SLOTS_PER_CHUNK) + u64::from(slot)
}

fn records(bytes: &[u8], from: u32) -> impl Iterator<Item = (u32, Record)> {
    let header = ChunkHeader::decode(bytes).filter(|chunk| !chunk.is_closed());
    let claimed = header.map_or(0, |chunk| chunk.claimed.min(SLOTS_PER_CHUNK));
    let slots = bytes.as_chunks::<SLOT_SIZE>().0;
    let claimed = slots.iter().zip(0..).take(claimed as usize).skip(from as usize);
    claimed.filter_map(|(slot, index)| match Record::decode(words(slot)) {
        Slot::Complete(record) => Some((index, record)),
        _ => None,
    })
}

/// Whether a call was taken apart: an emulated move always, others with the detail `vmas`.
fn may_have_parts(process: &Process, call: &Call) -> bool {
    match call.outcome {
        Outcome::PassedThrough => false,
        Outcome::Emulated | Outcome::Begun | Outcome::Refused => true,
        Outcome::Native | Outcome::OneVma => process.header.detail != 0,
    }
}

fn push<T>(pieces: &mut Vec<T>, piece: T) {
    if pieces.len() < MOST_PIECES {
        pieces.push(piece);
    }
}

/// Parts, gaps and summary follow the call in its thread's chunks.
fn assemble(process: &Process, index: &Index, place: u32, slot: u32, event: &mut Event) {
    let number = event.slot as u32;
    let (mut place, mut from) = (place, slot + 1);
    let mut complete = !may_have_parts(process, &event.call);
    loop {
        let bytes = process.source.chunk(place);
        let mut met = from > 1;
        for (_, record) in records(&bytes, from) {
            match record {
                // The stack comes last, right behind the summary.
                Record::Call(_) if complete => {
                    event.sort_pieces();
                    return;
                }
                Record::Summary(summary) if summary.call == number => {
                    complete = true;
                    event.summary = Some(summary);
                }
                // Where the last records are kept, what refers to this slot may mean a call overwritten since.
                Record::Part(part) if part.call == number && event.covers(part.start) => {
                    met = true;
                    push(&mut event.parts, part);
                }
                Record::Gap(gap) if gap.call == number && event.covers(gap.start) => {
                    met = true;
                    push(&mut event.gaps, gap);
                }
                Record::Stack(stack) if stack.call == number => {
                    met = true;
                    let frames = stack.frames.iter().take(usize::from(stack.count));
                    let room = MOST_FRAMES.saturating_sub(event.frames.len());
                    event.frames.extend(frames.take(room));
                }
                _ => {}
            }
        }
        let next = index.next_of_thread(event.process, place);
        let (true, Some(next)) = (met, next) else {
            event.sort_pieces();
            return;
        };
        (place, from) = (next, 1);
    }
}
