//! Reads a pack: traces with the symbols of the addresses in them, in one compressed file.
//!
//! trace/FORMAT.md describes it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tar::Archive;

use crate::model::units::printable;

/// The first bytes of every file compressed by zstd.
pub const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Holes are kept in units of this many bytes.
pub const BLOCK: usize = 4096;
/// Limit on expanded bytes: a short file can claim any number.
const MAX_EXPANDED: u64 = 64 << 30;
/// Limit on expanded bytes, other than zeros of traces, for each byte of the pack.
const MAX_RATIO: u64 = 256;
/// Bytes that a pack of any length may expand to.
const ALWAYS: u64 = 256 << 20;

/// The names in a pack.
#[derive(Default)]
pub struct Pack {
    entries: HashMap<String, Vec<u8>>,
}

/// A trace in a pack.
pub struct PackedTrace {
    /// Its name in the pack.
    pub name: String,
    /// Its number in the pack.
    pub number: String,
    /// Whether its process still ran; `None` if that was unknown.
    pub running: Option<bool>,
    /// Where its bytes start in the expanded file.
    pub start: u64,
    /// Their number.
    pub len: u64,
}

/// An expanded pack.
pub struct Expanded {
    /// The names.
    pub pack: Arc<Pack>,
    /// The bytes of all traces.
    pub file: Arc<File>,
    /// The complete traces.
    pub traces: Vec<PackedTrace>,
    /// Why there may be more that could not be read.
    pub error: Option<io::Error>,
}

impl Pack {
    /// Returns an entry's bytes.
    pub fn entry(&self, name: &str) -> Option<&[u8]> {
        self.entries.get(name).map(Vec::as_slice)
    }
}

impl Expanded {
    /// Expands a pack into an unnamed temporary file, with holes for zeros.
    ///
    /// # Errors
    /// There is no room for temporary files, or the file cannot be read.
    pub fn of(packed: File) -> io::Result<Self> {
        let budget = packed.metadata()?.len().saturating_mul(MAX_RATIO).saturating_add(ALWAYS);
        let mut expanded = Self {
            pack: Arc::default(),
            file: Arc::new(tempfile::tempfile()?),
            traces: Vec::new(),
            error: None,
        };
        let mut pack = Pack::default();
        let bytes = zstd::Decoder::new(packed)?.take(MAX_EXPANDED);
        expanded.error = expanded.read_entries(bytes, budget, &mut pack).err();
        expanded.pack = Arc::new(pack);
        Ok(expanded)
    }

    fn read_entries(&mut self, bytes: impl Read, budget: u64, pack: &mut Pack) -> io::Result<()> {
        let mut left = budget;
        let mut end = 0;
        // Raw: the extensions of tar, which its reader holds in memory, do not occur.
        for entry in Archive::new(bytes).entries()?.raw(true) {
            let mut entry = entry?;
            let name = printable(&String::from_utf8_lossy(&entry.path_bytes()));
            // Each entry costs memory for its name.
            left = left.checked_sub(BLOCK as u64).ok_or_else(too_long)?;
            if !name.ends_with(".mremap") {
                let len = entry.size();
                left = left.checked_sub(len).ok_or_else(too_long)?;
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                if bytes.len() as u64 != len {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                pack.entries.insert(name, bytes);
                continue;
            }
            let start = end;
            let running = running_of(entry.header().mode().unwrap_or(0));
            let len = self.copy(&mut entry, start, &mut left)?;
            if len != entry.size() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            end = (start + len).next_multiple_of(BLOCK as u64);
            let number = name.split('/').next().unwrap_or_default().to_owned();
            self.traces.push(PackedTrace { name, number, running, start, len });
        }
        Ok(())
    }

    /// Copies a trace, except blocks of zeros; returns its length.
    fn copy(&self, from: &mut impl Read, start: u64, left: &mut u64) -> io::Result<u64> {
        let mut block = [0; BLOCK];
        let mut len = 0;
        loop {
            let mut filled = 0;
            while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match from.read(rest)? {
                    0 => break,
                    read => filled += read,
                }
            }
            let bytes = block.get(..filled).unwrap_or(&[]);
            if bytes.iter().any(|byte| *byte != 0) {
                *left = left.checked_sub(filled as u64).ok_or_else(too_long)?;
                self.file.write_all_at(bytes, start + len)?;
            }
            len += filled as u64;
            if filled < BLOCK {
                self.file.set_len((start + len).next_multiple_of(BLOCK as u64))?;
                return Ok(len);
            }
        }
    }
}

fn too_long() -> io::Error {
    io::Error::other("it expands to more bytes than a real pack")
}

/// Returns the mode of a trace's entry.
pub fn mode_of(running: Option<bool>) -> u32 {
    match running {
        Some(true) => 0o644,
        Some(false) => 0o444,
        None => 0o400,
    }
}

fn running_of(mode: u32) -> Option<bool> {
    [None, Some(false), Some(true)].into_iter().find(|it| mode_of(*it) == mode).flatten()
}

/// A process's part of a pack.
#[derive(Clone)]
pub struct InPack {
    /// The pack.
    pub pack: Arc<Pack>,
    /// The number of the trace.
    pub number: String,
}

impl PackedTrace {
    /// Returns the path that reports show: that of the pack, then the name in it.
    pub fn path(&self, pack: &Path) -> PathBuf {
        pack.join(&self.name)
    }
}
