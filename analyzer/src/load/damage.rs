//! Damage: what cannot be read, with its offset.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::units::printable;

/// Entries kept for one file; more are only counted.
const MAX_KEPT: usize = 100;

/// Damage in a trace file.
#[derive(Clone, Debug)]
pub struct Damage {
    /// The trace file.
    pub file: PathBuf,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = printable(&self.file.to_string_lossy());
        write!(f, "{file}: offset {}: {}", self.offset, self.what)
    }
}

/// The damage of one file, bounded in number.
#[derive(Clone, Debug, Default)]
pub struct Log {
    kept: Vec<(u64, String)>,
    more: u64,
}

impl Log {
    /// Whether there is no damage.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Adds damage at an offset in bytes.
    pub fn add(&mut self, offset: u64, what: impl Into<String>) {
        if self.kept.len() < MAX_KEPT {
            self.kept.push((offset, what.into()));
        } else {
            self.more += 1;
        }
    }

    /// Appends the damage found in a later part of the same file.
    pub fn append(&mut self, later: Self) {
        for (offset, what) in later.kept {
            self.add(offset, what);
        }
        self.more += later.more;
    }

    /// Returns the damage; the last entry has the number of those not kept.
    pub fn of_file(&self, file: &Path) -> impl Iterator<Item = Damage> {
        let last = self.kept.len().saturating_sub(1);
        self.kept.iter().enumerate().map(move |(index, (offset, what))| {
            let what = if index == last && self.more > 0 {
                format!("{what}; and {} more damaged places after it", self.more)
            } else {
                what.clone()
            };
            Damage { file: file.to_owned(), offset: *offset, what }
        })
    }
}
