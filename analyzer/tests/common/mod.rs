//! Traces made with the encoder, and the analyzer run on them.
#![allow(missing_docs, dead_code)] // each test program uses what it needs

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE};
use mremap_trace::{
    Call, Capability, ChunkHeader, Clock, FoundBy, Gap, Header, HeaderText, Level, Message, Module,
    Outcome, Part, Record, Summary, Under,
};
use tempfile::TempDir;

pub const OLD: u64 = 0x7f00_0000_0000;
pub const NEW: u64 = 0x7f10_0000_0000;
pub const PAGE: u64 = 4096;

pub fn analyzer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mremap-analyzer"))
        .args(arguments)
        .env_remove("MREMAP_SHIM_LIBRARY")
        .env_remove("RUST_LOG")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("the analyzer starts")
}

/// Says what cannot be tested here. `cargo xtask test` counts the lines in the file that
/// `MREMAP_SKIPPED` names.
pub fn skip(what: &str) {
    eprintln!("skipped: {what}");
    if let Some(list) = std::env::var_os("MREMAP_SKIPPED") {
        let file = fs::OpenOptions::new().create(true).append(true).open(list);
        file.and_then(|mut file| writeln!(file, "{what}")).expect("the list of what was skipped");
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn text_slot(text: &str) -> Record {
    let mut bytes = [0; mremap_trace::layout::TEXT_PER_SLOT];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    Record::Text(bytes)
}

pub fn header(pid: u32, chunks: u32) -> Header {
    Header {
        page_size: 4096,
        capacity: 64 << 20,
        pid,
        ticks: 1_000,
        monotonic_ns: 5_000,
        realtime_ns: 1_700_000_000_000_000_000 + u64::from(pid),
        clock: Some(Clock::Nanoseconds),
        chunks,
        capability: Some(Capability::OneVma),
        ..Header::default()
    }
}

/// A trace file of these records, 63 to a chunk.
pub fn trace_bytes(header: &Header, records: &[Record]) -> Vec<u8> {
    let mut bytes = header_bytes(header);
    for records in records.chunks(63) {
        bytes.extend(chunk_bytes(77, records));
    }
    bytes
}

/// A trace file of several threads, a chunk each: slots of the second chunk are numbered from 64
/// on.
pub fn trace_of_threads(header: &Header, threads: &[(u32, Vec<Record>)]) -> Vec<u8> {
    let mut bytes = header_bytes(header);
    for (tid, records) in threads {
        bytes.extend(chunk_bytes(*tid, records));
    }
    bytes
}

fn header_bytes(header: &Header) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_SIZE];
    let text = HeaderText {
        shim_version: b"0.1.0",
        kernel: b"6.1.0-test",
        host: b"here",
        exe: b"/usr/bin/mover",
        argv: b"mover\0--fast\0",
    };
    header.encode(&text, &mut bytes);
    bytes
}

fn chunk_bytes(tid: u32, records: &[Record]) -> Vec<u8> {
    let mut chunk = vec![0; CHUNK_SIZE];
    ChunkHeader {
        tid,
        claimed: 1 + records.len() as u32,
        ticks: 2_000,
        monotonic_ns: 6_000,
        ..ChunkHeader::default()
    }
    .encode(&mut chunk);
    for (index, record) in records.iter().enumerate() {
        for (word, value) in record.encode().iter().enumerate() {
            let at = (index + 1) * SLOT_SIZE + word * 8;
            chunk[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        }
    }
    chunk
}

pub fn call(outcome: Outcome, ticks: u64, pages: u64, result: i64) -> Record {
    Record::Call(made(outcome, ticks, pages, result))
}

/// A move of `pages` pages.
pub fn made(outcome: Outcome, ticks: u64, pages: u64, result: i64) -> Call {
    Call {
        outcome,
        ticks,
        duration: 1_500,
        old: OLD,
        old_len: pages * PAGE,
        new_len: pages * PAGE,
        flags: 3,
        new: NEW,
        result,
        caller: 0x5555_0000_1234,
    }
}

pub fn part(of: u32, from: u64, to: u64, errno: u32) -> Record {
    let (start, end) = (OLD + from * PAGE, OLD + to * PAGE);
    Record::Part(Part {
        call: of,
        errno,
        start,
        end,
        vma_start: start,
        vma_end: end,
        protection: 0x83,
        ..Part::default()
    })
}

pub fn gap(of: u32, from: u64, to: u64, under: Under) -> Record {
    Record::Gap(Gap { call: of, start: OLD + from * PAGE, end: OLD + to * PAGE, under })
}

/// Event 1: a move of three parts and two gaps. Event 2: a failed resize.
pub fn sample() -> Vec<Record> {
    vec![
        Record::Module(Module {
            start: 0x5555_0000_0000,
            end: 0x5555_0001_0000,
            offset: 0x1000,
            path_len: 14,
            ..Module::default()
        }),
        text_slot("/usr/bin/mover"),
        Record::Message(Message { level: Level::Warning, text_len: 9, ticks: 1_100 }),
        text_slot("watch out"),
        call(Outcome::Emulated, 3_000, 20, NEW as i64),
        part(5, 0, 8, 0),
        gap(5, 8, 14, Under::Mapped),
        part(5, 14, 17, 0),
        gap(5, 17, 18, Under::Empty),
        part(5, 18, 20, 0),
        Record::Summary(Summary {
            call: 5,
            parts: 3,
            gaps: 2,
            bytes: 13 * PAGE,
            source: FoundBy::Query,
            ..Summary::default()
        }),
        call(Outcome::PassedThrough, 4_000, 1, -14),
    ]
}

pub fn write(directory: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, bytes).expect("the trace is written");
    path
}

pub fn sample_file() -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let path = write(&directory, "a.mremap", &trace_bytes(&header(42, 1), &sample()));
    (directory, path.display().to_string())
}
