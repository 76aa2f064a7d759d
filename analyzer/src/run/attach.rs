//! `attach` and `detach`: recording in a process that runs already.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use mremap_settings::{ALL, Id};
use mremap_tracer::Disturbance;

use super::launch::{Directory, make_directory};
use super::{CannotRecord, preload, tracer};
use crate::cli::{AttachOptions, DetachOptions, Reach};

/// Begins to record in a process.
///
/// # Errors
/// [`CannotRecord`] when the process cannot be attached to, with the reason.
pub fn attach(options: &AttachOptions) -> Result<ExitCode> {
    if options.reach == Reach::All {
        return tracer::follow(options);
    }
    let library = library(options.shim.as_deref())?;
    let directory = make_directory(options.settings.get(Id::Trace)).map_err(CannotRecord)?;
    let attached = settings(options, &directory.path)
        .and_then(|settings| {
            hand_over(options.pid, &directory)?;
            mremap_tracer::attach(options.pid, &library, &settings)
        })
        .inspect_err(|_| directory.discard());
    report(options.pid, "attached", &attached.map_err(CannotRecord)?);
    let directory = directory.path.display();
    eprintln!("mremap-analyzer: next: mremap-analyzer events --follow {directory}");
    eprintln!("mremap-analyzer: to end it: mremap-analyzer detach {}", options.pid);
    Ok(ExitCode::SUCCESS)
}

/// Ends recording in a process.
///
/// # Errors
/// [`CannotRecord`] when it is not attached, or cannot be traced.
pub fn detach(options: &DetachOptions) -> Result<ExitCode> {
    let library = library(options.shim.as_deref())?;
    let detached = mremap_tracer::detach(options.pid, &library).map_err(CannotRecord)?;
    report(options.pid, "detached", &detached);
    Ok(ExitCode::SUCCESS)
}

/// Finds and checks the preload library.
pub(super) fn library(given: Option<&Path>) -> Result<std::path::PathBuf> {
    let library = preload::find_library(given).map_err(CannotRecord)?;
    preload::check_library(&library).map_err(CannotRecord)?;
    Ok(library)
}

fn report(pid: i32, what: &str, Disturbance { stopped, borrowed }: &Disturbance) {
    eprintln!(
        "mremap-analyzer: {pid}: {what}; all threads stood still for {:.2} ms, one for {:.2} ms",
        stopped.as_secs_f64() * 1e3,
        borrowed.as_secs_f64() * 1e3
    );
}

/// Every setting, as in an environment.
fn settings(options: &AttachOptions, directory: &Path) -> Result<Vec<CString>> {
    let value = |id| match id {
        Id::Trace => Some(directory.as_os_str()),
        Id::Programs | Id::Libc => None,
        id => options.settings.get(id),
    };
    let given = ALL.iter().filter_map(|setting| Some((setting.name, value(setting.id)?)));
    given.map(|(name, value)| variable(name.as_ref(), value)).collect()
}

/// An environment variable, as `execve` takes it.
pub(super) fn variable(name: &OsStr, value: &OsStr) -> Result<CString> {
    let variable = [name.as_bytes(), b"=", value.as_bytes()].concat();
    CString::new(variable).context("a variable with a NUL byte")
}

/// Checks that the process sees the directory, and gives it a temporary one.
fn hand_over(pid: i32, directory: &Directory) -> Result<()> {
    let process = format!("/proc/{pid}");
    let Ok(owner) = std::fs::metadata(&process) else { bail!("{pid}: no such process") };
    if directory.is_temporary && owner.uid() != rustix::process::geteuid().as_raw() {
        // Fails for all but root, who alone can trace another user's process.
        let _ = std::os::unix::fs::chown(&directory.path, Some(owner.uid()), Some(owner.gid()));
    }
    let path = directory.path.as_path();
    let seen = Path::new(&process).join("root").join(path.strip_prefix("/").unwrap_or(path));
    let id = |path: &Path| std::fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    // A process whose root cannot be read cannot be traced, either: `attach` reports that.
    let may_look = std::fs::read_link(Path::new(&process).join("root")).is_ok();
    if may_look && id(path) != id(&seen) {
        bail!(
            "{pid}: does not see {} (a container, or chroot); give a directory that it shares with \
             this command, by --trace",
            path.display()
        );
    }
    Ok(())
}
