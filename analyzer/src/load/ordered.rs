//! Events in the order of time: a merge of the chunks that are open at a moment, one or two a
//! thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::iter::{Copied, Peekable};
use std::ops::ControlFlow;
use std::slice;

use anyhow::Result;
use mremap_trace::layout::{SLOT_SIZE, SLOTS_PER_CHUNK};
use mremap_trace::{Call, ChunkHeader, Detail, Outcome, Record, Slot, Stack, StackWords};

use super::calls::words;
use super::index::Index;
use super::process::Process;
use super::survey::Traces;
use crate::model::Event;
use crate::terminal::Progress;

/// Limit on chunks open at once. Only a forged file has more, and its events may be out of order.
const MAX_OPEN: usize = 8192;
/// Limit on parts, and on gaps, of one event. The kernel's default limit on mappings is 65,530.
const MAX_PARTS: usize = 262_144;
/// Limit on frames of one event.
const MAX_FRAMES: usize = 256;
/// Limit on recorded words of the stack of one event.
const MAX_STACK_WORDS: usize = 65_536;

/// A call that `wanted` of [`in_order`] judges, before its parts, gaps and stack are read.
pub struct Candidate<'a> {
    /// Number by wall clock among all events of all processes, from 1.
    pub number: u64,
    /// Its process.
    pub process: &'a Process,
    /// Index of its process.
    pub process_index: usize,
    /// Its thread.
    pub tid: u32,
    /// Its file-wide slot number.
    pub slot: u64,
    /// The call.
    pub call: &'a Call,
}

/// Calls `take` with every event whose call passes `wanted`, in the order of time, until it breaks.
///
/// # Errors
/// Returns the errors of `take`.
pub fn in_order(
    traces: &Traces,
    index: &Index,
    mut wanted: impl FnMut(&Candidate<'_>) -> bool,
    mut take: impl FnMut(&Process, Event) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut merge = Merge::new(traces, index);
    let mut number = 0;
    while let Some(next) = merge.next() {
        number += 1;
        let candidate = Candidate {
            number,
            process: next.process,
            process_index: next.process_index,
            tid: next.taken.tid,
            slot: slot_number(next.place, next.taken.slot),
            call: &next.taken.call,
        };
        if wanted(&candidate) && take(next.process, next.event(number, index))?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The remaining calls of an open chunk.
struct Open {
    /// Latest first.
    calls: Vec<OpenCall>,
}

struct OpenCall {
    slot: u32,
    tid: u32,
    call: Call,
    /// Whether stack records follow it.
    has_stack: bool,
}

/// The open chunks, ordered by their next call.
struct Merge<'a> {
    traces: &'a Traces,
    /// Chunks still to be opened: wall clock of the first call, file, position.
    waiting: Peekable<Copied<slice::Iter<'a, (u64, u32, u32)>>>,
    open: Vec<Open>,
    /// Indices in `open` whose chunk is finished.
    free: Vec<usize>,
    /// Wall clock of the next call, file, position, index in `open`.
    heap: BinaryHeap<Reverse<(u64, u32, u32, usize)>>,
    progress: Progress,
}

impl<'a> Merge<'a> {
    fn new(traces: &'a Traces, index: &'a Index) -> Self {
        Self {
            traces,
            waiting: index.by_time.iter().copied().peekable(),
            open: Vec::new(),
            free: Vec::new(),
            heap: BinaryHeap::new(),
            progress: Progress::new(index.by_time.len() as u64, "reading"),
        }
    }

    /// Returns the earliest remaining call.
    fn next(&mut self) -> Option<Next<'a>> {
        loop {
            self.open_due();
            let mut top = self.heap.peek_mut()?;
            let Reverse((_, file, place, at)) = *top;
            let process = self.traces.processes.get(file as usize);
            let (Some(process), Some(chunk)) = (process, self.open.get_mut(at)) else {
                PeekMut::pop(top);
                continue;
            };
            let taken = chunk.calls.pop();
            // The chunk stays in the heap with its next call.
            if let Some(OpenCall { call, .. }) = chunk.calls.last() {
                *top = Reverse((process.wall_clock(call.ticks), file, place, at));
            } else {
                PeekMut::pop(top);
                self.free.push(at);
            }
            if let Some(taken) = taken {
                return Some(Next { process, process_index: file as usize, place, taken });
            }
        }
    }

    /// Opens the chunks whose first call is not later than the next call of the open ones.
    fn open_due(&mut self) {
        while let Some(&(moment, file, place)) = self.waiting.peek() {
            let earliest = self.heap.peek().map_or(u64::MAX, |Reverse(top)| top.0);
            if moment > earliest || self.heap.len() >= MAX_OPEN {
                return;
            }
            self.waiting.next();
            self.progress.step();
            if let Some(process) = self.traces.processes.get(file as usize) {
                self.open(process, file, place);
            }
        }
    }

    fn open(&mut self, process: &Process, file: u32, place: u32) {
        let at = self.free.pop().unwrap_or(self.open.len());
        let calls = self.open.get_mut(at).map(|old| std::mem::take(&mut old.calls));
        let chunk = open_chunk(process, place, calls.unwrap_or_default());
        let Some(OpenCall { call, .. }) = chunk.calls.last() else {
            return;
        };
        self.heap.push(Reverse((process.wall_clock(call.ticks), file, place, at)));
        match self.open.get_mut(at) {
            Some(slot) => *slot = chunk,
            None => self.open.push(chunk),
        }
    }
}

/// A call taken from the merge, and the position of its chunk.
struct Next<'a> {
    process: &'a Process,
    process_index: usize,
    place: u32,
    taken: OpenCall,
}

impl Next<'_> {
    /// Assembles the event.
    fn event(&self, number: u64, index: &Index) -> Event {
        let OpenCall { slot, tid, call, has_stack } = self.taken;
        let mut event = Event::new(number, self.process_index, tid, call);
        event.slot = slot_number(self.place, slot);
        if has_stack || may_have_parts(self.process, &event.call) {
            assemble(self.process, index, self.place, slot, &mut event);
        }
        event
    }
}

fn open_chunk(process: &Process, place: u32, mut calls: Vec<OpenCall>) -> Open {
    let bytes = process.source.chunk(place);
    calls.clear();
    let mut has_stacks = false;
    for (slot, tid, record) in records(&bytes, 1) {
        match record {
            Record::Call(call) => calls.push(OpenCall { slot, tid, call, has_stack: false }),
            Record::Stack(Stack { call, .. }) | Record::StackWords(StackWords { call, .. }) => {
                let owner = calls.iter_mut().rev().find(|open| open.tid == tid);
                if let Some(open) = owner
                    && slot_number(place, open.slot) == u64::from(call)
                {
                    (open.has_stack, has_stacks) = (true, true);
                }
            }
            _ => {}
        }
    }
    // The stack of a thread's last call here may be in its next chunk.
    if has_stacks {
        for at in 0..calls.len() {
            let (call, later) = calls.split_at_mut(at + 1);
            if let [.., call] = call {
                call.has_stack |= later.iter().all(|later| later.tid != call.tid);
            }
        }
    }
    calls.sort_by_key(|open| Reverse((open.call.ticks, open.slot)));
    Open { calls }
}

/// Returns a slot's file-wide number.
pub fn slot_number(place: u32, slot: u32) -> u64 {
    u64::from(place) * u64::from(SLOTS_PER_CHUNK) + u64::from(slot)
}

/// Iterates over the records of a chunk from a slot on, each with its slot and thread.
fn records(bytes: &[u8], from: u32) -> impl Iterator<Item = (u32, u32, Record)> {
    let header = ChunkHeader::decode(bytes);
    let (claimed, mut tid) = header.map_or((0, 0), |chunk| (chunk.valid_slots(), chunk.tid));
    let slots = bytes.as_chunks::<SLOT_SIZE>().0;
    let claimed = slots.iter().zip(0..).take(claimed as usize).skip(1);
    claimed.filter_map(move |(slot, index)| match Record::decode(words(slot)) {
        Slot::Complete(Record::Thread(owner)) => {
            tid = owner;
            None
        }
        Slot::Complete(record) if index >= from => Some((index, tid, record)),
        _ => None,
    })
}

/// Whether parts were recorded: of emulated moves always, of others with detail `vmas`.
fn may_have_parts(process: &Process, call: &Call) -> bool {
    match call.outcome {
        Outcome::PassedThrough => false,
        Outcome::Emulated | Outcome::Begun | Outcome::Refused => true,
        Outcome::Native | Outcome::OneVma => process.header.detail != Some(Detail::Calls),
    }
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() < MAX_PARTS {
        list.push(item);
    }
}

/// Collects parts, gaps, summary and stack, which follow the call among its thread's records.
fn assemble(process: &Process, index: &Index, place: u32, slot: u32, event: &mut Event) {
    let number = event.slot as u32;
    let (mut place, mut from) = (place, slot + 1);
    let mut complete = !may_have_parts(process, &event.call);
    loop {
        let bytes = process.source.chunk(place);
        let mut found = from > 1;
        for (_, tid, record) in records(&bytes, from) {
            if tid != event.tid {
                continue;
            }
            match record {
                // The stack is last, after the summary.
                Record::Call(_) if complete => {
                    event.sort_parts_and_gaps();
                    return;
                }
                Record::Summary(summary) if summary.call == number => {
                    complete = true;
                    event.summary = Some(summary);
                }
                // If the last records are kept, the slot may have held another call, overwritten
                // since.
                Record::Part(part) if part.call == number && event.covers(part.start) => {
                    found = true;
                    push(&mut event.parts, part);
                }
                Record::Gap(gap) if gap.call == number && event.covers(gap.start) => {
                    found = true;
                    push(&mut event.gaps, gap);
                }
                Record::Stack(stack) if stack.call == number => {
                    found = true;
                    let frames = stack.frames.iter().take(usize::from(stack.count));
                    let room = MAX_FRAMES.saturating_sub(event.frames.len());
                    event.frames.extend(frames.take(room));
                }
                Record::StackWords(words) if words.call == number => {
                    found = true;
                    let entries = words.entries.iter().take(usize::from(words.count));
                    let room = MAX_STACK_WORDS.saturating_sub(event.stack_words.len());
                    event.stack_words.extend(entries.take(room));
                }
                _ => {}
            }
        }
        let next = index.next_of_thread(event.process, place, event.tid);
        let (true, Some(next)) = (found, next) else {
            event.sort_parts_and_gaps();
            return;
        };
        (place, from) = (next, 1);
    }
}
