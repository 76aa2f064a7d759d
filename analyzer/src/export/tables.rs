//! JSON lines and CSV.

use std::io::Write;

use anyhow::Result;

use super::Exporter;
use crate::events;
use crate::model::names;
use crate::named::Named;

/// JSON lines.
pub struct Jsonl {
    out: Box<dyn Write + Send>,
}

impl Jsonl {
    /// Writes to a stream.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out }
    }
}

impl Exporter for Jsonl {
    fn take(&mut self, named: &Named) -> Result<()> {
        events::write_json(named, &mut self.out)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Columns of the CSV, in this order; new ones are added at the end.
const COLUMNS: [&str; 26] = [
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
];

/// Comma-separated values.
pub struct Csv {
    out: csv::Writer<Box<dyn Write + Send>>,
}

impl Csv {
    /// Writes the heading to a stream.
    pub fn new(out: Box<dyn Write + Send>) -> Result<Self> {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(COLUMNS)?;
        Ok(Self { out })
    }
}

impl Exporter for Csv {
    fn take(&mut self, named: &Named) -> Result<()> {
        let (event, origin) = (&named.event, &named.origin);
        let call = &event.call;
        let hex = |address: u64| format!("{address:#x}");
        let errno = call.errno();
        let result = errno.map_or_else(|| hex(call.result as u64), |_| call.result.to_string());
        let optional = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
        let cells: [&str; COLUMNS.len()] = [
            &event.number.to_string(),
            &origin.host,
            &origin.pid.to_string(),
            &event.tid.to_string(),
            &origin.exe,
            &origin.kernel,
            &named.wall_clock.to_string(),
            &named.monotonic.to_string(),
            &named.since_start.to_string(),
            &named.duration.to_string(),
            names::outcome(call.outcome),
            &hex(call.old),
            &call.old_len.to_string(),
            &call.new_len.to_string(),
            &call.flags.to_string(),
            &hex(call.new),
            &result,
            &errno.map(names::errno).unwrap_or_default(),
            &hex(call.caller),
            &named.site.name,
            &named.site.place,
            named.site.site.module.as_deref().unwrap_or_default(),
            &event.parts.len().to_string(),
            &event.gaps.len().to_string(),
            &optional(event.bytes_moved()),
            &optional(event.summary.map(|summary| summary.retries.into())),
        ];
        self.out.write_record(cells)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}
