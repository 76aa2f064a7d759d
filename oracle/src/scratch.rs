//! The temporary directory of a run.

use std::env;
use std::path::PathBuf;

use anyhow::Result;

/// A directory of this process, removed on drop.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Creates it below the directory of temporary files.
    pub fn make() -> Result<Self> {
        let path = env::temp_dir().join(format!("mremap-oracle-{}", std::process::id()));
        fs_err::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
