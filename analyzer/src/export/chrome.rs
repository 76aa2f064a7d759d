//! Chrome's trace event format, one slice a call, for Perfetto and `chrome://tracing`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Write;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use super::{Exporter, Output};
use crate::model::names;
use crate::model::text::{self, Hex};
use crate::named::Named;

/// One call, in the format's field names.
#[derive(Serialize)]
struct Slice<'a> {
    ph: &'a str,
    name: &'a str,
    cat: &'a str,
    ts: f64,
    dur: f64,
    pid: u32,
    tid: u32,
    args: Arguments,
}

#[derive(Serialize)]
struct Arguments {
    event: u64,
    old: Hex,
    old_len: u64,
    new_len: u64,
    flags: Cow<'static, str>,
    new: Option<Hex>,
    result: CallResult,
    parts: usize,
    gaps: usize,
    bytes_relocated: u64,
    bytes_grown_in_place: u64,
}

/// The call's result.
#[derive(Serialize)]
#[serde(untagged)]
enum CallResult {
    Address(Hex),
    Errno(String),
}

/// Size of one write, in bytes.
const BUFFER: usize = 1 << 16;

/// Writes the array of events.
pub struct Chrome {
    out: Output,
    buffer: Vec<u8>,
    named: HashSet<u32>,
    first: Option<u64>,
}

impl Chrome {
    /// Starts the array.
    pub fn new(mut out: Output) -> Result<Self> {
        write!(out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        Ok(Self { out, buffer: Vec::with_capacity(2 * BUFFER), named: HashSet::new(), first: None })
    }

    fn put(&mut self, value: &impl Serialize) -> Result<()> {
        let comma = if self.named.is_empty() { "\n" } else { ",\n" };
        self.buffer.extend_from_slice(comma.as_bytes());
        serde_json::to_writer(&mut self.buffer, value)?;
        if self.buffer.len() >= BUFFER {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl Exporter for Chrome {
    fn take(&mut self, named: &Named) -> Result<()> {
        let (event, origin) = (&named.event, &named.origin);
        let call = &event.call;
        if !self.named.contains(&origin.pid) {
            let name = format!("{} on {}", origin.exe, origin.host);
            let value = json!({"ph": "M", "name": "process_name", "pid": origin.pid, "args": {"name": name}});
            self.put(&value)?;
            self.named.insert(origin.pid);
        }
        // Microseconds since the first call: a double holds them exactly.
        let first = *self.first.get_or_insert(named.wall_clock);
        self.put(&Slice {
            ph: "X",
            name: &named.site.name,
            cat: call.outcome.name(),
            ts: named.wall_clock.saturating_sub(first) as f64 / 1e3,
            dur: named.duration as f64 / 1e3,
            pid: origin.pid,
            tid: event.tid,
            args: Arguments {
                event: event.number,
                old: Hex(call.old),
                old_len: call.old_len,
                new_len: call.new_len,
                flags: text::flags(call.flags),
                new: event.new_address().map(Hex),
                result: match call.errno() {
                    None => CallResult::Address(Hex(call.result as u64)),
                    Some(errno) => CallResult::Errno(names::errno(errno)),
                },
                parts: event.parts.len(),
                gaps: event.gaps.len(),
                bytes_relocated: named.bytes.relocated(),
                bytes_grown_in_place: named.bytes.grown_in_place(),
            },
        })
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.buffer.extend_from_slice(b"\n]}\n");
        self.out.write_all(&self.buffer)?;
        self.out.commit()
    }
}
