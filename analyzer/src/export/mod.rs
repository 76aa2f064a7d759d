//! `export`: events for other programs. One thread reads and symbolises events in order of time,
//! another writes them.

mod chrome;
mod ctf;
mod folded;
mod parquet;
mod tables;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;

use crate::load::{Index, Traces, in_order};
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
    /// Writes the next event.
    fn take(&mut self, named: &Named) -> Result<()>;
    /// Completes the output.
    fn finish(&mut self) -> Result<()>;
}

/// An opened output: opening it first finds an unusable path before the traces are read.
pub struct Target(Box<dyn Exporter>);

impl Target {
    /// Opens a file or a directory; by default standard output.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(format: Format, weight: Weight, output: Option<&Path>) -> Result<Self> {
        Ok(Self(match format {
            Format::Jsonl => Box::new(tables::Jsonl::new(stream(output)?)),
            Format::Csv => Box::new(tables::Csv::new(stream(output)?)?),
            Format::Chrome => Box::new(chrome::Chrome::new(stream(output)?)?),
            Format::Folded => Box::new(folded::Folded::new(stream(output)?, weight)),
            Format::Parquet => Box::new(parquet::Dataset::new(directory(output)?)?),
            Format::Ctf => Box::new(ctf::Ctf::new(&directory(output)?)?),
        }))
    }
}

/// Opens a file; by default standard output.
///
/// # Errors
/// The file cannot be written.
pub fn stream(output: Option<&Path>) -> Result<Box<dyn Write + Send>> {
    match output.filter(|path| *path != Path::new("-")) {
        None => Ok(Box::new(BufWriter::with_capacity(1 << 16, std::io::stdout()))),
        Some(path) => {
            let file = File::create(path)
                .with_context(|| format!("{}: cannot be written", path.display()))?;
            Ok(Box::new(BufWriter::with_capacity(1 << 16, file)))
        }
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

/// Writes the events that pass a filter.
///
/// # Errors
/// The target cannot be written.
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
            let mut exporter = target.0;
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
            |met| filter.passes(met.process, met.of, met.tid, met.call),
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
