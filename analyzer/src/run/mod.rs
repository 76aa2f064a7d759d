//! `run`: [`launch`] starts a program with the [`preload`] library in its place, [`signals`] leaves
//! Ctrl-C to the program, [`names`] resolves `--programs`, [`summary`] says what was recorded.
//! `attach` does the same to a process that runs already.

#[cfg(target_arch = "x86_64")]
mod attach;
mod launch;
mod names;
pub mod preload;
mod signals;
mod summary;
mod tracer;

use std::fmt;

#[cfg(target_arch = "x86_64")]
pub use attach::{attach, detach};
pub use launch::run;

/// Why a program's calls cannot be recorded, found out before the program runs.
#[derive(Debug)]
pub struct CannotRecord(anyhow::Error);

impl CannotRecord {
    /// Exit status of `run`, as `timeout` and `env` have it for their own failures.
    pub const STATUS: u8 = 125;
}

impl fmt::Display for CannotRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for CannotRecord {}
