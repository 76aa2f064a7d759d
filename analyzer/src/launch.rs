//! `run`: a program under the shim, its input, output, signals and status its own.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context, Result, bail};

use crate::cli::RunOptions;
use crate::model::outcome_name;
use crate::{load, program};

/// The program, for the handler that passes signals on; 0 before it runs.
static CHILD: AtomicI32 = AtomicI32::new(0);

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
    let directory = trace_directory(options)?;

    let mut command = Command::new(&program);
    command
        .args(arguments)
        .env("LD_PRELOAD", preload_list(&library))
        .env("MREMAP_SHIM_TRACE", &directory)
        .env("MREMAP_SHIM_MODE", &options.mode)
        .env("MREMAP_SHIM_VMA_SOURCE", &options.vma_source)
        .env("MREMAP_SHIM_TRACE_DETAIL", &options.detail)
        .env("MREMAP_SHIM_TRACE_SIZE", &options.trace_size);
    let mut child = command
        .spawn()
        .with_context(|| format!("{}: cannot be started", program.display()))?;
    CHILD.store(child.id() as i32, Ordering::SeqCst);
    pass_signals_on();
    let status = child.wait().context("waiting for the program")?;
    CHILD.store(0, Ordering::SeqCst);
    summarize(&directory, &library);
    Ok(ExitCode::from(status_of(status)))
}

fn find_library(given: Option<&Path>) -> Result<PathBuf> {
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

fn trace_directory(options: &RunOptions) -> Result<PathBuf> {
    if let Some(directory) = &options.trace {
        if let Err(error) = std::fs::create_dir_all(directory) {
            eprintln!(
                "mremap-analyzer: {}: {error}; the program runs without a trace",
                directory.display()
            );
        }
        return Ok(directory.canonicalize().unwrap_or_else(|_| directory.clone()));
    }
    Ok(tempfile::Builder::new()
        .prefix("mremap-trace-")
        .tempdir()
        .context("no temporary directory")?
        .keep())
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

extern "C" fn pass_on(signal: libc::c_int) {
    let child = CHILD.load(Ordering::SeqCst);
    if child > 0 {
        // SAFETY: `kill` is async-signal-safe; the child is not reaped before CHILD is cleared.
        unsafe { libc::kill(child, signal) };
    }
}

/// The terminal sends Ctrl-C to the program by itself, so here it is only not to end us; what is sent to
/// us alone is passed on.
fn pass_signals_on() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: replaces a disposition by "ignore", after the program was started with the old one.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: the handler is async-signal-safe.
        unsafe { libc::signal(signal, pass_on as *const () as libc::sighandler_t) };
    }
}

fn status_of(status: ExitStatus) -> u8 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1) as u8
}

/// A line or two on stderr.
fn summarize(directory: &Path, library: &Path) {
    let loaded = match load::load(&[directory.to_owned()]) {
        Ok(loaded) => loaded,
        Err(error) => {
            let absent = error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|e| e.kind() == ErrorKind::NotFound);
            let why = if absent {
                "the trace's directory cannot be used"
            } else {
                "the loader may have refused it"
            };
            eprintln!(
                "mremap-analyzer: nothing was recorded under {} ({why}): {error:#}",
                library.display()
            );
            return;
        }
    };
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for event in loaded.processes.iter().flat_map(|process| &process.events) {
        *counts.entry(outcome_name(event.call.outcome)).or_default() += 1;
    }
    let list: Vec<String> = counts
        .iter()
        .map(|(outcome, count)| format!("{count} {outcome}"))
        .collect();
    let calls = if list.is_empty() {
        "no calls of mremap".to_owned()
    } else {
        list.join(", ")
    };
    eprintln!(
        "mremap-analyzer: {calls}; next: mremap-analyzer report {}",
        directory.display()
    );
}
