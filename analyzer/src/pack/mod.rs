//! `pack`: writes traces and the names of their addresses to one file. `load::pack` reads it.

mod redact;

use std::io::{self, Read, Write};
use std::ops::ControlFlow;

use anyhow::{Context, Result};
use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE, header as at};
use tar::{Builder, Header};

use crate::export::Output;
use crate::load::{BLOCK, Index, Process, Traces, in_order, mode_of};
use crate::symbols::{Symbols, Unwinding};

/// Compresses logs of records well; higher levels take much longer for little.
const LEVEL: i32 = 9;
/// Longest part of a trace's name that is kept, in characters: tar has room for 100 bytes.
const MAX_NAME: usize = 20;

/// Writes a pack.
///
/// # Errors
/// A trace cannot be read, or the pack cannot be written.
pub fn write(
    traces: &Traces,
    index: &Index,
    symbols: &Symbols,
    redact: bool,
    mut output: Output,
) -> Result<()> {
    resolve_all(traces, index, symbols)?;
    let compressed = zstd::Encoder::new(&mut output, LEVEL)?;
    let mut archive = Builder::new(compressed);
    let (mut modules, tables): (Vec<Unwinding>, Vec<Vec<u8>>) =
        symbols.unwinding().into_iter().unzip();
    if redact {
        modules.iter_mut().for_each(redact::module);
    }
    add(&mut archive, "unwind.json", &serde_json::to_vec(&modules)?)?;
    for (number, table) in tables.iter().enumerate() {
        add(&mut archive, &format!("unwind/{number}.eh_frame"), table)?;
    }
    for (number, process) in traces.processes.iter().enumerate() {
        let mut sites = symbols.sites_of(number);
        if redact {
            for (_, _, site) in &mut sites {
                redact::site(site);
            }
        }
        add(&mut archive, &format!("{number}/sites.json"), &serde_json::to_vec(&sites)?)?;
        let stem = process.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let skipped = stem.chars().count().saturating_sub(MAX_NAME);
        let stem: String = stem.chars().skip(skipped).collect();
        let bytes = Bytes::of(process, redact);
        let mut header = header(bytes.len, mode_of(process.running));
        archive
            .append_data(&mut header, format!("{number}/{stem}.mremap"), bytes)
            .with_context(|| format!("{}: cannot be packed", process.file.display()))?;
    }
    archive.into_inner()?.finish()?;
    output.commit()
}

/// Makes `symbols` resolve every address that a command may name.
fn resolve_all(traces: &Traces, index: &Index, symbols: &Symbols) -> Result<()> {
    let take = |process: &Process, event: crate::model::Event| {
        for address in symbols.frames(process, &event).into_iter().chain([event.call.caller]) {
            let code = process.code_at(address, event.call.ticks);
            symbols.site(process, event.process, code);
        }
        Ok(ControlFlow::Continue(()))
    };
    in_order(traces, index, |_| true, take)
}

fn header(len: u64, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_size(len);
    header.set_mode(mode);
    header
}

fn add(archive: &mut Builder<impl Write>, name: &str, bytes: &[u8]) -> Result<()> {
    Ok(archive.append_data(&mut header(bytes.len() as u64, 0o444), name, bytes)?)
}

/// Reads a trace up to its last claimed chunk. Holes cost no reading.
struct Bytes<'a> {
    process: &'a Process,
    redact: bool,
    len: u64,
    at: u64,
    next_data: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl<'a> Bytes<'a> {
    fn of(process: &'a Process, redact: bool) -> Self {
        let chunks = u64::from(process.chunks) * CHUNK_SIZE as u64;
        let len = process.source.len().min(HEADER_SIZE as u64 + chunks);
        Self { process, redact, len, at: 0, next_data: 0, buffer: Vec::new(), used: 0 }
    }

    /// Reads the header, or the next chunk.
    fn fill(&mut self) -> io::Result<()> {
        let room = if self.at == 0 { HEADER_SIZE } else { BLOCK };
        let size = room.min(self.len.saturating_sub(self.at) as usize);
        self.buffer.clear();
        self.buffer.resize(size, 0);
        self.used = 0;
        if self.next_data < self.at {
            self.next_data = self.process.source.next_data(self.at).unwrap_or(u64::MAX);
        }
        if self.next_data < self.at + size as u64 {
            self.process.source.read(self.at, &mut self.buffer)?;
            if self.at == 0 {
                // A running process may have claimed more chunks since.
                let chunks = self.process.header.chunks.to_ne_bytes();
                let field = self.buffer.get_mut(at::CHUNKS..at::CHUNKS + chunks.len());
                if let Some(field) = field {
                    field.copy_from_slice(&chunks);
                }
            }
            match (self.redact, self.at) {
                (true, 0) => redact::header(&mut self.buffer),
                (true, _) => redact::chunk(&mut self.buffer),
                (false, _) => {}
            }
        }
        self.at += size as u64;
        Ok(())
    }
}

impl Read for Bytes<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.used == self.buffer.len() && self.at < self.len {
            self.fill()?;
        }
        let rest = self.buffer.get(self.used..).unwrap_or_default();
        let taken = rest.len().min(bytes.len());
        bytes[..taken].copy_from_slice(&rest[..taken]);
        self.used += taken;
        Ok(taken)
    }
}
