//! Parquet files, hive-partitioned: `host=H/date=D/NAME.parquet`, one for each trace and day.
//!
//! The name is the trace's identity, so that exporting a trace again replaces its earlier files and
//! no others. Files get their names at the end, when all of them are complete.

mod group;
mod schema;
mod texts;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ::parquet::file::writer::SerializedFileWriter;
use anyhow::{Context, Result};

use super::Exporter;
use super::output::Pending;
use crate::load::{Process, Traces};
use crate::model::units;
use crate::named::Named;
use group::Group;
use schema::Schema;
use texts::Texts;

/// Rows of a row group.
const GROUP: usize = 131_072;
/// Rows kept in memory over all files.
const MAX_ROWS: usize = 16 * GROUP;
const NS_PER_DAY: u64 = 86_400_000_000_000;
/// Days from 2020 to 2100, as days since 1970: other clocks are wrong, and would make partitions
/// that every later query lists.
const BELIEVABLE_DAYS: Range<u64> = 18_262..47_482;
/// Hive's name for a partition without a value.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// Writes the directory of partitions.
pub struct Dataset {
    directory: PathBuf,
    schema: Schema,
    /// Directory of the host and name of the file by index of the process; none for a second copy
    /// of the same trace.
    identities: Vec<Option<(PathBuf, String)>>,
    open: Vec<Partition>,
    /// Index in `open` by process and day.
    indices: HashMap<(usize, u64), usize>,
    rows: usize,
    texts: Texts,
}

impl Dataset {
    /// Writes below `directory`.
    pub fn new(directory: PathBuf) -> Result<Self> {
        Ok(Self {
            directory,
            schema: Schema::new()?,
            identities: Vec::new(),
            open: Vec::new(),
            indices: HashMap::new(),
            rows: 0,
            texts: Texts::default(),
        })
    }

    /// Index of the open file for a row, which is created for the first row of a trace and a day.
    fn partition_of(&mut self, named: &Named) -> Result<Option<usize>> {
        let key = (named.origin.id, named.wall_clock / NS_PER_DAY);
        if let Some(index) = self.indices.get(&key) {
            return Ok(Some(*index));
        }
        let Some(Some((host, name))) = self.identities.get(named.origin.id) else {
            return Ok(None);
        };
        let date = if is_believable(named.wall_clock) {
            units::date(named.wall_clock)
        } else {
            NO_VALUE.to_owned()
        };
        let path = host.join(format!("date={date}")).join(name);
        // Days that are not believable share a file.
        let known = self.open.iter().position(|partition| partition.path == path);
        if known.is_none() {
            self.open.push(Partition::create(path, &self.schema)?);
        }
        let index = known.unwrap_or(self.open.len() - 1);
        self.indices.insert(key, index);
        Ok(Some(index))
    }

    /// Writes the largest group if too many rows are in memory.
    fn bound_memory(&mut self) -> Result<()> {
        if self.rows < MAX_ROWS {
            return Ok(());
        }
        let largest = self.open.iter_mut().max_by_key(|partition| partition.group.rows);
        if let Some(partition) = largest {
            self.rows -= partition.group.rows;
            partition.flush(&self.texts)?;
        }
        Ok(())
    }

    /// Deletes files of the exported traces for days that no longer have calls: a longer trace
    /// gives a better length of a tick, which can move a call over midnight.
    fn remove_stale(&self, written: &HashSet<PathBuf>) -> Result<()> {
        for (host, name) in self.identities.iter().flatten() {
            for entry in fs::read_dir(host).into_iter().flatten().flatten() {
                let file = entry.path().join(name);
                if !written.contains(&file) && file.is_file() {
                    fs::remove_file(&file)
                        .with_context(|| format!("{}: cannot be removed", file.display()))?;
                }
            }
        }
        Ok(())
    }
}

fn is_believable(ns: u64) -> bool {
    BELIEVABLE_DAYS.contains(&(ns / NS_PER_DAY))
}

/// Name of a trace's files: pid, start and boot of its process image.
fn file_name(process: &Process) -> String {
    let header = &process.header;
    let boot = header.boot_id.iter().take(4).fold(0, |id, byte| id << 8 | u32::from(*byte));
    format!("{}-{}-{boot:08x}.parquet", header.pid, header.realtime_ns)
}

/// Escapes a partition value as Hive does.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let name: String = text
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    match name.as_str() {
        "" => NO_VALUE.to_owned(),
        "." | ".." => name.replace('.', "%2E"),
        _ => name,
    }
}

impl Exporter for Dataset {
    /// A trace with an unbelievable date has no partition.
    fn objection(&self, process: &Process) -> Option<String> {
        let start = process.header.realtime_ns;
        (!is_believable(start)).then(|| {
            format!(
                "left out: it started at {} UTC by its clock, which cannot be right; export it as CSV",
                units::date_and_time(start)
            )
        })
    }

    fn begin(&mut self, traces: &Traces) {
        // Of copies of a trace, the longest has every call of the others.
        let mut longest: BTreeMap<(PathBuf, String), usize> = BTreeMap::new();
        for (index, process) in traces.processes.iter().enumerate() {
            let host = self.directory.join(format!("host={}", escaped(&process.host)));
            let kept = longest.entry((host, file_name(process))).or_insert(index);
            if traces.processes.get(*kept).is_some_and(|other| other.chunks < process.chunks) {
                *kept = index;
            }
        }
        self.identities = vec![None; traces.processes.len()];
        for (identity, index) in longest {
            if let Some(place) = self.identities.get_mut(index) {
                *place = Some(identity);
            }
        }
    }

    fn take(&mut self, named: &Named) -> Result<()> {
        let Some(index) = self.partition_of(named)? else { return Ok(()) };
        let Some(partition) = self.open.get_mut(index) else { return Ok(()) };
        put(named, &mut self.texts, &mut partition.group);
        self.rows += 1;
        if partition.group.rows >= GROUP {
            self.rows -= partition.group.rows;
            partition.flush(&self.texts)?;
        }
        self.bound_memory()
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let mut written = HashSet::new();
        let mut complete = Vec::new();
        for partition in std::mem::take(&mut self.open) {
            written.insert(partition.path.clone());
            complete.push(partition.close(&self.texts)?);
        }
        for pending in complete {
            pending.commit()?;
        }
        self.remove_stale(&written)
    }
}

/// Appends one call as a row, in the schema's order.
fn put(named: &Named, texts: &mut Texts, group: &mut Group) {
    let (event, call) = (&named.event, &named.event.call);
    let origin = texts.of_origin(&named.origin);
    let site = texts.of_place(&named.site);
    let errno = call.errno().map(|errno| texts.of_errno(errno));
    group
        .row()
        .number(event.number)
        .word(named.origin.pid)
        .word(event.tid)
        .text(origin.exe)
        .text(origin.kernel)
        .number(named.wall_clock / 1000)
        .number(named.monotonic)
        .number(named.since_start)
        .number(named.duration)
        .text(texts.of_outcome(call.outcome))
        .number(call.old)
        .number(call.old_len)
        .number(call.new_len)
        .word(call.flags)
        .number(event.new_address())
        .number(call.result as u64)
        .text(errno)
        .number(call.caller)
        .text(site.name)
        .text(site.place)
        .text(site.module)
        .text(site.function)
        .text(site.source_file)
        .word(site.line)
        .word(event.parts.len() as u32)
        .word(event.gaps.len() as u32)
        .number(event.bytes_moved())
        .word(event.summary.map(|summary| summary.retries))
        .number(named.wall_clock)
        .number(named.bytes.requested())
        .number(named.bytes.relocated())
        .number(named.bytes.grown_in_place());
}

/// A Parquet file being written.
struct Partition {
    path: PathBuf,
    pending: Pending,
    writer: SerializedFileWriter<Appender>,
    group: Group,
}

impl Partition {
    fn create(path: PathBuf, schema: &Schema) -> Result<Self> {
        let unusable = || format!("{}: cannot be written", path.display());
        fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).with_context(unusable)?;
        let permissions = Permissions::from_mode(0o666);
        let (_, pending) = Pending::create(path.clone(), permissions).with_context(unusable)?;
        let sink = Appender { path: pending.temporary().to_owned(), bytes: Vec::new() };
        let writer =
            SerializedFileWriter::new(sink, schema.root.clone(), schema.properties.clone())?;
        Ok(Self { group: Group::new(writer.schema_descr()), path, pending, writer })
    }

    fn flush(&mut self, texts: &Texts) -> Result<()> {
        let full = std::mem::replace(&mut self.group, Group::new(self.writer.schema_descr()));
        full.write(texts.all(), &mut self.writer)?;
        Ok(self.writer.flush()?)
    }

    fn close(mut self, texts: &Texts) -> Result<Pending> {
        if self.group.rows > 0 {
            self.flush(texts)?;
        }
        self.writer.into_inner()?.flush()?;
        Ok(self.pending)
    }
}

/// Appends to a file that is open only while it is written: thousands of traces may be exported.
struct Appender {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Write for Appender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut file: File = OpenOptions::new().append(true).open(&self.path)?;
        file.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
