//! JSON lines and CSV.

use std::io::Write;

use anyhow::Result;
use csv::{ByteRecord, IntoInnerError};

use super::{Exporter, Output};
use crate::events;
use crate::model::names;
use crate::model::text::Hex;
use crate::named::Named;

/// Size of one write, in bytes.
const BUFFER: usize = 1 << 16;

/// Writes JSON lines.
pub struct Jsonl {
    out: Output,
    lines: Vec<u8>,
}

impl Jsonl {
    /// Writes to `out`.
    pub fn new(out: Output) -> Self {
        Self { out, lines: Vec::with_capacity(2 * BUFFER) }
    }
}

impl Exporter for Jsonl {
    fn take(&mut self, named: &Named) -> Result<()> {
        events::write_json(named, &mut self.lines)?;
        if self.lines.len() >= BUFFER {
            self.out.write_all(&self.lines)?;
            self.lines.clear();
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.out.write_all(&self.lines)?;
        self.out.commit()
    }
}

/// Columns in order; new ones are added at the end.
const COLUMNS: [&str; 29] = [
    "event",
    "host",
    "pid",
    "tid",
    "exe",
    "kernel",
    "wall_clock_ns",
    "monotonic_ns",
    "since_start_ns",
    "duration_ns",
    "outcome",
    "old",
    "old_len",
    "new_len",
    "flags",
    "new",
    "result",
    "errno",
    "caller",
    "site",
    "place",
    "module",
    "parts",
    "gaps",
    "bytes_moved",
    "retries",
    "bytes_requested",
    "bytes_relocated",
    "bytes_grown_in_place",
];

/// Writes comma-separated values.
pub struct Csv {
    out: csv::Writer<Output>,
    row: ByteRecord,
}

impl Csv {
    /// Writes the header line to `out`.
    pub fn new(out: Output) -> Result<Self> {
        let mut out = csv::WriterBuilder::new().buffer_capacity(BUFFER).from_writer(out);
        out.write_record(COLUMNS)?;
        Ok(Self { out, row: ByteRecord::with_capacity(512, COLUMNS.len()) })
    }
}

impl Exporter for Csv {
    fn take(&mut self, named: &Named) -> Result<()> {
        let (event, origin) = (&named.event, &named.origin);
        let call = &event.call;
        self.row.clear();
        let mut row = Cells(&mut self.row);
        row.number(event.number).foreign(&origin.host);
        row.number(origin.pid.into()).number(event.tid.into());
        row.foreign(&origin.exe).foreign(&origin.kernel);
        row.number(named.wall_clock).number(named.monotonic);
        row.number(named.since_start).number(named.duration);
        row.text(call.outcome.name()).address(call.old);
        row.number(call.old_len).number(call.new_len);
        row.number(call.flags.into());
        match event.new_address() {
            Some(new) => row.address(new),
            None => row.text(""),
        };
        match call.errno() {
            None => row.address(call.result as u64).text(""),
            Some(errno) => row.signed(call.result).text(&names::errno(errno)),
        };
        row.address(call.caller).foreign(&named.site.name);
        row.foreign(&named.site.place);
        row.foreign(named.site.site.module.as_deref().unwrap_or_default());
        row.number(event.parts.len() as u64);
        row.number(event.gaps.len() as u64);
        row.optional(event.bytes_moved());
        row.optional(event.summary.map(|summary| summary.retries.into()));
        row.number(named.bytes.requested()).number(named.bytes.relocated());
        row.number(named.bytes.grown_in_place());
        self.out.write_byte_record(&self.row)?;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.out.into_inner().map_err(IntoInnerError::into_error)?.commit()
    }
}

/// Appends cells to a row, in the order of `COLUMNS`.
struct Cells<'a>(&'a mut ByteRecord);

impl Cells<'_> {
    fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_field(text.as_bytes());
        self
    }

    /// Text from the traced program or its machine. A spreadsheet would run a cell that starts like
    /// a formula, so an apostrophe is put before such text.
    fn foreign(&mut self, text: &str) -> &mut Self {
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            self.text(&format!("'{text}"))
        } else {
            self.text(text)
        }
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }

    fn signed(&mut self, number: i64) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }

    fn optional(&mut self, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.number(number),
            None => self.text(""),
        }
    }

    fn address(&mut self, address: u64) -> &mut Self {
        self.text(Hex(address).text(&mut [0; 18]))
    }
}
