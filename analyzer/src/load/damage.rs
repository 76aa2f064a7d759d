//! What cannot be read, with its place.

use std::fmt;
use std::path::{Path, PathBuf};

/// Damaged places kept for one file; more of them are only counted.
const MOST: usize = 100;

/// Something in a file that cannot be read.
#[derive(Clone, Debug)]
pub struct Damage {
    /// The trace file.
    pub file: PathBuf,
    /// Where in it, bytes.
    pub offset: u64,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: offset {}: {}", self.file.display(), self.offset, self.what)
    }
}

/// Damage of one file, bounded.
#[derive(Clone, Debug, Default)]
pub struct Log {
    kept: Vec<(u64, String)>,
    more: u64,
}

impl Log {
    /// Something is wrong at a byte offset.
    pub fn add(&mut self, offset: u64, what: impl Into<String>) {
        if self.kept.len() < MOST {
            self.kept.push((offset, what.into()));
        } else {
            self.more += 1;
        }
    }

    /// Takes what another log of the same file found further on.
    pub fn append(&mut self, later: Self) {
        for (offset, what) in later.kept {
            self.add(offset, what);
        }
        self.more += later.more;
    }

    /// The damage, the last entry telling how much more there is.
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
