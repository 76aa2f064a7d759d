//! Writes a trace of any size with the format's encoder, for tests of size and speed.
//!
//!     cargo run --release -p mremap-analyzer --example make_trace -- FILE EVENTS [THREADS [EVERY]]
//!
//! It has growths of a few mappings; with EVERY, every `EVERY`th call is an emulated move.

use std::fs::File;
use std::io::{BufWriter, Write};

use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE, SLOTS_PER_CHUNK};
use mremap_trace::{
    Call, Capability, ChunkHeader, ClaimWord, Clock, FoundBy, Gap, Header, HeaderText, Module,
    Outcome, Part, Record, Summary, Under,
};

const PAGE: u64 = 4096;
const FULL: u32 = SLOTS_PER_CHUNK;

/// The chunk that a thread fills.
struct Chunk {
    tid: u32,
    bytes: Vec<u8>,
    used: u32,
}

/// The trace.
struct Writer {
    out: BufWriter<File>,
    chunks: u32,
    ticks: u64,
}

impl Writer {
    fn begin(&self, tid: u32) -> Chunk {
        let mut bytes = vec![0; CHUNK_SIZE];
        let header = ChunkHeader {
            tid,
            number: self.chunks,
            claimed: FULL,
            ticks: self.ticks,
            monotonic_ns: self.ticks / 2,
            realtime_ns: self.ticks / 2,
            ..ChunkHeader::default()
        };
        header.encode(&mut bytes);
        Chunk { tid, bytes, used: 1 }
    }

    fn write(&mut self, chunk: &mut Chunk) -> std::io::Result<()> {
        let claims = ClaimWord::new(self.chunks, chunk.used);
        chunk.bytes[8..16].copy_from_slice(&claims.0.to_ne_bytes());
        self.out.write_all(&chunk.bytes)?;
        self.chunks += 1;
        *chunk = self.begin(chunk.tid);
        Ok(())
    }
}

fn put(chunk: &mut Chunk, record: &Record) {
    let start = chunk.used as usize * SLOT_SIZE;
    let words = record.encode();
    for (place, word) in chunk.bytes[start..start + SLOT_SIZE].chunks_mut(8).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    chunk.used += 1;
}

fn header(chunks: u32) -> Header {
    Header {
        page_size: 4096,
        capacity: HEADER_SIZE as u64 + u64::from(chunks) * CHUNK_SIZE as u64,
        pid: 4242,
        realtime_ns: 1_700_000_000_000_000_000,
        clock: Some(Clock::Counter),
        chunks,
        capability: Some(Capability::OneVma),
        ..Header::default()
    }
}

fn growth(event: u64, ticks: u64) -> Record {
    // Sixteen mappings grow in turn by a page each, from sixteen call sites.
    let (which, step) = (event % 16, event / 16 % 1000);
    let old = 0x7f00_0000_0000 + which * 0x1_0000_0000;
    Record::Call(Call {
        outcome: Outcome::PassedThrough,
        ticks,
        duration: 900 + (event.wrapping_mul(2_654_435_761) >> 20) % 4000,
        old,
        old_len: (step + 1) * PAGE,
        new_len: (step + 2) * PAGE,
        flags: 1,
        new: 0,
        result: if event % 1000 == 999 { -12 } else { old as i64 },
        caller: 0x5555_0000_1000 + which * 64,
    })
}

fn put_move(chunk: &mut Chunk, number: u32, ticks: u64) {
    let (old, new) = (0x7e00_0000_0000, 0x7e10_0000_0000);
    put(
        chunk,
        &Record::Call(Call {
            outcome: Outcome::Emulated,
            ticks,
            duration: 30_000,
            old,
            old_len: 4 * PAGE,
            new_len: 4 * PAGE,
            flags: 3,
            new,
            result: new as i64,
            caller: 0x5555_0000_2000,
        }),
    );
    for (start, end) in [(old, old + PAGE), (old + 2 * PAGE, old + 4 * PAGE)] {
        put(
            chunk,
            &Record::Part(Part {
                call: number,
                start,
                end,
                vma_start: start,
                vma_end: end,
                protection: 0x83,
                ..Part::default()
            }),
        );
    }
    let gap = Gap { call: number, start: old + PAGE, end: old + 2 * PAGE, under: Under::Empty };
    put(chunk, &Record::Gap(gap));
    let summary = Summary {
        call: number,
        parts: 2,
        gaps: 1,
        bytes: 3 * PAGE,
        source: FoundBy::Query,
        retries: 0,
    };
    put(chunk, &Record::Summary(summary));
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("the file to write");
    let mut number = || arguments.next().map(|text| text.parse::<u64>().expect("a number"));
    let events = number().expect("how many events");
    let threads = number().unwrap_or(1) as u32;
    let every = number().unwrap_or(0);
    let mut writer = Writer {
        out: BufWriter::with_capacity(1 << 20, File::create(&path)?),
        chunks: 0,
        ticks: 1000,
    };
    writer.out.write_all(&vec![0; HEADER_SIZE])?;
    // One thread fills its chunk, then the next: as if threads took turns.
    let mut chunk = writer.begin(1);
    put(
        &mut chunk,
        &Record::Module(Module {
            start: 0x5555_0000_0000,
            end: 0x5555_0001_0000,
            path_len: 14,
            ..Module::default()
        }),
    );
    let mut text = [0; 56];
    text[..14].copy_from_slice(b"/usr/bin/grows");
    put(&mut chunk, &Record::Text(text));
    for event in 0..events {
        writer.ticks += 4000;
        let is_move = every > 0 && event % every == every - 1;
        if chunk.used + if is_move { 5 } else { 1 } > FULL {
            writer.write(&mut chunk)?;
            chunk.tid = chunk.tid % threads + 1;
            chunk = writer.begin(chunk.tid);
        }
        if is_move {
            let number = writer.chunks * SLOTS_PER_CHUNK + chunk.used;
            put_move(&mut chunk, number, writer.ticks);
        } else {
            put(&mut chunk, &growth(event, writer.ticks));
        }
    }
    writer.write(&mut chunk)?;
    let text = HeaderText {
        shim_version: b"0.1.0",
        kernel: b"6.1.0-test",
        host: b"here",
        exe: b"/usr/bin/grows",
        argv: b"grows\0",
    };
    let mut bytes = vec![0; HEADER_SIZE];
    header(writer.chunks).encode(&text, &mut bytes);
    writer.out.flush()?;
    std::os::unix::fs::FileExt::write_all_at(writer.out.get_ref(), &bytes, 0)
}
