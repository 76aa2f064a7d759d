//! Starts a program under the shim. Its input, output, signals and exit status stay its own.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};
use mremap_settings::{ALL, Id};
use tracing::debug;

use super::attach::library;
use super::names::ProgramNames;
use super::summary::{Traced, summarize};
use super::{CannotRecord, preload, signals, tracer};
use crate::cli::{Reach, RunOptions};
use crate::load;
use crate::program::{self, Elf, Obstacle};

/// What recording takes.
struct Recording {
    library: PathBuf,
    /// The value of `LD_PRELOAD`.
    preloaded: OsString,
    names: Option<ProgramNames>,
    directory: Directory,
}

/// The directory that receives the traces.
pub struct Directory {
    /// Its path.
    pub path: PathBuf,
    /// Whether it is removed when nothing was recorded.
    pub is_temporary: bool,
    /// Traces of earlier runs.
    pub earlier: Vec<PathBuf>,
}

impl Directory {
    /// Removes a temporary directory.
    pub fn discard(&self) {
        if self.is_temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            debug!("{}: {error}", self.path.display());
        }
    }
}

/// Runs a program; returns its exit status.
///
/// # Errors
/// [`Obstacle`] when the program cannot be executed or reached, [`CannotRecord`] when its calls
/// cannot be recorded. With `--best-effort` the program runs all the same, where it can be
/// executed.
pub fn run(options: &RunOptions) -> Result<ExitCode> {
    let Some((name, arguments)) = options.program.split_first() else { bail!("no program given") };
    let program = program::find(name)?;
    if options.reach == Reach::All {
        return tracer::run(options, &program);
    }
    let recording = match prepare(options, &program) {
        Ok(recording) => Some(recording),
        Err(error) if options.best_effort => {
            eprintln!("mremap-analyzer: {error:#}; the program runs unrecorded (--best-effort)");
            None
        }
        Err(error) => return Err(error),
    };
    let mut command = Command::new(&program);
    command.arg0(name).args(arguments);
    if let Some(recording) = &recording {
        set_environment(&mut command, options, recording);
    }
    debug!(?command, "running");
    signals::forward_to_child();
    let mut child = command.spawn().map_err(|error| cannot_start(&program, &error))?;
    signals::forward_until_exit(child.id());
    let status = status_of(child.wait().context("waiting for the program")?);
    let recorded = recording.is_none_or(|Recording { library, names, directory, .. }| {
        let traced = Traced {
            directory,
            keep: options.keep,
            program: &program,
            library: Some(&library),
            // Elsewhere the setting has no effect.
            sees_libc: !cfg!(target_arch = "x86_64") || patches_libc(options),
        };
        summarize(&traced, names.as_ref())
    });
    if status == 0 && !recorded && !options.best_effort {
        return Ok(ExitCode::from(CannotRecord::STATUS));
    }
    Ok(ExitCode::from(status))
}

fn patches_libc(options: &RunOptions) -> bool {
    options.settings.get(Id::Libc).is_some_and(|word| word == "patch")
}

/// Checks everything that could prevent a recording, and makes the directory.
fn prepare(options: &RunOptions, program: &Path) -> Result<Recording> {
    let inspected = program::inspect(program)?;
    let library = library(options.shim.as_deref())?;
    let sanitizers = inspected.elf.iter().flat_map(Elf::sanitizers);
    let former = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    Ok(Recording {
        preloaded: preload::list(&preload::for_every_loader(&library), &former, sanitizers),
        library,
        names: options.settings.get(Id::Programs).map(ProgramNames::resolve),
        directory: make_directory(options.settings.get(Id::Trace)).map_err(CannotRecord)?,
    })
}

/// Sets `LD_PRELOAD` and every variable of the shim, so that none is inherited.
fn set_environment(command: &mut Command, options: &RunOptions, recording: &Recording) {
    command.env("LD_PRELOAD", &recording.preloaded);
    for setting in ALL {
        let value = match setting.id {
            Id::Trace => Some(recording.directory.path.as_os_str()),
            Id::Programs => recording.names.as_ref().map(ProgramNames::value),
            id => options.settings.get(id),
        };
        match value {
            Some(value) => command.env(setting.name, value),
            None => command.env_remove(setting.name),
        };
    }
}

fn cannot_start(program: &Path, error: &std::io::Error) -> Obstacle {
    let reason = format!("cannot be started: {error}");
    if error.kind() == std::io::ErrorKind::NotFound {
        Obstacle::absent(program, &reason, "its loader or interpreter is not installed")
    } else {
        Obstacle::new(program, &reason, "try it without the shim")
    }
}

/// Makes the directory for the traces, and a file in it as a trial.
pub fn make_directory(given: Option<&OsStr>) -> Result<Directory> {
    let Some(path) = given.map(Path::new) else {
        let made = tempfile::Builder::new().prefix("mremap-trace-").tempdir();
        let path = made.context("cannot make a temporary directory")?.keep();
        return Ok(Directory { path, is_temporary: true, earlier: Vec::new() });
    };
    let unusable = || format!("{}: cannot write traces there", path.display());
    std::fs::create_dir_all(path).with_context(unusable)?;
    let path = path.canonicalize().with_context(unusable)?;
    tempfile::tempfile_in(&path).with_context(unusable)?;
    Ok(Directory { is_temporary: false, earlier: load::traces_in(&path), path })
}

/// The exit status as a shell reports it.
fn status_of(status: ExitStatus) -> u8 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1) as u8
}
