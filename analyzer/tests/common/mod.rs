//! Traces made with the encoder, and the analyzer run on them.
#![allow(missing_docs, dead_code)] // each test program uses what it needs

use std::fs;
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

pub fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

pub fn trace(records: &[Record]) -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let chunks = records.len().div_ceil(63) as u32;
    let path = write(&directory, "t.mremap", &trace_bytes(&header(42, chunks), records));
    (directory, path.display().to_string())
}

/// A library with debug information, its build id, and the place of a call in it: path, id, file
/// offset.
pub fn library(directory: &TempDir, before: &str) -> (String, Vec<u8>, u64) {
    library_built_with(directory, before, &[])
}

pub fn library_built_with(
    directory: &TempDir,
    before: &str,
    flags: &[&str],
) -> (String, Vec<u8>, u64) {
    use object::{Object, ObjectSegment, ObjectSymbol};
    let text = format!("{before}int grow_pool(int n)\n{{\n    return n * 3 + 1;\n}}\n");
    let source = write(directory, "grow.c", text.as_bytes());
    let path = directory.path().join("libgrow.so");
    let built = Command::new("cc")
        .args(flags)
        .args(["-g", "-O0", "-shared", "-fPIC", "-Wl,--build-id", "-o"])
        .args([&path, &source])
        .status()
        .unwrap();
    assert!(built.success());
    let bytes = fs::read(&path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok("grow_pool")).unwrap();
    let holds = |start: u64, len: u64| (start..start + len).contains(&symbol.address());
    let segment = file.segments().find(|segment| holds(segment.address(), segment.size())).unwrap();
    let offset = symbol.address() - segment.address() + segment.file_range().0;
    let id = file.build_id().unwrap().unwrap().to_vec();
    (path.display().to_string(), id, offset + 8)
}

pub fn trace_of_library(path: &str, id: &[u8], offset: u64, calls: usize) -> (TempDir, String) {
    let mut records = library_records(path, id);
    let made = made(Outcome::PassedThrough, 3_000, 1, NEW as i64);
    let call = Record::Call(Call { caller: 0x5555_0000_0000 + offset, ..made });
    records.extend(vec![call; calls]);
    trace(&records)
}

/// A module and its path.
pub fn library_records(path: &str, id: &[u8]) -> Vec<Record> {
    let mut build_id = [0; 20];
    build_id[..id.len()].copy_from_slice(id);
    let mut records = vec![Record::Module(Module {
        start: 0x5555_0000_0000,
        end: 0x5555_0100_0000,
        offset: 0,
        path_len: path.len() as u32,
        build_id_len: id.len() as u8,
        build_id,
        ..Module::default()
    })];
    records
        .extend(path.as_bytes().chunks(56).map(|piece| text_slot(str::from_utf8(piece).unwrap())));
    records
}
