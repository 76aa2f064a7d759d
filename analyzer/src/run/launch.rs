//! `run`: a program under the shim, its input, output, signals and status its own.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};
use tracing::{debug, info};

use super::{program, signals};
use crate::cli::RunOptions;
use crate::load;
use crate::model::{Filter, names};
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
    let Some((name, arguments)) = options.program.split_first() else {
        bail!("no program given")
    };
    let program = program::find(name)?;
    program::check(&program)?;
    let library = find_library(options.shim.as_deref())?;
    let place = trace_place(options)
        .inspect_err(|error| eprintln!("mremap-analyzer: {error:#}; the program runs without a trace"))
        .ok();

    let mut command = Command::new(&program);
    command
        .arg0(name)
        .args(arguments)
        .env("LD_PRELOAD", preload_list(&library))
        .env_remove("MREMAP_SHIM_TRACE")
        .env("MREMAP_SHIM_MODE", &options.mode)
        .env("MREMAP_SHIM_VMA_SOURCE", &options.vma_source)
        .env("MREMAP_SHIM_TRACE_DETAIL", &options.detail)
        .env("MREMAP_SHIM_TRACE_SIZE", &options.trace_size)
        .env("MREMAP_SHIM_TRACE_KEEP", &options.trace_keep)
        .env("MREMAP_SHIM_LIBC", &options.libc)
        .env("MREMAP_SHIM_STACK", options.stack.to_string())
        .env(
            "MREMAP_SHIM_CHILDREN",
            if options.no_children { "0" } else { "1" },
        )
        .env_remove("MREMAP_SHIM_PROGRAMS");
    if let Some(programs) = &options.programs {
        command.env("MREMAP_SHIM_PROGRAMS", programs);
    }
    if let Some(place) = &place {
        command.env("MREMAP_SHIM_TRACE", &place.directory);
    }
    debug!(?command, "running");
    signals::pass_on_to_child();
    let mut child = command
        .spawn()
        .with_context(|| format!("{}: cannot be started", program.display()))?;
    signals::wait_and_pass_on(child.id());
    let status = child.wait().context("waiting for the program")?;
    if let Some(place) = place {
        summarize(&place, options.keep, &library);
    }
    Ok(ExitCode::from(status_of(status)))
}

fn find_library(given: Option<&Path>) -> Result<PathBuf> {
    let library = locate_library(given.filter(|path| !path.as_os_str().is_empty()))?;
    if library
        .as_os_str()
        .as_bytes()
        .iter()
        .any(|byte| b" :\t\n".contains(byte))
    {
        bail!(
            "{}: the loader takes blanks and colons in LD_PRELOAD for separators; move the library to a path without",
            library.display()
        );
    }
    Ok(library)
}

fn locate_library(given: Option<&Path>) -> Result<PathBuf> {
    const NAME: &str = "libmremap_shim.so";
    if let Some(path) = given {
        return path
            .canonicalize()
            .with_context(|| format!("{}: no such preload library", path.display()));
    }
    let own = std::env::current_exe().context("cannot find this program's own path")?;
    let directory = own.parent().unwrap_or(Path::new("/"));
    let places = [directory.join(NAME), directory.join("../lib").join(NAME)];
    places
        .iter()
        .find_map(|place| place.canonicalize().ok())
        .with_context(|| {
            format!(
                "{NAME} is neither in {} nor in ../lib from there; name it with --shim",
                directory.display()
            )
        })
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
    Ok(Place {
        temporary: false,
        former: load::traces_in(&directory),
        directory,
    })
}

/// Ours first; but `AddressSanitizer` insists on being first itself.
fn preload_list(library: &Path) -> OsString {
    let former = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    let mut list = OsString::new();
    if former.is_empty() {
        list.push(library);
    } else if former.to_string_lossy().contains("libasan") {
        list.push(&former);
        list.push(":");
        list.push(library);
    } else {
        list.push(library);
        list.push(":");
        list.push(&former);
    }
    list
}

fn status_of(status: ExitStatus) -> u8 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1) as u8
}

/// A line or two on stderr.
fn summarize(place: &Place, keep: bool, library: &Path) {
    let directory = place.directory.display();
    let mut files = load::traces_in(&place.directory);
    files.retain(|file| !place.former.contains(file));
    if files.is_empty() {
        eprintln!(
            "mremap-analyzer: no trace in {directory}: the loader did not load {} (its own message is above), or the \
             program dropped LD_PRELOAD, changed its user or root, or could not write there",
            library.display()
        );
        discard(place, keep);
        return;
    }
    let mut traces = match load::open(&files) {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("mremap-analyzer: the trace cannot be read: {error:#}");
            return;
        }
    };
    let symbols = Symbols::new(SymbolOptions {
        no_symbols: true,
        ..SymbolOptions::default()
    });
    let overview = Overview::of(&mut traces, &mut Filter::default(), &symbols);
    let damage = traces.damage();
    for damage in &damage {
        eprintln!("mremap-analyzer: {damage}");
    }
    if overview.calls == 0 && damage.is_empty() {
        eprintln!("mremap-analyzer: no calls of mremap");
        let still_running = traces.processes.iter().any(|process| process.alive);
        discard(place, keep || still_running);
        return;
    }
    let counts = names::OUTCOMES
        .iter()
        .zip(&overview.outcomes)
        .map(|(name, outcome)| (name, outcome.times.count()))
        .filter(|(_, count)| *count > 0);
    let list: Vec<String> = counts
        .map(|(outcome, count)| format!("{count} {outcome}"))
        .collect();
    let calls = if list.is_empty() {
        "no calls of mremap".to_owned()
    } else {
        list.join(", ")
    };
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
