//! The columns, which `docs/json.md` documents, and their encodings. New ones go to the end.

use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::{ColumnPath, TypePtr};
use anyhow::Result;

/// The columns, in order. Spark has no timestamps in nanoseconds, and reads unsigned 64-bit numbers
/// as decimals: so timestamps are in microseconds, and 64-bit numbers are signed.
const SCHEMA: &str = "message mremap {
    REQUIRED INT64 event;
    REQUIRED INT32 pid (INTEGER(32,false));
    REQUIRED INT32 tid (INTEGER(32,false));
    REQUIRED BYTE_ARRAY exe (UTF8);
    REQUIRED BYTE_ARRAY kernel (UTF8);
    REQUIRED INT64 wall_clock (TIMESTAMP(MICROS,true));
    REQUIRED INT64 monotonic_ns;
    REQUIRED INT64 since_start_ns;
    REQUIRED INT64 duration_ns;
    REQUIRED BYTE_ARRAY outcome (UTF8);
    REQUIRED INT64 old;
    REQUIRED INT64 old_len;
    REQUIRED INT64 new_len;
    REQUIRED INT32 flags (INTEGER(32,false));
    OPTIONAL INT64 new;
    REQUIRED INT64 result;
    OPTIONAL BYTE_ARRAY errno (UTF8);
    REQUIRED INT64 caller;
    REQUIRED BYTE_ARRAY site (UTF8);
    REQUIRED BYTE_ARRAY place (UTF8);
    OPTIONAL BYTE_ARRAY module (UTF8);
    OPTIONAL BYTE_ARRAY function (UTF8);
    OPTIONAL BYTE_ARRAY source_file (UTF8);
    OPTIONAL INT32 line (INTEGER(32,false));
    REQUIRED INT32 parts (INTEGER(32,false));
    REQUIRED INT32 gaps (INTEGER(32,false));
    OPTIONAL INT64 bytes_moved;
    OPTIONAL INT32 retries (INTEGER(32,false));
    REQUIRED INT64 wall_clock_ns;
    REQUIRED INT64 bytes_requested;
    REQUIRED INT64 bytes_relocated;
    REQUIRED INT64 bytes_grown_in_place;
}";

/// Columns whose values hardly ever repeat: the writer would build a dictionary and discard it.
const WITHOUT_DICTIONARY: [&str; 5] =
    ["event", "wall_clock", "monotonic_ns", "since_start_ns", "wall_clock_ns"];

/// The schema and the writer's properties.
#[derive(Clone)]
pub struct Schema {
    /// The columns.
    pub root: TypePtr,
    /// Encodings and compression.
    pub properties: WriterPropertiesPtr,
}

impl Schema {
    /// Parses the schema.
    pub fn new() -> Result<Self> {
        let root = Arc::new(parse_message_type(SCHEMA)?);
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_statistics_enabled(EnabledStatistics::Chunk);
        // The encoding of numbers when a dictionary does not pay.
        for column in root.get_fields() {
            if column.get_physical_type() != Type::BYTE_ARRAY {
                let path = ColumnPath::from(column.name());
                properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
        }
        for name in WITHOUT_DICTIONARY {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
        }
        Ok(Self { root, properties: Arc::new(properties.build()) })
    }
}
