//! Encoding and decoding of records, headers and chunks, and the offset of damage.

use mremap_trace::{
    Call, ChunkHeader, ClaimWord, FoundBy, Gap, Header, HeaderText, Keep, Level, Message, Module,
    Outcome, Part, Record, Slot, Stack, StackWords, Summary, Under, layout,
};

fn call() -> Call {
    Call {
        outcome: Outcome::Emulated,
        ticks: 0x1234_5678_9abc,
        duration: 5_000,
        old: 0x7f00_0000_1001,
        old_len: u64::MAX,
        new_len: 3,
        flags: 0xdead_beef,
        new: 0xffff_ffff_ffff_f000,
        result: -14,
        caller: 0x5555_5555_1234,
    }
}

#[test]
fn every_kind_of_record_survives() {
    let records = [
        Record::Call(call()),
        Record::Summary(Summary {
            call: 65,
            parts: 3,
            gaps: 2,
            retries: 1,
            bytes: 1 << 40,
            source: FoundBy::Bisect,
        }),
        Record::Part(Part {
            call: 65,
            errno: 12,
            start: 1,
            end: 2,
            vma_start: 3,
            vma_end: 4,
            offset: 5,
            duration: 6,
            protection: 0x83,
        }),
        Record::Gap(Gap { call: 65, start: 4096, end: 8192, under: Under::Mapped }),
        Record::Module(Module {
            start: 1,
            end: 2,
            offset: 3,
            path_len: 4,
            build_id_len: 20,
            build_id: *b"abcdefghijklmnopqrst",
            since: 1 << 55,
        }),
        Record::Message(Message { level: Level::Warning, text_len: 11, ticks: 9 }),
        Record::Stack(Stack { call: 65, first: 7, count: 6, frames: [1, 2, 3, 4, 5, 1 << 47] }),
        Record::StackWords(StackWords {
            call: 65,
            first: 6,
            count: 2,
            entries: [StackWords::entry(255, 1 << 55), StackWords::entry(1, 7), 0, 0, 0, 0],
        }),
        Record::Text([b'x'; layout::TEXT_PER_SLOT]),
        Record::Thread(u32::MAX),
        Record::Padding,
    ];
    for record in records {
        assert_eq!(Record::decode(record.encode()), Slot::Complete(record));
    }
}

#[test]
fn an_entry_of_a_stack_holds_a_distance_and_a_word() {
    let entry = StackWords::entry(StackWords::LONGEST, 0x7fff_ffff_f000);
    assert_eq!(StackWords::split(entry), (255, 0x7fff_ffff_f000));
}

#[test]
fn a_later_reading_that_was_being_stored_is_ignored() {
    let header = Header { later: Some((70, 90)), ..Header::default() };
    let mut bytes = vec![0; layout::HEADER_SIZE];
    header.encode(&HeaderText::default(), &mut bytes);
    assert_eq!(Header::decode(&bytes).unwrap().0.later, Some((70, 90)));
    bytes[layout::header::LATER_TICKS] += 1;
    assert_eq!(Header::decode(&bytes).unwrap().0.later, None);
}

#[test]
fn long_durations_are_rounded_to_1024_ticks() {
    for duration in [0, (1 << 31) - 1, 1 << 31, 1 << 40] {
        let Slot::Complete(Record::Call(read)) =
            Record::decode(Record::Call(Call { duration, ..call() }).encode())
        else {
            panic!("a call decodes as a call");
        };
        assert!(duration - read.duration < 1024, "{duration} read as {}", read.duration);
    }
}

#[test]
fn damage_of_the_header_is_reported_with_its_offset() {
    let mut bytes = vec![0; layout::HEADER_SIZE];
    let header = Header {
        pid: 7,
        page_size: 65536,
        boot_id: [3; 16],
        lost_full: 2,
        lost_overwritten: 3,
        lost_no_space: 4,
        lost_truncated: 5,
        keep: Some(Keep::Last),
        forked_from: 6,
        ..Header::default()
    };
    let text = HeaderText {
        exe: b"/bin/true",
        argv: b"true\0",
        kernel: b"6.1.0",
        ..HeaderText::default()
    };
    header.encode(&text, &mut bytes);
    assert_eq!(Header::decode(&bytes), Ok((header, text)));
    assert_eq!(header.lost(), 14);

    for (offset, size) in
        [(0, 16384), (8, 16384), (12, 16384), (20, 16384), (576, 16384), (100, 100)]
    {
        let mut damaged = bytes[..size].to_vec();
        if offset < size {
            damaged[offset] ^= 0xff;
            damaged[offset + 1] ^= 0xff;
        }
        assert_eq!(Header::decode(&damaged).unwrap_err().offset, offset as u64);
    }
}

#[test]
fn slots_after_a_torn_one_are_read() {
    let mut bytes = vec![0; layout::CHUNK_SIZE];
    ChunkHeader { tid: 5, claimed: 4, ..ChunkHeader::default() }.encode(&mut bytes);
    for slot in [1, 3] {
        for (number, word) in Record::Call(call()).encode().iter().enumerate() {
            let at = slot * layout::SLOT_SIZE + number * 8;
            bytes[at..at + 8].copy_from_slice(&word.to_ne_bytes());
        }
    }
    let header = ChunkHeader::decode(&bytes).unwrap();
    let slots: Vec<_> = header.slots(&bytes).collect();
    assert_eq!(slots[0], (1, Slot::Complete(Record::Call(call()))));
    assert_eq!(slots[1], (2, Slot::Torn));
    assert_eq!(slots[2], (3, Slot::Complete(Record::Call(call()))));
    assert_eq!(slots.len(), 3);
    assert_eq!(header.slots(&bytes[..100]).count(), 0, "bytes that end inside a slot give no slot");
}

#[test]
fn a_closed_chunk_has_valid_slots_and_a_void_one_has_none() {
    let mut bytes = vec![0; layout::CHUNK_SIZE];
    for (added, slots, overwritten) in
        [(0, 2, 7), (ClaimWord::CLOSED, 2, 7), (ClaimWord::VOID, 0, 9)]
    {
        let header = ChunkHeader {
            tid: 5,
            number: 70_000,
            claimed: added + 3,
            overwritten: 7,
            overwritten_next: 9,
            ..ChunkHeader::default()
        };
        header.encode(&mut bytes);
        let read = ChunkHeader::decode(&bytes).unwrap();
        assert_eq!(read, header);
        assert_eq!(read.slots(&bytes).count(), slots);
        assert_eq!(read.overwritten_calls(), overwritten);
    }
}

#[test]
fn a_claim_word_counts_slots_and_writers_separately() {
    let word = ClaimWord::new(9, 63);
    let claimed = ClaimWord(word.0 + 2 + ClaimWord::ONE_WRITER);
    assert_eq!((claimed.number(), claimed.writers(), claimed.claimed()), (9, 1, 65));
}
