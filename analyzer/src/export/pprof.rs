//! pprof's protocol buffer, gzip-compressed: for `pprof`, Pyroscope, Grafana and speedscope.

use std::collections::HashMap;
use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::stacks::{Sample, Stacks};
use super::{Exporter, Output};
use crate::model::text::Interner;
use crate::named::{Named, NamedPlace};

/// The messages of `profile.proto`, as far as they are used.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Profile {
        #[prost(message, repeated, tag = "1")]
        pub sample_type: Vec<ValueType>,
        #[prost(message, repeated, tag = "2")]
        pub sample: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub mapping: Vec<Mapping>,
        #[prost(message, repeated, tag = "4")]
        pub location: Vec<Location>,
        #[prost(message, repeated, tag = "5")]
        pub function: Vec<Function>,
        #[prost(string, repeated, tag = "6")]
        pub string_table: Vec<String>,
        #[prost(int64, tag = "9")]
        pub time_nanos: i64,
        #[prost(int64, tag = "10")]
        pub duration_nanos: i64,
        #[prost(int64, tag = "14")]
        pub default_sample_type: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct ValueType {
        #[prost(int64, tag = "1")]
        pub kind: i64,
        #[prost(int64, tag = "2")]
        pub unit: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Sample {
        #[prost(uint64, repeated, tag = "1")]
        pub location_id: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        pub value: Vec<i64>,
        #[prost(message, repeated, tag = "3")]
        pub label: Vec<Label>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Label {
        #[prost(int64, tag = "1")]
        pub key: i64,
        #[prost(int64, tag = "2")]
        pub str: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    #[expect(clippy::struct_excessive_bools, reason = "the format has them")]
    pub struct Mapping {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(uint64, tag = "3")]
        pub memory_limit: u64,
        #[prost(int64, tag = "5")]
        pub filename: i64,
        #[prost(int64, tag = "6")]
        pub build_id: i64,
        #[prost(bool, tag = "7")]
        pub has_functions: bool,
        #[prost(bool, tag = "8")]
        pub has_filenames: bool,
        #[prost(bool, tag = "9")]
        pub has_line_numbers: bool,
        #[prost(bool, tag = "10")]
        pub has_inline_frames: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Location {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(uint64, tag = "2")]
        pub mapping_id: u64,
        #[prost(uint64, tag = "3")]
        pub address: u64,
        #[prost(message, repeated, tag = "4")]
        pub line: Vec<Line>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Line {
        #[prost(uint64, tag = "1")]
        pub function_id: u64,
        #[prost(int64, tag = "2")]
        pub line: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Function {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(int64, tag = "2")]
        pub name: i64,
        #[prost(int64, tag = "4")]
        pub filename: i64,
    }
}

/// Values of each sample, with their units. Viewers open with the second.
const VALUES: [(&str, &str); 5] = [
    ("calls", "count"),
    ("time", "nanoseconds"),
    ("failed", "count"),
    ("relocated", "bytes"),
    ("grown_in_place", "bytes"),
];

/// Writes a profile.
pub struct Pprof {
    out: Output,
    stacks: Stacks,
    /// Start of the first call and end of the last one: wall clock, nanoseconds since 1970.
    span: Option<(u64, u64)>,
}

impl Pprof {
    /// Writes to `out` when finished.
    pub fn new(out: Output) -> Self {
        Self { out, stacks: Stacks::default(), span: None }
    }
}

impl Exporter for Pprof {
    fn take(&mut self, named: &Named) -> Result<()> {
        let end = named.wall_clock.saturating_add(named.duration);
        let (first, last) = self.span.unwrap_or((named.wall_clock, end));
        self.span = Some((first.min(named.wall_clock), last.max(end)));
        self.stacks.add(named);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let mut tables = Tables::default();
        // The first string must be empty.
        tables.string("");
        for (kind, unit) in VALUES {
            let value = proto::ValueType { kind: tables.string(kind), unit: tables.string(unit) };
            tables.profile.sample_type.push(value);
        }
        tables.profile.default_sample_type = tables.string(VALUES[1].0);
        let (first, last) = self.span.unwrap_or_default();
        tables.profile.time_nanos = signed(first);
        tables.profile.duration_nanos = signed(last - first);
        for sample in self.stacks.finish() {
            tables.sample(&sample);
        }
        let mut gzip = GzEncoder::new(self.out, Compression::default());
        tables.profile.string_table = tables.strings.all;
        gzip.write_all(&tables.profile.encode_to_vec())?;
        gzip.finish()?.commit()
    }
}

/// The profile with indices into its tables.
#[derive(Default)]
struct Tables {
    profile: proto::Profile,
    strings: Interner,
    mappings: HashMap<String, u64>,
    locations: HashMap<(u64, u64), u64>,
    functions: HashMap<(i64, i64), u64>,
}

impl Tables {
    fn string(&mut self, text: &str) -> i64 {
        self.strings.index(text) as i64
    }

    fn sample(&mut self, sample: &Sample) {
        let location_id = sample.places.iter().map(|place| self.location(place)).collect();
        let bytes = &sample.bytes;
        let values =
            [sample.calls, sample.time, sample.failed, bytes.relocated(), bytes.grown_in_place()];
        let label =
            proto::Label { key: self.string("program"), str: self.string(&sample.origin.exe) };
        self.profile.sample.push(proto::Sample {
            location_id,
            value: values.map(signed).to_vec(),
            label: vec![label],
        });
    }

    /// A module. Addresses in it are offsets in its file.
    fn mapping(&mut self, place: &NamedPlace) -> u64 {
        let Some(path) = &place.site.module else { return 0 };
        if let Some(id) = self.mappings.get(path) {
            return *id;
        }
        let id = self.profile.mapping.len() as u64 + 1;
        let mapping = proto::Mapping {
            id,
            memory_limit: i64::MAX.cast_unsigned(),
            filename: self.string(path),
            build_id: self.string(&place.site.build_id),
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        };
        self.profile.mapping.push(mapping);
        self.mappings.insert(path.clone(), id);
        id
    }

    fn location(&mut self, place: &NamedPlace) -> u64 {
        let mapping_id = self.mapping(place);
        let address = place.site.offset;
        if let Some(id) = self.locations.get(&(mapping_id, address)) {
            return *id;
        }
        let id = self.profile.location.len() as u64 + 1;
        let mut line: Vec<proto::Line> = Vec::new();
        for frame in &place.site.frames {
            let name = frame.function.as_deref().unwrap_or(&place.place);
            let function_id = self.function(name, frame.file.as_deref().unwrap_or_default());
            line.push(proto::Line { function_id, line: frame.line.unwrap_or(0).into() });
        }
        if line.is_empty() {
            line.push(proto::Line { function_id: self.function(&place.place, ""), line: 0 });
        }
        self.profile.location.push(proto::Location { id, mapping_id, address, line });
        self.locations.insert((mapping_id, address), id);
        id
    }

    fn function(&mut self, name: &str, file: &str) -> u64 {
        let (name, filename) = (self.string(name), self.string(file));
        let functions = &mut self.profile.function;
        *self.functions.entry((name, filename)).or_insert_with(|| {
            let id = functions.len() as u64 + 1;
            functions.push(proto::Function { id, name, filename });
            id
        })
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
