//! `run`: a program under the shim, its input, output, signals and status its own.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};
use mremap_trace::Outcome;
use tracing::{debug, info};

use super::{preload, signals};
use crate::cli::RunOptions;
use crate::load;
use crate::model::Filter;
use crate::program::{self, Elf, Obstacle};
use crate::stats::Overview;
use crate::symbols::{SymbolOptions, Symbols};

/// Where the trace goes.
struct Place {
    directory: PathBuf,
    /// Ours to remove when nothing came of it.
    temporary: bool,
    /// Traces of earlier runs.
    former: Vec<PathBuf>,
}

/// Runs the program; its status becomes ours.
///
/// # Errors
/// The program cannot be reached, the library is not there, or the program cannot be started.
pub fn run(options: &RunOptions) -> Result<ExitCode> {
    let Some((name, arguments)) = options.program.split_first() else { bail!("no program given") };
    let program = program::find(name)?;
    let inspected = program::inspect(&program)?;
    let library = preload::find_library(options.shim.as_deref())?;
    let sanitizers = inspected.elf.iter().flat_map(Elf::sanitizers);
    let former = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    let preloaded = preload::list(&library, &former, sanitizers);
    let place = trace_place(options)
        .inspect_err(|error| {
            eprintln!("mremap-analyzer: {error:#}; the program runs without a trace")
        })
        .ok();

    let mut command = Command::new(&program);
    command
        .arg0(name)
        .args(arguments)
        .env("LD_PRELOAD", preloaded)
        .env_remove("MREMAP_SHIM_TRACE")
        .env("MREMAP_SHIM_MODE", &options.mode)
        .env("MREMAP_SHIM_VMA_SOURCE", &options.vma_source)
        .env("MREMAP_SHIM_TRACE_DETAIL", &options.detail)
        .env("MREMAP_SHIM_TRACE_SIZE", &options.trace_size)
        .env("MREMAP_SHIM_TRACE_KEEP", &options.trace_keep)
        .env("MREMAP_SHIM_LIBC", &options.libc)
        .env("MREMAP_SHIM_STACK", options.stack.to_string())
        .env("MREMAP_SHIM_CHILDREN", if options.no_children { "0" } else { "1" })
        .env_remove("MREMAP_SHIM_PROGRAMS");
    if let Some(programs) = &options.programs {
        command.env("MREMAP_SHIM_PROGRAMS", programs);
    }
    if let Some(place) = &place {
        command.env("MREMAP_SHIM_TRACE", &place.directory);
    }
    debug!(?command, "running");
    signals::pass_on_to_child();
    let mut child = command.spawn().map_err(|error| cannot_start(&program, &error))?;
    signals::wait_and_pass_on(child.id());
    let status = child.wait().context("waiting for the program")?;
    if let Some(place) = place {
        summarize(&place, options.keep, &library, &program);
    }
    Ok(ExitCode::from(status_of(status)))
}

fn cannot_start(program: &Path, error: &std::io::Error) -> Obstacle {
    let reason = format!("cannot be started ({error})");
    if error.kind() == std::io::ErrorKind::NotFound {
        Obstacle::absent(program, &reason, "its loader or interpreter is not installed")
    } else {
        Obstacle::new(program, &reason, "see whether it runs without the shim")
    }
}

/// A directory that can be written, found out by writing.
fn trace_place(options: &RunOptions) -> Result<Place> {
    let Some(directory) = &options.trace else {
        let made = tempfile::Builder::new().prefix("mremap-trace-").tempdir();
        return Ok(Place {
            directory: made.context("no temporary directory")?.keep(),
            temporary: true,
            former: Vec::new(),
        });
    };
    let unusable = || format!("{}: no trace can be written there", directory.display());
    std::fs::create_dir_all(directory).with_context(unusable)?;
    let directory = directory.canonicalize().with_context(unusable)?;
    tempfile::tempfile_in(&directory).with_context(unusable)?;
    Ok(Place { temporary: false, former: load::traces_in(&directory), directory })
}

fn status_of(status: ExitStatus) -> u8 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1) as u8
}

/// A line or two on stderr.
fn summarize(place: &Place, keep: bool, library: &Path, program: &Path) {
    let directory = place.directory.display();
    let mut files = load::traces_in(&place.directory);
    files.retain(|file| !place.former.contains(file));
    if files.is_empty() {
        eprintln!(
            "mremap-analyzer: no trace in {directory}: the loader did not load {} (its own message is above), or the \
             program dropped LD_PRELOAD, changed its user or root, or could not write there; next: mremap-analyzer \
             doctor {}",
            library.display(),
            program.display()
        );
        discard(place, keep);
        return;
    }
    let mut traces = load::open(&files);
    let symbols = Symbols::new(SymbolOptions { no_symbols: true, ..SymbolOptions::default() });
    let overview = Overview::of(&mut traces, &mut Filter::default(), &symbols);
    let damage = traces.damage();
    for damage in &damage {
        eprintln!("mremap-analyzer: {damage}");
    }
    if overview.calls == 0 && damage.is_empty() {
        eprintln!("mremap-analyzer: no calls of mremap");
        let still_running = traces.processes.iter().any(|process| process.is_alive());
        discard(place, keep || still_running);
        return;
    }
    let counts = Outcome::NAMES
        .iter()
        .zip(&overview.outcomes)
        .filter(|(_, outcome)| outcome.times.count() > 0);
    let list: Vec<String> = counts
        .map(|(name, outcome)| match outcome.failed {
            0 => format!("{} {name}", outcome.times.count()),
            failed => format!("{} {name} ({failed} failed)", outcome.times.count()),
        })
        .collect();
    let calls = if list.is_empty() { "no calls of mremap".to_owned() } else { list.join(", ") };
    eprintln!("mremap-analyzer: {calls}; next: mremap-analyzer report {directory}");
}

/// Removes a temporary directory from which nothing can be learnt.
fn discard(place: &Place, keep: bool) {
    if !place.temporary {
        return;
    }
    if keep {
        eprintln!("mremap-analyzer: kept {}", place.directory.display());
    } else if let Err(error) = std::fs::remove_dir_all(&place.directory) {
        info!("{}: {error}", place.directory.display());
    }
}
