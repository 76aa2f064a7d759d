//! Parquet files, hive-partitioned: `host=H/date=D/NAME.parquet`.

mod group;
mod schema;
mod texts;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use ::parquet::file::writer::SerializedFileWriter;
use anyhow::{Context, Result};

use super::Exporter;
use crate::model::units;
use crate::named::Named;
use group::Group;
use schema::Schema;
use texts::Texts;

/// Rows of a row group.
const GROUP: usize = 131_072;
/// Files open at once; before a further one is opened, all are closed.
const MOST_OPEN: usize = 16;
const NS_PER_DAY: u64 = 86_400_000_000_000;

/// A Parquet file being written.
struct Partition {
    directory: PathBuf,
    writer: SerializedFileWriter<File>,
    group: Group,
}

/// Writes the directory of partitions.
pub struct Dataset {
    directory: PathBuf,
    schema: Schema,
    open: Vec<Partition>,
    /// Index in `open` by process and day.
    places: HashMap<(usize, u64), usize>,
    /// Number of files created in each directory.
    made: BTreeMap<PathBuf, usize>,
    texts: Texts,
}

impl Dataset {
    /// Writes below `directory`.
    pub fn new(directory: PathBuf) -> Result<Self> {
        Ok(Self {
            directory,
            schema: Schema::new()?,
            open: Vec::new(),
            places: HashMap::new(),
            made: BTreeMap::new(),
            texts: Texts::default(),
        })
    }

    /// Index of the open file for a row: one for each host and day.
    fn partition_of(&mut self, named: &Named) -> Result<usize> {
        let key = (named.origin.id, named.wall_clock / NS_PER_DAY);
        if let Some(place) = self.places.get(&key) {
            return Ok(*place);
        }
        let host = format!("host={}", escaped(&named.origin.host));
        let date = format!("date={}", units::date(named.wall_clock));
        let directory = self.directory.join(host).join(date);
        let known = self.open.iter().position(|open| open.directory == directory);
        let place = match known {
            Some(place) => place,
            None => self.begin(directory, named)?,
        };
        self.places.insert(key, place);
        Ok(place)
    }

    fn begin(&mut self, directory: PathBuf, named: &Named) -> Result<usize> {
        if self.open.len() >= MOST_OPEN {
            self.close_all()?;
        }
        let number = self.made.entry(directory.clone()).or_default();
        let name = format!("{}-{}-{number}.parquet", named.origin.pid, named.wall_clock);
        *number += 1;
        self.open.push(Partition::create(directory, &name, &self.schema)?);
        Ok(self.open.len() - 1)
    }

    fn close_all(&mut self) -> Result<()> {
        self.places.clear();
        for partition in self.open.drain(..) {
            partition.close(&self.texts)?;
        }
        Ok(())
    }
}

/// Escapes a partition value as Hive does.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let name: String = text
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    match name.as_str() {
        "" => "__HIVE_DEFAULT_PARTITION__".to_owned(),
        "." | ".." => name.replace('.', "%2E"),
        _ => name,
    }
}

impl Exporter for Dataset {
    fn take(&mut self, named: &Named) -> Result<()> {
        let place = self.partition_of(named)?;
        let Some(partition) = self.open.get_mut(place) else {
            return Ok(());
        };
        put(named, &mut self.texts, &mut partition.group);
        if partition.group.rows < GROUP {
            return Ok(());
        }
        partition.flush(&self.texts)
    }

    fn finish(&mut self) -> Result<()> {
        self.close_all()
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

impl Partition {
    fn create(directory: PathBuf, name: &str, schema: &Schema) -> Result<Self> {
        let path = directory.join(name);
        let file = make(&directory, &path)
            .with_context(|| format!("{}: cannot be written", path.display()))?;
        let writer =
            SerializedFileWriter::new(file, schema.root.clone(), schema.properties.clone())?;
        Ok(Self { group: Group::new(&writer), directory, writer })
    }

    fn flush(&mut self, texts: &Texts) -> Result<()> {
        let full = std::mem::replace(&mut self.group, Group::new(&self.writer));
        full.write(texts.all(), &mut self.writer)
    }

    fn close(mut self, texts: &Texts) -> Result<()> {
        if self.group.rows > 0 {
            self.flush(texts)?;
        }
        self.writer.close()?;
        Ok(())
    }
}

fn make(directory: &Path, file: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(directory)?;
    File::create(file)
}
