//! The events that the page shows one by one: the slowest, those that failed, moves with parts, and
//! every so many-th of the rest.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anyhow::Result;

use crate::findings::{self, Observer};
use crate::load::{Index, Traces, in_order};
use crate::model::Filter;
use crate::named::{Named, Namer};
use crate::symbols::Symbols;

/// Rows of the table of events, at most.
const ROWS: usize = 4000;
/// Slowest calls among them.
const SLOWEST: usize = 500;
/// Failed calls.
const FAILED: usize = 500;
/// Moves with parts.
const MOVES: usize = 1000;
/// Moves drawn.
const DRAWN: usize = 40;

/// Events by their number, and which of them are drawn.
pub struct Examples {
    /// In the order of time.
    pub events: Vec<Named>,
    /// Numbers of those that are drawn.
    pub drawn: Vec<u64>,
    /// Events that the page stands for.
    pub of: u64,
    /// What was found in all of them.
    pub observer: Observer,
}

/// Picks events in one pass.
pub fn examples(
    traces: &Traces,
    index: &Index,
    filter: &Filter,
    symbols: &Symbols,
) -> Result<Examples> {
    let each = (index.calls / (ROWS - SLOWEST - FAILED - MOVES) as u64).max(1);
    let mut namer = Namer::new(symbols);
    let mut kept: BTreeMap<u64, Named> = BTreeMap::new();
    let mut slowest: BTreeMap<Reverse<(u64, u64)>, Named> = BTreeMap::new();
    let (mut failed, mut moves, mut of) = (0, 0, 0);
    let mut drawn = Vec::new();
    let mut observer = findings::begin(traces);
    in_order(
        traces,
        index,
        |met| filter.passes(met.process, met.of, met.tid, met.call),
        |process, event| {
            of += 1;
            observer.take(process, &event, true);
            let taken_apart = !event.parts.is_empty();
            let wanted = if taken_apart && moves < MOVES {
                moves += 1;
                if drawn.len() < DRAWN {
                    drawn.push(event.number);
                }
                true
            } else if event.call.errno().is_some() && failed < FAILED {
                failed += 1;
                true
            } else {
                of % each == 0
            };
            let key = Reverse((event.call.duration, event.number));
            if wanted {
                kept.insert(event.number, namer.name(process, event));
            } else if slowest.len() < SLOWEST
                || slowest.keys().next_back().is_some_and(|last| key < *last)
            {
                slowest.insert(key, namer.name(process, event));
                if slowest.len() > SLOWEST {
                    slowest.pop_last();
                }
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    observer.finish();
    kept.extend(slowest.into_values().map(|named| (named.event.number, named)));
    Ok(Examples { events: kept.into_values().collect(), drawn, of, observer })
}
