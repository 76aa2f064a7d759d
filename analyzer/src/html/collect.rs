//! One pass over all events: findings, stacks, and the events that the page lists: the slowest,
//! failed ones, moves with recorded parts, and an even sample of the rest.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anyhow::Result;
use foldhash::{HashMap, HashMapExt};

use crate::export::Stacks;
use crate::findings::{self, Observer};
use crate::load::{CodeAddress, Index, Traces, in_order};
use crate::model::Filter;
use crate::named::{Named, Namer};
use crate::stats::Bytes;
use crate::symbols::Symbols;

/// Limit on listed events.
const MAX_ROWS: usize = 4000;
/// Slowest calls among them.
const SLOWEST: usize = 500;
/// Failed calls.
const FAILED: usize = 500;
/// Moves with recorded parts.
const MOVES: usize = 1000;
/// Moves drawn.
const DRAWN: usize = 40;
/// Limit on parts and gaps of a move that is drawn.
const MAX_PARTS: usize = 400;

/// The listed events, and sums over all events.
pub struct Examples {
    /// In order of time.
    pub events: Vec<Named>,
    /// Numbers of those that are drawn.
    pub drawn: Vec<u64>,
    /// Number of events that the page summarizes.
    pub total: u64,
    /// Findings.
    pub observer: Observer,
    /// Calls with recorded stacks.
    pub stacks: Stacks,
    /// Calls, nanoseconds and bytes relocated of the others, by process and caller.
    pub without_stack: HashMap<(usize, CodeAddress), [u64; 3]>,
}

/// Picks events in one pass.
pub fn examples(
    traces: &Traces,
    index: &Index,
    filter: &Filter,
    symbols: &Symbols,
) -> Result<Examples> {
    let interval = (index.calls / (MAX_ROWS - SLOWEST - FAILED - MOVES) as u64).max(1);
    let mut namer = Namer::new(symbols);
    let mut kept: BTreeMap<u64, Named> = BTreeMap::new();
    let mut slowest: BTreeMap<Reverse<(u64, u64)>, Named> = BTreeMap::new();
    let (mut failed, mut moves, mut total) = (0, 0, 0);
    let mut drawn = Vec::new();
    let mut observer = findings::begin(traces);
    let mut stacks = Stacks::default();
    let mut without_stack: HashMap<(usize, CodeAddress), [u64; 3]> = HashMap::new();
    in_order(
        traces,
        index,
        |candidate| filter.selects(candidate),
        |process, event| {
            total += 1;
            observer.take(process, &event, true);
            let parts_and_gaps = event.parts.len() + event.gaps.len();
            let is_wanted = if !event.parts.is_empty() && moves < MOVES {
                moves += 1;
                if drawn.len() < DRAWN && parts_and_gaps <= MAX_PARTS {
                    drawn.push(event.number);
                }
                true
            } else if event.call.errno().is_some() && failed < FAILED {
                failed += 1;
                true
            } else {
                total % interval == 0
            };
            let key = Reverse((event.call.duration, event.number));
            let is_slow = slowest.len() < SLOWEST
                || slowest.keys().next_back().is_some_and(|last| key < *last);
            let has_stack = event.has_stack();
            if !has_stack {
                let page_size = process.header.page_size;
                let bytes = Bytes::of(&event.call, page_size, event.summary.as_ref());
                let time = process.nanoseconds(event.call.duration);
                let code = process.code_at(event.call.caller, event.call.ticks);
                let totals = without_stack.entry((event.process, code)).or_default();
                for (sum, more) in totals.iter_mut().zip([1, time, bytes.relocated()]) {
                    *sum = sum.saturating_add(more);
                }
            }
            // Finding names is slow, and most calls need none.
            if !is_wanted && !is_slow && !has_stack {
                return Ok(ControlFlow::Continue(()));
            }
            let named = namer.name(process, event);
            if has_stack {
                stacks.add(&named);
            }
            if is_wanted {
                kept.insert(named.event.number, named);
            } else if is_slow {
                slowest.insert(key, named);
                if slowest.len() > SLOWEST {
                    slowest.pop_last();
                }
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    observer.finish();
    kept.extend(slowest.into_values().map(|named| (named.event.number, named)));
    Ok(Examples {
        events: kept.into_values().collect(),
        drawn,
        total,
        observer,
        stacks,
        without_stack,
    })
}
