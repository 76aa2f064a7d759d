//! Paths of the repository, and helpers that run other programs.

use fs_err as fs;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

pub use mremap_tests::artifacts::{cargo, lock, workspace as root};

/// The directory of fetched kernels: `MREMAP_KERNEL_CACHE`, or `target/kernels`. It does not depend
/// on a build, so `CARGO_TARGET_DIR` does not move it.
pub fn kernel_cache() -> PathBuf {
    env::var_os("MREMAP_KERNEL_CACHE").map_or_else(|| root().join("target/kernels"), PathBuf::from)
}

/// Every regular file below a folder, sorted. Symbolic links are not followed.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder)?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The files that git tracks, relative to the repository's root.
pub fn tracked() -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    let names = capture(git.args(["ls-files", "-z"]).current_dir(root()))?;
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

/// Prints the name of a long step before it, and its time after it.
pub fn step<T>(name: &str, work: impl FnOnce() -> T) -> T {
    println!("== {name}");
    let start = Instant::now();
    let result = work();
    println!("== {name}: {:.0} s", start.elapsed().as_secs_f64());
    result
}

/// Runs a command that shares our output; an exit status other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{}: cannot be run", name(command)))?;
    if !status.success() {
        bail!("{}: {status}", command_line(command));
    }
    Ok(())
}

/// Runs a command and returns its standard output. On failure the error holds its standard error.
pub fn capture(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null());
    let output = command.output().with_context(|| format!("{}: cannot be run", name(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}\n{}", command_line(command), output.status, stderr.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Looks a program up in `PATH`; a name with a slash is returned as it is if the file exists.
pub fn which(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    which_in(program, &env::var_os("PATH")?)
}

/// Looks a program up in the directories of `path`.
pub fn which_in(program: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn command_line(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    arguments.fold(name(command), |line, argument| line + " " + &argument)
}
