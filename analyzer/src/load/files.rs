//! Which files are meant.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The trace files that paths stand for; a directory stands for the `.mremap` files in it.
///
/// # Errors
/// A path cannot be opened, or a directory holds no trace.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(files_of(path)?);
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// The trace files in a directory; none where it cannot be listed.
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

fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    let name = path.display();
    let metadata = std::fs::metadata(path).with_context(|| {
        format!("{name}: cannot open the trace; `mremap-analyzer run -- PROGRAM` makes one")
    })?;
    if metadata.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !metadata.is_dir() {
        bail!("{name}: neither a file nor a directory; give the trace file itself");
    }
    std::fs::read_dir(path).with_context(|| format!("{name}: cannot list the directory"))?;
    let files = traces_in(path);
    if files.is_empty() {
        bail!("{name}: no trace (*.mremap) in this directory; was MREMAP_SHIM_TRACE set to it?");
    }
    Ok(files)
}
