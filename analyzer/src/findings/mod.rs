//! `check`: searches a trace for bugs and risks. An [`Observer`] takes every event in order of time
//! and collects findings with their evidence. [`moves`] checks single events, [`overlap`] events of
//! several threads at once, [`conformance`] the emulation.

mod conformance;
mod finding;
mod moves;
mod observer;
mod overlap;
mod report;
mod runs;

use std::ops::ControlFlow;

use anyhow::Result;

use crate::load::{Index, Traces, in_order};
use crate::model::Filter;
pub use finding::{Kind, Severity};
pub use observer::Observer;
pub use report::{Verdict, before_6_17, write};

/// Makes an observer that knows the traces' headers.
pub fn begin(traces: &Traces) -> Observer {
    let mut observer = Observer::default();
    for process in &traces.processes {
        observer.start(process);
    }
    observer
}

/// Makes an observer and hands it every event. Findings about events that do not pass the filter
/// are left out; what these events did still counts for the others.
pub fn observe(traces: &Traces, index: &Index, filter: &Filter) -> Result<Observer> {
    let mut observer = begin(traces);
    in_order(
        traces,
        index,
        |_| true,
        |process, event| {
            let passes =
                filter.passes(process, event.process, (event.tid, event.slot), &event.call);
            observer.take(process, &event, passes);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    observer.finish();
    Ok(observer)
}
