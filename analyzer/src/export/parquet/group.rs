//! Buffers rows as columns until they fill a row group.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::parquet::column::writer::{ColumnCloseResult, ColumnWriter, get_column_writer};
use ::parquet::data_type::ByteArray;
use ::parquet::errors::Result as ParquetResult;
use ::parquet::file::properties::WriterPropertiesPtr;
use ::parquet::file::writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite};
use ::parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;

/// Texts passed to the encoder at a time.
const BATCH: usize = 4096;

/// Values of one column. An optional column also has a definition level for each row.
struct Values<T> {
    values: Vec<T>,
    levels: Option<Vec<i16>>,
}

impl<T> Values<T> {
    fn new(is_optional: bool) -> Self {
        Self { values: Vec::new(), levels: is_optional.then(Vec::new) }
    }

    #[inline]
    fn put(&mut self, value: Option<T>) {
        if let Some(levels) = &mut self.levels {
            levels.push(i16::from(value.is_some()));
        }
        self.values.extend(value);
    }

    fn levels(&self) -> Option<&[i16]> {
        self.levels.as_deref()
    }
}

enum Column {
    Int32(Values<i32>),
    Int64(Values<i64>),
    /// Texts, as indices into [`super::texts::Texts`].
    Text(Values<u32>),
}

/// The columns of a row group.
pub struct Group {
    columns: Vec<Column>,
    /// Number of rows.
    pub rows: usize,
}

/// Appends cells to a row, in the order of the schema.
pub struct Row<'a>(std::slice::IterMut<'a, Column>);

impl Row<'_> {
    /// A 64-bit number.
    pub fn number(&mut self, value: impl Into<Option<u64>>) -> &mut Self {
        if let Some(Column::Int64(values)) = self.0.next() {
            values.put(value.into().map(u64::cast_signed));
        }
        self
    }

    /// A 32-bit number.
    pub fn word(&mut self, value: impl Into<Option<u32>>) -> &mut Self {
        if let Some(Column::Int32(values)) = self.0.next() {
            values.put(value.into().map(u32::cast_signed));
        }
        self
    }

    /// A text, by its index.
    pub fn text(&mut self, value: impl Into<Option<u32>>) -> &mut Self {
        if let Some(Column::Text(values)) = self.0.next() {
            values.put(value.into());
        }
        self
    }
}

impl Group {
    /// Empty columns for a file's schema.
    pub fn new(schema: &SchemaDescriptor) -> Self {
        use ::parquet::basic::Type;
        let columns = schema.columns().iter().map(|column| {
            let is_optional = column.max_def_level() > 0;
            match column.physical_type() {
                Type::INT32 => Column::Int32(Values::new(is_optional)),
                Type::INT64 => Column::Int64(Values::new(is_optional)),
                _ => Column::Text(Values::new(is_optional)),
            }
        });
        Self { columns: columns.collect(), rows: 0 }
    }

    /// Starts a row; the caller appends every cell.
    pub fn row(&mut self) -> Row<'_> {
        self.rows += 1;
        Row(self.columns.iter_mut())
    }

    /// Writes the rows as a row group. Columns are encoded in parallel.
    pub fn write<W: Write + Send>(
        &self,
        texts: &[ByteArray],
        writer: &mut SerializedFileWriter<W>,
    ) -> Result<()> {
        let descriptions = writer.schema_descr().columns().to_vec();
        let properties = writer.properties().clone();
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        let encode_some = || -> Result<()> {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let (Some(column), Some(description)) =
                    (self.columns.get(at), descriptions.get(at))
                else {
                    return Ok(());
                };
                let encoded = column.encode(texts, description, &properties)?;
                let mut done = done.lock().map_err(|_| anyhow!("another column failed"))?;
                done.push((at, encoded));
            }
        };
        let helpers = std::thread::available_parallelism().map_or(1, usize::from) - 1;
        std::thread::scope(|scope| {
            let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(encode_some)).collect();
            encode_some()?;
            for helper in helpers {
                helper.join().map_err(|_| anyhow!("a writing thread ended unexpectedly"))??;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        let mut done = done.into_inner().map_err(|_| anyhow!("a column failed"))?;
        done.sort_by_key(|(at, _)| *at);
        let mut group = writer.next_row_group()?;
        for (_, (bytes, closed)) in done {
            group.append_column(&bytes, closed)?;
        }
        group.close().context("the row group cannot be closed")?;
        Ok(())
    }
}

impl Column {
    fn encode(
        &self,
        texts: &[ByteArray],
        description: &ColumnDescPtr,
        properties: &WriterPropertiesPtr,
    ) -> Result<(Bytes, ColumnCloseResult)> {
        let mut sink = TrackedWrite::new(Vec::new());
        let pages = Box::new(SerializedPageWriter::new(&mut sink));
        let mut writer = get_column_writer(description.clone(), properties.clone(), pages);
        match (self, &mut writer) {
            (Self::Int32(column), ColumnWriter::Int32ColumnWriter(writer)) => {
                writer.write_batch(&column.values, column.levels(), None)?;
            }
            (Self::Int64(column), ColumnWriter::Int64ColumnWriter(writer)) => {
                writer.write_batch(&column.values, column.levels(), None)?;
            }
            (Self::Text(column), ColumnWriter::ByteArrayColumnWriter(writer)) => {
                write_texts(column, texts, |values, levels| {
                    writer.write_batch(values, levels, None).map(|_| ())
                })?;
            }
            _ => bail!("a column's type differs from the schema"),
        }
        let closed = writer.close()?;
        Ok((Bytes::from(sink.into_inner()?), closed))
    }
}

/// Writes texts, `BATCH` rows at a time.
fn write_texts(
    column: &Values<u32>,
    texts: &[ByteArray],
    mut write: impl FnMut(&[ByteArray], Option<&[i16]>) -> ParquetResult<()>,
) -> Result<()> {
    let text = |number: &u32| texts.get(*number as usize).cloned().unwrap_or_default();
    let Some(levels) = column.levels() else {
        for numbers in column.values.chunks(BATCH) {
            write(&numbers.iter().map(text).collect::<Vec<_>>(), None)?;
        }
        return Ok(());
    };
    let mut numbers = column.values.iter();
    for levels in levels.chunks(BATCH) {
        let present = levels.iter().filter(|level| **level > 0).count();
        let values: Vec<ByteArray> = numbers.by_ref().take(present).map(text).collect();
        write(&values, Some(levels))?;
    }
    Ok(())
}
