//! The Common Trace Format 1.8: a metadata file and one stream of packets.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use super::{Exporter, Output};
use crate::model::names;
use crate::named::Named;

/// Magic number of every packet.
const MAGIC: u32 = 0xc1fc_1fc1;
/// Size from which a packet is closed, in bytes.
const PACKET: usize = 1 << 18;
/// Size of packet header and context: magic, stream, four 64-bit numbers.
const HEAD: usize = 4 + 4 + 4 * 8;
/// Describes the stream's layout.
const METADATA: &str = include_str!("ctf.tsdl");

/// Writes the stream.
pub struct Ctf {
    metadata: Output,
    out: Output,
    packet: Vec<u8>,
    begin: u64,
    end: u64,
}

impl Ctf {
    /// Writes the metadata into a directory and opens the stream.
    pub fn new(directory: &Path) -> Result<Self> {
        let open = |name: &str| Output::open(Some(&directory.join(name)), &[]);
        let mut metadata = open("metadata")?;
        metadata.write_all(METADATA.as_bytes())?;
        Ok(Self {
            metadata,
            out: open("stream")?,
            packet: Vec::with_capacity(PACKET),
            begin: 0,
            end: 0,
        })
    }

    fn word(&mut self, value: u32) {
        self.packet.extend_from_slice(&value.to_le_bytes());
    }

    fn number(&mut self, value: u64) {
        self.packet.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes `-` for an empty text: babeltrace 2.0 repeats the previous event's text for it.
    fn text(&mut self, text: &str) {
        let text = if text.is_empty() { "-" } else { text };
        for part in text.split('\0') {
            self.packet.extend_from_slice(part.as_bytes());
        }
        self.packet.push(0);
    }

    fn close_packet(&mut self) -> Result<()> {
        let bits = (HEAD + self.packet.len()) as u64 * 8;
        for word in [MAGIC, 0] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        for number in [self.begin, self.end, bits, bits] {
            self.out.write_all(&number.to_le_bytes())?;
        }
        self.out.write_all(&self.packet)?;
        self.packet.clear();
        Ok(())
    }
}

impl Exporter for Ctf {
    fn take(&mut self, named: &Named) -> Result<()> {
        let (event, call, origin) = (&named.event, &named.event.call, &named.origin);
        // Timestamps of a stream must not decrease.
        let timestamp = named.wall_clock.max(self.end);
        if self.packet.is_empty() {
            self.begin = timestamp;
        }
        self.end = timestamp;
        self.word(0);
        self.number(timestamp);
        self.text(&origin.host);
        self.text(origin.exe.rsplit('/').next().unwrap_or_default());
        self.word(origin.pid);
        self.word(event.tid);
        for number in [event.number, call.old, call.old_len, call.new_len] {
            self.number(number);
        }
        self.word(call.flags);
        self.number(event.new_address().unwrap_or(0));
        self.number(call.result as u64);
        self.text(&call.errno().map(names::errno).unwrap_or_default());
        self.text(call.outcome.name());
        self.number(named.duration);
        self.number(call.caller);
        self.text(&named.site.name);
        self.word(event.parts.len() as u32);
        self.word(event.gaps.len() as u32);
        self.number(event.bytes_moved().unwrap_or(0));
        self.word(event.summary.map_or(0, |summary| summary.retries));
        let bytes = &named.bytes;
        for number in [bytes.requested(), bytes.relocated(), bytes.grown_in_place()] {
            self.number(number);
        }
        if self.packet.len() >= PACKET {
            self.close_packet()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if !self.packet.is_empty() {
            self.close_packet()?;
        }
        self.out.commit()?;
        self.metadata.commit()
    }
}
