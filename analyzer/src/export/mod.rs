//! `export`: events for other programs. One thread reads and symbolises events in order of time,
//! another writes them.

mod chrome;
mod ctf;
mod folded;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod pprof;
mod stacks;
mod tables;

pub use folded::Lines;
pub use output::Output;
pub use stacks::Stacks;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;

use crate::load::{Index, Process, Traces, in_order};
use crate::model::Filter;
use crate::named::{Named, Namer};
use crate::symbols::Symbols;

/// Events passed to the writing thread at a time.
const BATCH: usize = 2048;
/// Batches that may wait for the writing thread.
const BATCHES: usize = 4;

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON lines, as `events --json` prints them.
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
    /// Parquet files under host=.../date=.../ in a directory.
    Parquet,
    /// Chrome's trace events, for Perfetto and `chrome://tracing`.
    Chrome,
    /// A directory in the Common Trace Format 1.8, for babeltrace2 and Trace Compass.
    Ctf,
    /// Folded stacks, for flame graphs.
    Folded,
    /// A profile with calls, time, failures and bytes by stack, for pprof, Pyroscope and Grafana.
    Pprof,
}

/// The weight of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Weight {
    /// Calls.
    #[default]
    Calls,
    /// Nanoseconds.
    Time,
    /// Bytes relocated.
    Bytes,
}

/// Writes events in one format.
trait Exporter: Send {
    /// Why a trace cannot be exported in this format.
    fn objection(&self, _process: &Process) -> Option<String> {
        None
    }
    /// Called before the first event.
    fn begin(&mut self, _traces: &Traces) {}
    /// Writes the next event.
    fn take(&mut self, named: &Named) -> Result<()>;
    /// Completes the output. Without it no file appears under its name.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// An opened output: opening it first finds an unusable path before the traces are read.
pub struct Target {
    exporter: Box<dyn Exporter>,
}

impl Target {
    /// Opens a file or a directory; by default standard output. `inputs` are the traces, which no
    /// output may replace.
    pub fn open(
        format: Format,
        weight: Weight,
        output: Option<&Path>,
        inputs: &[PathBuf],
    ) -> Result<Self> {
        let stream = || Output::open(output, inputs);
        let exporter: Box<dyn Exporter> = match format {
            Format::Jsonl => Box::new(tables::Jsonl::new(stream()?)),
            Format::Csv => Box::new(tables::Csv::new(stream()?)?),
            Format::Chrome => Box::new(chrome::Chrome::new(stream()?)?),
            Format::Folded => Box::new(folded::Folded::new(stream()?, weight)),
            Format::Pprof => Box::new(pprof::Pprof::new(stream()?)),
            #[cfg(feature = "parquet")]
            Format::Parquet => Box::new(parquet::Dataset::new(directory(output)?)?),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => bail!("Parquet: not in this build; build with --features parquet"),
            Format::Ctf => Box::new(ctf::Ctf::new(&directory(output)?)?),
        };
        Ok(Self { exporter })
    }

    /// Why a trace cannot be exported in this format.
    pub fn objection(&self, process: &Process) -> Option<String> {
        self.exporter.objection(process)
    }
}

/// Creates a directory and tests that files can be made in it.
fn directory(output: Option<&Path>) -> Result<PathBuf> {
    let Some(path) = output else {
        bail!("this format writes several files; name a directory with --output DIRECTORY");
    };
    let unusable = || format!("{}: cannot be written", path.display());
    std::fs::create_dir_all(path).with_context(unusable)?;
    tempfile::tempfile_in(path).with_context(unusable)?;
    Ok(path.to_owned())
}

/// Folded stacks of the events that pass a filter, with their weights.
pub fn stacks(
    traces: &Traces,
    index: &Index,
    filter: &Filter,
    symbols: &Symbols,
    weight: Weight,
) -> Result<Lines> {
    let mut namer = Namer::new(symbols);
    let mut stacks = Stacks::default();
    in_order(
        traces,
        index,
        |candidate| filter.selects(candidate),
        |process, event| {
            stacks.add(&namer.name(process, event));
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(folded::lines(stacks, weight))
}

/// Writes the events that pass a filter.
pub fn write(
    traces: &Traces,
    index: &Index,
    filter: &Filter,
    symbols: &Symbols,
    target: Target,
) -> Result<()> {
    let (sender, batches) = mpsc::sync_channel::<Vec<Named>>(BATCHES);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || -> Result<()> {
            let mut exporter = target.exporter;
            exporter.begin(traces);
            for batch in batches {
                for named in &batch {
                    exporter.take(named)?;
                }
            }
            exporter.finish()
        });
        let mut namer = Namer::new(symbols);
        let mut batch = Vec::with_capacity(BATCH);
        let read = in_order(
            traces,
            index,
            |candidate| filter.selects(candidate),
            |process, event| {
                batch.push(namer.name(process, event));
                if batch.len() < BATCH {
                    return Ok(ControlFlow::Continue(()));
                }
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                // The writer ends early only on an error, which `join` returns.
                Ok(match sender.send(full) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                })
            },
        );
        let _ = sender.send(batch);
        drop(sender);
        let ended = writer.join().map_err(|_| anyhow!("the writing thread ended unexpectedly"))?;
        read.and(ended)
    })
}
