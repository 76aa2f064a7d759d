//! Why a program cannot run under the shim, and what would work instead.

use std::fmt;
use std::path::{Path, PathBuf};

/// As a shell has it: there is no such program.
const NOT_FOUND: u8 = 127;
/// As a shell has it: it is there, and cannot be run (here: under the shim).
const CANNOT_RUN: u8 = 126;

/// Why a program cannot run under the shim, and what would work instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The file.
    pub file: PathBuf,
    /// What is in the way.
    pub reason: String,
    /// What would work.
    pub remedy: String,
    /// Exit status of `run`.
    pub status: u8,
}

impl Obstacle {
    /// There is no such program.
    pub fn absent(file: &Path, reason: &str, remedy: &str) -> Self {
        Self { status: NOT_FOUND, ..Self::new(file, reason, remedy) }
    }

    /// The program is there, and cannot run under the shim.
    pub fn new(file: &Path, reason: &str, remedy: &str) -> Self {
        Self {
            file: file.to_owned(),
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
            status: CANNOT_RUN,
        }
    }

    /// The same, found behind a script's first line.
    pub fn of_interpreter(self, script: &Path) -> Self {
        Self {
            file: script.to_owned(),
            reason: format!(
                "its interpreter cannot be reached: {}: {}",
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
