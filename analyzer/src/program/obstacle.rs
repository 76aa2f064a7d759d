//! Reasons why a program cannot run under the shim.

use std::fmt;
use std::path::{Path, PathBuf};

/// Exit status of shells for a program that does not exist.
const NOT_FOUND: u8 = 127;
/// Exit status of shells for a program that cannot be executed.
const CANNOT_RUN: u8 = 126;

/// Why a program cannot run under the shim, and what would work instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The file.
    pub file: PathBuf,
    /// Why it cannot run.
    pub reason: String,
    /// What would work.
    pub remedy: String,
    /// Exit status of `run`.
    pub status: u8,
}

impl Obstacle {
    /// A program that does not exist.
    pub fn absent(file: &Path, reason: &str, remedy: &str) -> Self {
        Self { status: NOT_FOUND, ..Self::new(file, reason, remedy) }
    }

    /// A program that exists but cannot run under the shim.
    pub fn new(file: &Path, reason: &str, remedy: &str) -> Self {
        Self {
            file: file.to_owned(),
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
            status: CANNOT_RUN,
        }
    }

    /// The obstacle of a script whose interpreter has this one.
    pub fn of_interpreter(self, script: &Path) -> Self {
        Self {
            file: script.to_owned(),
            reason: format!(
                "the shim cannot reach its interpreter: {}: {}",
                self.file.display(),
                self.reason
            ),
            ..self
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.file.display(), self.reason, self.remedy)
    }
}

impl std::error::Error for Obstacle {}
