//! Chrome's trace events: one slice a call. Perfetto and `chrome://tracing` open them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Write;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use super::Exporter;
use crate::model::names;
use crate::model::text::{self, Hex};
use crate::named::Named;

/// One call; the names are the format's.
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
    new: Hex,
    result: Answer,
    parts: usize,
    gaps: usize,
}

/// An address, or why there is none.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Address(Hex),
    Errno(String),
}

/// Bytes of the array handed on at a time.
const PIECE: usize = 1 << 16;

/// The array being written.
pub struct Chrome {
    out: Box<dyn Write + Send>,
    piece: Vec<u8>,
    named: HashSet<u32>,
    first: Option<u64>,
}

impl Chrome {
    /// Opens the array.
    pub fn new(mut out: Box<dyn Write + Send>) -> Result<Self> {
        write!(out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        Ok(Self { out, piece: Vec::with_capacity(2 * PIECE), named: HashSet::new(), first: None })
    }

    fn put(&mut self, value: &impl Serialize) -> Result<()> {
        let comma = if self.named.is_empty() { "\n" } else { ",\n" };
        self.piece.extend_from_slice(comma.as_bytes());
        serde_json::to_writer(&mut self.piece, value)?;
        if self.piece.len() >= PIECE {
            self.out.write_all(&self.piece)?;
            self.piece.clear();
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
        // Microseconds as numbers: counted from the first call, they stay exact.
        let first = *self.first.get_or_insert(named.wall_clock);
        self.put(&Slice {
            ph: "X",
            name: &named.site.name,
            cat: names::outcome(call.outcome),
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
                new: Hex(call.new),
                result: match call.errno() {
                    None => Answer::Address(Hex(call.result as u64)),
                    Some(errno) => Answer::Errno(names::errno(errno)),
                },
                parts: event.parts.len(),
                gaps: event.gaps.len(),
            },
        })
    }

    fn finish(&mut self) -> Result<()> {
        self.piece.extend_from_slice(b"\n]}\n");
        self.out.write_all(&self.piece)?;
        Ok(self.out.flush()?)
    }
}
