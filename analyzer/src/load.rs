//! Files into records: reads a trace a window at a time, and names by offset whatever is damaged.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE, SLOTS_PER_CHUNK};
use mremap_trace::{ChunkHeader, Header, Record, Slot};

use crate::model::{Builder, Process};

/// Something in a file that cannot be read.
pub struct Damage {
    file: PathBuf,
    offset: u64,
    what: String,
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
    let mut loaded = Loaded::default();
    for path in paths {
        for file in files_of(path)? {
            load_file(&file, &mut loaded)?;
        }
    }
    loaded.processes.sort_by_key(|process| process.header.realtime_ns);
    Ok(loaded)
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)
        .with_context(|| format!("{}: cannot list the directory", path.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "mremap"))
        .collect();
    if files.is_empty() {
        bail!(
            "{}: no trace (*.mremap) in this directory; was MREMAP_SHIM_TRACE set to it?",
            path.display()
        );
    }
    files.sort();
    Ok(files)
}

fn load_file(path: &Path, loaded: &mut Loaded) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("{}: cannot open the trace", path.display()))?;
    let mut damaged = |offset: u64, what: String| {
        loaded.damage.push(Damage {
            file: path.to_owned(),
            offset,
            what,
        });
    };
    let mut head = Vec::new();
    file.by_ref()
        .take(HEADER_SIZE as u64)
        .read_to_end(&mut head)
        .with_context(|| format!("{}: cannot read the trace", path.display()))?;
    if head.is_empty() {
        damaged(0, "the file is empty".to_owned());
        return Ok(());
    }
    let (header, text) = match Header::decode(&head) {
        Ok(decoded) => decoded,
        Err(error) => {
            damaged(error.offset, error.what.to_owned());
            return Ok(());
        }
    };
    let mut builder = Builder::new(header, &text);
    for index in 0..header.chunks {
        let offset = HEADER_SIZE as u64 + u64::from(index) * CHUNK_SIZE as u64;
        let mut chunk = Vec::with_capacity(CHUNK_SIZE);
        file.by_ref()
            .take(CHUNK_SIZE as u64)
            .read_to_end(&mut chunk)
            .with_context(|| format!("{}: cannot read the trace", path.display()))?;
        take_chunk(&chunk, index, &mut builder, |at, what| damaged(offset + at, what));
        if chunk.len() < CHUNK_SIZE {
            damaged(
                offset + chunk.len() as u64,
                format!("the file ends in chunk {} of {}", index + 1, header.chunks),
            );
            break;
        }
    }
    loaded.processes.push(builder.finish());
    Ok(())
}

/// One chunk's records, each with its file-wide slot number.
fn take_chunk(chunk: &[u8], index: u32, builder: &mut Builder, mut damaged: impl FnMut(u64, String)) {
    let Some(header) = ChunkHeader::decode(chunk) else {
        return;
    };
    if header.tid == 0 {
        damaged(0, "a chunk claimed and never begun".to_owned());
        return;
    }
    builder.begin_chunk(&header);
    for (slot, content) in header.slots(chunk) {
        let number = u64::from(index) * u64::from(SLOTS_PER_CHUNK) + u64::from(slot);
        let at = u64::from(slot) * SLOT_SIZE as u64;
        match content {
            Slot::Complete(Record::Padding) => {}
            Slot::Complete(record) => builder.take(number, record),
            Slot::Torn => damaged(
                at,
                "a record claimed and never finished (its writer was killed?)".to_owned(),
            ),
            Slot::Unknown(tag) => damaged(at, format!("a record of an unknown kind, {tag}")),
        }
    }
    builder.end_chunk();
}
