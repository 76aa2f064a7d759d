//! `run --reach all` and `attach --reach all`: the program under the tracer of `mremap-tracer`,
//! which needs no library in it.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use mremap_settings::Id;
use mremap_tracer::{Detail, Ended, Keep, Launch, Mode, Settings, TraceSettings};

use super::attach::variable;
use super::launch::make_directory;
use super::summary::{Traced, summarize};
use super::{CannotRecord, signals};
use crate::cli;
#[cfg(target_arch = "x86_64")]
use crate::cli::AttachOptions;
use crate::cli::RunOptions;
use crate::model::units::parse_size;
use crate::program::{self, Obstacle};

/// Runs a program under the tracer; returns its exit status once the last process of its tree has
/// ended.
///
/// # Errors
/// [`Obstacle`] when the program cannot be executed, [`CannotRecord`] when it cannot be traced or
/// its traces cannot be written.
pub fn run(options: &RunOptions, program: &Path) -> Result<ExitCode> {
    program::check_executable(program)?;
    warn_of_privileges(program);
    let directory = make_directory(options.settings.get(Id::Trace)).map_err(CannotRecord)?;
    let launch = launch(options, program)?;
    signals::forward_to_child();
    let traced = mremap_tracer::start(&launch, settings(&options.settings, &directory.path, true))
        .map_err(|error| cannot_start(program, error))?;
    signals::set_child(traced.pid());
    let ended = traced.run()?;
    signals::set_child(0);
    let keep = options.keep;
    let traced = Traced { directory, keep, program, library: None, sees_libc: true };
    summarize(&traced, None);
    Ok(ExitCode::from(match ended {
        Ended::Exited(status) => status as u8,
        Ended::Killed(signal) => 128 + signal as u8,
    }))
}

/// Traces a process that runs already, until it ends or this command is asked to end.
///
/// # Errors
/// [`CannotRecord`] when it cannot be traced, or its traces cannot be written.
#[cfg(target_arch = "x86_64")]
pub fn follow(options: &AttachOptions) -> Result<ExitCode> {
    let pid = options.pid;
    let directory = make_directory(options.settings.get(Id::Trace)).map_err(CannotRecord)?;
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let stop = signals::stop_instead_of_ending();
    let traced = mremap_tracer::follow(pid, settings(&options.settings, &directory.path, false))
        .inspect_err(|_| directory.discard())
        .map_err(CannotRecord)?;
    eprintln!(
        "mremap-analyzer: {pid}: followed; each of its system calls takes 15 µs longer, or more; to \
         end it: Ctrl-C"
    );
    let ended = traced.run_until(stop)?;
    let what = if ended.is_some() { "has ended" } else { "goes on by itself" };
    eprintln!("mremap-analyzer: {pid}: {what}");
    let traced =
        Traced { directory, keep: false, program: &program, library: None, sees_libc: true };
    summarize(&traced, None);
    Ok(ExitCode::SUCCESS)
}

fn cannot_start(program: &Path, error: mremap_tracer::StartError) -> anyhow::Error {
    match error {
        mremap_tracer::StartError::Execute(error) => {
            let reason = format!("cannot be started: {error}");
            Obstacle::new(program, &reason, "try it without --reach").into()
        }
        mremap_tracer::StartError::Trace(reason) => {
            let reason = format!("{}: {reason}", program.display());
            CannotRecord(anyhow::Error::msg(reason)).into()
        }
    }
}

/// A traced program gains no privileges by an exec, and says nothing about it.
fn warn_of_privileges(program: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(program).map_or(0, |file| file.permissions().mode());
    if mode & 0o6000 != 0 {
        eprintln!(
            "mremap-analyzer: {}: is setuid or setgid; under --reach all it runs without these \
             privileges",
            program.display()
        );
    }
}

fn launch(options: &RunOptions, program: &Path) -> Result<Launch> {
    let text = |text: &OsStr| CString::new(text.as_bytes()).context("an argument with a NUL byte");
    let environment = std::env::vars_os().map(|(name, value)| variable(&name, &value));
    Ok(Launch {
        path: text(program.as_os_str())?,
        arguments: options.program.iter().map(|one| text(one)).collect::<Result<_>>()?,
        environment: environment.collect::<Result<_>>()?,
    })
}

fn settings(given: &cli::Settings, directory: &Path, kills_on_exit: bool) -> Settings {
    let word = |id| given.get(id).and_then(OsStr::to_str).unwrap_or_default();
    let programs = word(Id::Programs).split(',').filter(|name| !name.is_empty());
    // The settings name the variants as the trace format does.
    let mode = Mode::ALL.into_iter().find(|it| it.name() == word(Id::Mode));
    let keep = Keep::ALL.into_iter().find(|it| it.name() == word(Id::TraceKeep));
    let detail = Detail::ALL.into_iter().find(|it| it.name() == word(Id::TraceDetail));
    Settings {
        mode: mode.unwrap_or(Mode::Auto),
        trace: Some(TraceSettings {
            directory: PathBuf::from(directory),
            size: parse_size(word(Id::TraceSize)).unwrap_or(64 << 20),
            keep: keep.unwrap_or(Keep::First),
            detail: detail.unwrap_or(Detail::Calls),
            stack_depth: word(Id::Stack).parse().unwrap_or(0),
            only_first: word(Id::Children) == "0",
            programs: programs.map(str::to_owned).collect(),
        }),
        kills_on_exit,
    }
}
