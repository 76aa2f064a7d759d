//! FORMAT.md and the code have the same fields, offsets and tags.

use mremap_trace::layout::{self, chunk, header};
use mremap_trace::{Message, Module, Outcome, Record, Stack, StackWords};

const DOCUMENT: &str = include_str!("../FORMAT.md");
const LAYOUT: &str = include_str!("../src/layout.rs");

/// Returns the rows of the table under a heading: name, offset, bytes.
fn fields(heading: &str) -> Vec<(String, usize, usize)> {
    let section = DOCUMENT.split("\n## ").find(|section| section.starts_with(heading));
    let rows = section.expect("the heading is there").lines();
    rows.filter_map(|row| {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let name = cells.next()?;
        let (offset, bytes) = (cells.next()?.parse().ok()?, cells.next()?.parse().ok()?);
        Some((name.to_owned(), offset, bytes))
    })
    .collect()
}

/// Returns the constants of a module of `layout.rs`: name and offset.
fn constants(module: &str) -> Vec<(String, usize)> {
    let start = LAYOUT.find(&format!("pub mod {module} {{")).expect("the module is there");
    LAYOUT[start..]
        .lines()
        .take_while(|line| *line != "}")
        .filter_map(|line| {
            let (name, value) = line.trim().strip_prefix("pub const ")?.split_once(": ")?;
            let value = value.split_once("= ")?.1.trim_matches(|c: char| !c.is_ascii_digit());
            Some((name.to_owned(), value.split(',').next()?.parse().ok()?))
        })
        .collect()
}

#[test]
fn every_field_has_the_documented_offset() {
    for (heading, module) in [("Header", "header"), ("Chunk", "chunk")] {
        let documented: Vec<_> =
            fields(heading).into_iter().map(|(name, offset, _)| (name, offset)).collect();
        assert_eq!(documented, constants(module), "{heading}");
    }
    assert_eq!(header::ARGV, (4672, 8190));
    assert_eq!(chunk::CLAIMS, 8);
}

#[test]
fn fields_fit_without_overlap() {
    for (heading, room) in [("Header", layout::HEADER_SIZE), ("Chunk", layout::SLOT_SIZE)] {
        let mut end = 0;
        for (name, offset, bytes) in fields(heading) {
            assert!(offset >= end, "{heading}: {name} starts inside the field before it");
            end = offset + bytes;
        }
        assert!(end <= room, "{heading}: the fields end at {end}, after {room}");
    }
}

#[test]
fn every_tag_is_documented() {
    let rows: Vec<_> = DOCUMENT.lines().filter(|line| line.starts_with("| ")).collect();
    let tag_of = |record: Record| record.encode()[layout::SLOT_WORDS - 1] >> 56;
    assert_eq!((Outcome::ALL[0] as u8, Outcome::ALL[5] as u8), (1, 6));
    for (record, name) in [
        (Record::Module(Module::default()), "module"),
        (Record::Message(Message::default()), "message of the shim's own"),
        (Record::Stack(Stack::default()), "stack"),
        (Record::StackWords(StackWords::default()), "words of a stack"),
        (Record::Thread(1), "thread"),
        (Record::Padding, "padding"),
        (Record::Text([0; layout::TEXT_PER_SLOT]), "text"),
    ] {
        let row = format!("| {} | {name} |", tag_of(record));
        assert!(rows.iter().any(|line| line.starts_with(&row)), "{row}");
    }
}
