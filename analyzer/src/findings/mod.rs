//! What a trace gives reason to think about: an [`Observer`] looks at every event in the order of time, and
//! collects findings with their evidence.

mod conformance;
mod finding;
mod moves;
mod observer;
mod overlap;
mod report;

use std::ops::ControlFlow;

use anyhow::Result;

use crate::load::{Index, Traces, in_order};
use crate::model::Filter;
pub use finding::Severity;
pub use observer::Observer;
pub use report::write;

/// An observer who has seen no event yet.
pub fn begin(traces: &Traces) -> Observer {
    let mut observer = Observer::default();
    for (of, process) in traces.processes.iter().enumerate() {
        observer.start(of, process);
    }
    observer
}

/// Looks at the events that pass a filter.
///
/// # Errors
/// None of its own.
pub fn observe(traces: &Traces, index: &Index, filter: &Filter) -> Result<Observer> {
    let mut observer = begin(traces);
    in_order(
        traces,
        index,
        |met| filter.passes(met.process, met.of, met.tid, met.call),
        |process, event| {
            observer.take(process, &event);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(observer)
}
