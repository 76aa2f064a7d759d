//! Named cases, kept as files: rules that random cases rarely meet, and differences found before.

use fs_err as fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::case::{Case, Features};

/// The case files of a directory, sorted by name.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

/// Reads a case.
pub fn read(path: &Path) -> Result<Case> {
    let text = fs::read_to_string(path)?;
    serde_json::from_str(&text).with_context(|| format!("{}: not a case", path.display()))
}

/// Whether the features include everything in the case.
pub fn can_be_laid_out(case: &Case, features: Features) -> bool {
    case.vmas
        .iter()
        .all(|vma| features.has(vma.kind) && vma.marks.iter().all(|&mark| features.has(mark)))
}
