//! Cases with a name, kept as files: each one a rule that chance meets rarely, or a difference found once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::case::{Case, Features};

/// The case files of a directory, by name.
///
/// # Errors
/// The directory cannot be read.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("{}: cannot be read", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

/// Reads one.
///
/// # Errors
/// It cannot be read, or is not a case.
pub fn read(path: &Path) -> Result<Case> {
    let text =
        fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}: not a case", path.display()))
}

/// Whether this machine, and the source under test, can do what the case is about.
pub fn can_be_laid_out(case: &Case, features: Features) -> bool {
    case.pieces.iter().all(|piece| {
        features.has_kind(piece.kind) && piece.marks.iter().all(|&mark| features.has_mark(mark))
    })
}
