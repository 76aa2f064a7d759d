//! Parquet, hive-partitioned: `host=H/date=D/NAME.parquet`. The schema is in `docs/json.md`; columns are added
//! at the end, never renamed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use anyhow::{Context, Result, bail};

use super::Exporter;
use crate::model::{names, units};
use crate::named::Named;

/// Rows of a row group.
const GROUP: usize = 100_000;
/// Partitions open at once; a further one closes the others first.
const MOST_OPEN: usize = 16;

/// Columns with their types, in order.
const SCHEMA: &str = "message mremap {
    REQUIRED INT64 event;
    REQUIRED INT32 pid (INTEGER(32,false));
    REQUIRED INT32 tid (INTEGER(32,false));
    REQUIRED BYTE_ARRAY exe (UTF8);
    REQUIRED BYTE_ARRAY kernel (UTF8);
    REQUIRED INT64 wall_clock (TIMESTAMP(NANOS,true));
    REQUIRED INT64 monotonic_ns;
    REQUIRED INT64 since_start_ns;
    REQUIRED INT64 duration_ns;
    REQUIRED BYTE_ARRAY outcome (UTF8);
    REQUIRED INT64 old (INTEGER(64,false));
    REQUIRED INT64 old_len (INTEGER(64,false));
    REQUIRED INT64 new_len (INTEGER(64,false));
    REQUIRED INT32 flags (INTEGER(32,false));
    REQUIRED INT64 new (INTEGER(64,false));
    REQUIRED INT64 result;
    OPTIONAL BYTE_ARRAY errno (UTF8);
    REQUIRED INT64 caller (INTEGER(64,false));
    REQUIRED BYTE_ARRAY site (UTF8);
    REQUIRED BYTE_ARRAY place (UTF8);
    OPTIONAL BYTE_ARRAY module (UTF8);
    OPTIONAL BYTE_ARRAY function (UTF8);
    OPTIONAL BYTE_ARRAY source_file (UTF8);
    OPTIONAL INT32 line (INTEGER(32,false));
    REQUIRED INT32 parts (INTEGER(32,false));
    REQUIRED INT32 gaps (INTEGER(32,false));
    OPTIONAL INT64 bytes_moved (INTEGER(64,false));
    OPTIONAL INT32 retries (INTEGER(32,false));
}";

/// Values of one column; those of optional ones with a level for each row.
enum Column {
    Int32(Vec<i32>, Vec<i16>),
    Int64(Vec<i64>, Vec<i16>),
    Text(Vec<ByteArray>, Vec<i16>),
}

/// What one row holds in one column.
enum Cell {
    Int32(Option<i32>),
    Int64(Option<i64>),
    Text(Option<ByteArray>),
}

/// A file being written.
struct Partition {
    writer: SerializedFileWriter<File>,
    columns: Vec<Column>,
    rows: usize,
}

/// The directory of partitions.
pub struct Dataset {
    directory: PathBuf,
    open: BTreeMap<PathBuf, Partition>,
    /// Files made so far in each partition.
    made: BTreeMap<PathBuf, usize>,
    /// Texts made once: names of outcomes, modules, sites repeat.
    texts: std::collections::HashMap<String, ByteArray>,
}

impl Dataset {
    /// Files go below this directory.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            open: BTreeMap::new(),
            made: BTreeMap::new(),
            texts: std::collections::HashMap::new(),
        }
    }

    fn text(&mut self, text: &str) -> ByteArray {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        if self.texts.len() > 65_536 {
            self.texts.clear();
        }
        let made = ByteArray::from(text.as_bytes().to_vec());
        self.texts.insert(text.to_owned(), made.clone());
        made
    }

    fn cells(&mut self, named: &Named) -> Vec<Cell> {
        let (event, origin, site) = (&named.event, &named.origin, &named.site);
        let call = &event.call;
        let frame = site.site.frames.first();
        let word = |value: u32| Cell::Int32(Some(value as i32));
        let number = |value: u64| Cell::Int64(Some(value as i64));
        let mut text = |value: Option<&str>| Cell::Text(value.map(|value| self.text(value)));
        let errno = call.errno().map(names::errno);
        vec![
            number(event.number),
            word(origin.pid),
            word(event.tid),
            text(Some(&origin.exe)),
            text(Some(&origin.kernel)),
            number(named.wall_clock),
            number(named.monotonic),
            number(named.since_start),
            number(named.duration),
            text(Some(names::outcome(call.outcome))),
            number(call.old),
            number(call.old_len),
            number(call.new_len),
            word(call.flags),
            number(call.new),
            Cell::Int64(Some(call.result)),
            text(errno.as_deref()),
            number(call.caller),
            text(Some(&site.name)),
            text(Some(&site.place)),
            text(site.site.module.as_deref()),
            text(frame.and_then(|frame| frame.function.as_deref())),
            text(frame.and_then(|frame| frame.file.as_deref())),
            Cell::Int32(frame.and_then(|frame| frame.line).map(|line| line as i32)),
            word(event.parts.len() as u32),
            word(event.gaps.len() as u32),
            Cell::Int64(event.bytes_moved().map(|bytes| bytes as i64)),
            Cell::Int32(event.summary.map(|summary| summary.retries as i32)),
        ]
    }

    /// The partition's directory, by host and by day of the call.
    fn partition_of(&self, named: &Named) -> PathBuf {
        let host = format!("host={}", escaped(&named.origin.host));
        self.directory
            .join(host)
            .join(format!("date={}", units::date(named.wall_clock)))
    }

    fn close_all(&mut self) -> Result<()> {
        while let Some((_, partition)) = self.open.pop_first() {
            partition.close()?;
        }
        Ok(())
    }
}

/// Hive's way of writing what may not stand in a path.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let name: String = text
        .bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    match name.as_str() {
        "" => "__HIVE_DEFAULT_PARTITION__".to_owned(),
        "." | ".." => name.replace('.', "%2E"),
        _ => name,
    }
}

impl Exporter for Dataset {
    fn take(&mut self, named: &Named) -> Result<()> {
        let cells = self.cells(named);
        let directory = self.partition_of(named);
        if !self.open.contains_key(&directory) {
            if self.open.len() >= MOST_OPEN {
                self.close_all()?;
            }
            let number = self.made.entry(directory.clone()).or_default();
            let name = format!("{}-{}-{number}.parquet", named.origin.pid, named.wall_clock);
            *number += 1;
            let partition = Partition::create(&directory, &name)?;
            self.open.insert(directory.clone(), partition);
        }
        match self.open.get_mut(&directory) {
            Some(partition) => partition.take(cells),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.close_all()
    }
}

impl Partition {
    fn create(directory: &Path, name: &str) -> Result<Self> {
        let path = directory.join(name);
        let unusable = || format!("{}: cannot be written", path.display());
        std::fs::create_dir_all(directory).with_context(unusable)?;
        let file = File::create(&path).with_context(unusable)?;
        let level = ZstdLevel::try_new(1)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .build();
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        Ok(Self {
            writer: SerializedFileWriter::new(file, schema, Arc::new(properties))?,
            columns: Vec::new(),
            rows: 0,
        })
    }

    fn take(&mut self, cells: Vec<Cell>) -> Result<()> {
        if self.columns.is_empty() {
            self.columns.extend(cells.iter().map(|cell| match cell {
                Cell::Int32(_) => Column::Int32(Vec::new(), Vec::new()),
                Cell::Int64(_) => Column::Int64(Vec::new(), Vec::new()),
                Cell::Text(_) => Column::Text(Vec::new(), Vec::new()),
            }));
        }
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            match (column, cell) {
                (Column::Int32(values, levels), Cell::Int32(value)) => put(values, levels, value),
                (Column::Int64(values, levels), Cell::Int64(value)) => put(values, levels, value),
                (Column::Text(values, levels), Cell::Text(value)) => put(values, levels, value),
                _ => bail!("a row of another shape than the schema's"),
            }
        }
        self.rows += 1;
        if self.rows == GROUP { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        let mut columns = std::mem::take(&mut self.columns).into_iter();
        while let Some(mut writer) = group.next_column()? {
            match columns.next() {
                Some(Column::Int32(values, levels)) => {
                    writer
                        .typed::<Int32Type>()
                        .write_batch(&values, Some(&levels), None)?;
                }
                Some(Column::Int64(values, levels)) => {
                    writer
                        .typed::<Int64Type>()
                        .write_batch(&values, Some(&levels), None)?;
                }
                Some(Column::Text(values, levels)) => {
                    writer
                        .typed::<ByteArrayType>()
                        .write_batch(&values, Some(&levels), None)?;
                }
                None => bail!("fewer columns than the schema has"),
            }
            writer.close()?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }

    fn close(mut self) -> Result<()> {
        if self.rows > 0 {
            self.flush()?;
        }
        self.writer.close()?;
        Ok(())
    }
}

fn put<T>(values: &mut Vec<T>, levels: &mut Vec<i16>, value: Option<T>) {
    levels.push(i16::from(value.is_some()));
    values.extend(value);
}
