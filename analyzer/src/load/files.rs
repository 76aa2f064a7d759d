//! Finding and opening trace files.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything that is not a trace.
const OTHER_FILES: u64 = 64;

/// Returns the trace files of paths: of a directory its `.mremap` files, of anything else itself. A
/// directory without traces is returned, too, for [`super::open`] to report.
pub fn find(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        let traces = traces_in(path);
        if traces.is_empty() { files.push(path.clone()) } else { files.extend(traces) }
    }
    files
}

/// Returns the trace files in a directory; none if it cannot be listed.
pub fn traces_in(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "mremap"))
        .collect();
    files.sort();
    files
}

/// Opens a regular file for reading. A FIFO or a device never blocks it.
///
/// # Errors
/// Those of `open` and `stat`; `InvalidInput` for anything but a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// Raises the soft limit on open files to the hard one, and returns how many traces may be open at
/// a time.
pub fn raise_open_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX)
}
