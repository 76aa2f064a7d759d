//! JSON lines and CSV.

use std::io::Write;

use anyhow::Result;
use csv::ByteRecord;

use super::Exporter;
use crate::events;
use crate::model::names;
use crate::model::text::Hex;
use crate::named::Named;

/// Size of one write, in bytes.
const BUFFER: usize = 1 << 16;

/// Writes JSON lines.
pub struct Jsonl {
    out: Box<dyn Write + Send>,
    lines: Vec<u8>,
}

impl Jsonl {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
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

    fn finish(&mut self) -> Result<()> {
        self.out.write_all(&self.lines)?;
        Ok(self.out.flush()?)
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
    out: csv::Writer<Box<dyn Write + Send>>,
    row: ByteRecord,
}

impl Csv {
    /// Writes the header line to `out`.
    pub fn new(out: Box<dyn Write + Send>) -> Result<Self> {
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
        row.number(event.number).text(&origin.host);
        row.number(origin.pid.into()).number(event.tid.into());
        row.text(&origin.exe).text(&origin.kernel);
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
        row.address(call.caller).text(&named.site.name);
        row.text(&named.site.place);
        row.text(named.site.site.module.as_deref().unwrap_or_default());
        row.number(event.parts.len() as u64);
        row.number(event.gaps.len() as u64);
        row.optional(event.bytes_moved());
        row.optional(event.summary.map(|summary| summary.retries.into()));
        row.number(named.bytes.requested()).number(named.bytes.relocated());
        row.number(named.bytes.grown_in_place());
        self.out.write_byte_record(&self.row)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Appends cells to a row, in the order of `COLUMNS`.
struct Cells<'a>(&'a mut ByteRecord);

impl Cells<'_> {
    fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_field(text.as_bytes());
        self
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
