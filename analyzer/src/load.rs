//! Files into records: reads a trace a window at a time, and names by offset whatever is damaged.
//!
//! Nothing in a file is trusted: counts are bounded by the bytes that are there, and the damage on record by
//! [`MOST_DAMAGE`].

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE, SLOTS_PER_CHUNK};
use mremap_trace::{ChunkHeader, Header, Record, Slot};
use tracing::{debug, info};

use crate::model::{self, Builder, Process};

/// Bytes read at a time.
const WINDOW: usize = 2 << 20;
/// Damaged places kept for one file; more of them are only counted.
const MOST_DAMAGE: usize = 100;

/// Something in a file that cannot be read.
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
        write!(
            f,
            "{}: offset {}: {}",
            self.file.display(),
            self.offset,
            self.what
        )
    }
}

/// Everything that could be read, and what could not.
#[derive(Default)]
pub struct Loaded {
    /// One for each trace file, in the order of their start.
    pub processes: Vec<Process>,
    /// What was damaged.
    pub damage: Vec<Damage>,
}

/// Reads trace files; a directory stands for the `.mremap` files in it.
///
/// # Errors
/// A path cannot be opened, or a directory holds no trace. Damage inside a file is no error: it is listed.
pub fn load(paths: &[PathBuf]) -> Result<Loaded> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(files_of(path)?);
    }
    files.sort();
    files.dedup();
    load_files(&files)
}

/// Reads exactly these files.
///
/// # Errors
/// One of them cannot be opened.
pub fn load_files(files: &[PathBuf]) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    for file in files {
        load_file(file, &mut loaded)?;
    }
    loaded.processes.sort_by_key(|process| process.header.realtime_ns);
    model::number(&mut loaded.processes);
    Ok(loaded)
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
    let metadata = std::fs::metadata(path).with_context(|| format!("{name}: cannot open the trace"))?;
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

/// Damage of one file, bounded.
struct Log<'a> {
    file: &'a Path,
    kept: Vec<Damage>,
    more: usize,
}

impl Log<'_> {
    fn add(&mut self, offset: u64, what: String) {
        if self.kept.len() < MOST_DAMAGE {
            self.kept.push(Damage {
                file: self.file.to_owned(),
                offset,
                what,
            });
        } else {
            self.more += 1;
        }
    }

    fn into_damage(mut self) -> Vec<Damage> {
        if let (Some(last), true) = (self.kept.last_mut(), self.more > 0) {
            last.what = format!("{}; and {} more damaged places after it", last.what, self.more);
        }
        self.kept
    }
}

fn load_file(path: &Path, loaded: &mut Loaded) -> Result<()> {
    let file = File::open(path).with_context(|| format!("{}: cannot open the trace", path.display()))?;
    let mut log = Log {
        file: path,
        kept: Vec::new(),
        more: 0,
    };
    if let Some(process) = read_process(BufReader::with_capacity(WINDOW, file), &mut log) {
        info!(file = %path.display(), events = process.events.len(), "read");
        loaded.processes.push(process);
    }
    loaded.damage.extend(log.into_damage());
    Ok(())
}

/// Header and chunks; `None` when there is no readable header.
fn read_process(mut file: impl Read, log: &mut Log) -> Option<Process> {
    let head = read_up_to(&mut file, HEADER_SIZE, 0, log);
    if head.is_empty() {
        log.add(0, "the file is empty; record the program again".to_owned());
        return None;
    }
    let (header, text) = match Header::decode(&head) {
        Ok(decoded) => decoded,
        Err(error) => {
            log.add(error.offset, error.what.to_owned());
            return None;
        }
    };
    let mut builder = Builder::new(header, &text);
    let room = header.capacity.saturating_sub(HEADER_SIZE as u64) / CHUNK_SIZE as u64;
    let chunks = if room == 0 {
        header.chunks
    } else {
        header.chunks.min(u32::try_from(room).unwrap_or(u32::MAX))
    };
    debug!(chunks, "reading");
    for index in 0..chunks {
        let offset = HEADER_SIZE as u64 + u64::from(index) * CHUNK_SIZE as u64;
        let chunk = read_up_to(&mut file, CHUNK_SIZE, offset, log);
        take_chunk(&chunk, index, offset, &mut builder, log);
        if chunk.len() < CHUNK_SIZE {
            log.add(
                offset + chunk.len() as u64,
                format!(
                    "the file ends in chunk {} of {chunks}; what comes before was read",
                    index + 1
                ),
            );
            break;
        }
    }
    Some(builder.finish())
}

/// As many bytes as there are, `most` at most; an error of the disk counts as the end.
fn read_up_to(file: &mut impl Read, most: usize, offset: u64, log: &mut Log) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(most);
    if let Err(error) = file.by_ref().take(most as u64).read_to_end(&mut bytes) {
        log.add(offset + bytes.len() as u64, format!("cannot be read: {error}"));
    }
    bytes
}

/// One chunk's records, each with its file-wide slot number.
fn take_chunk(chunk: &[u8], index: u32, offset: u64, builder: &mut Builder, log: &mut Log) {
    let Some(header) = ChunkHeader::decode(chunk) else {
        return;
    };
    if header.tid == 0 {
        log.add(offset, "a chunk claimed and never begun".to_owned());
        return;
    }
    builder.begin_chunk(&header);
    for (slot, content) in header.slots(chunk) {
        let number = u64::from(index) * u64::from(SLOTS_PER_CHUNK) + u64::from(slot);
        let at = offset + u64::from(slot) * SLOT_SIZE as u64;
        match content {
            Slot::Complete(Record::Padding) => {}
            Slot::Complete(record) => builder.take(number, record),
            Slot::Torn => log.add(
                at,
                "a record claimed and never finished (its writer was killed, or is still at it)".to_owned(),
            ),
            Slot::Unknown(tag) => log.add(
                at,
                format!(
                    "a record of an unknown kind, {tag}; read it with the analyzer that came with its shim"
                ),
            ),
        }
    }
    builder.end_chunk();
}
