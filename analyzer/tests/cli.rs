//! The command from outside: what it prints, what it refuses, and with what status.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use mremap_trace::{
    Call, Clock, FoundBy, Gap, Header, Outcome, Part, Record, Summary, Under, layout,
};

use common::{analyzer, stderr, stdout};

mod common;

/// A trace with one emulated move of two parts and a gap, and one call that failed.
fn trace_bytes() -> Vec<u8> {
    let call = Call {
        outcome: Outcome::Emulated,
        ticks: 2000,
        duration: 5000,
        old: 0x10000,
        old_len: 0x4000,
        new_len: 0x4000,
        flags: 3,
        new: 0x90000,
        result: 0x90000,
        caller: 0x1234,
    };
    let part = |start, end| Part {
        call: 1,
        start,
        end,
        vma_start: start,
        vma_end: end,
        ..Part::default()
    };
    let records = [
        Record::Call(call),
        Record::Part(part(0x10000, 0x12000)),
        Record::Gap(Gap { call: 1, start: 0x12000, end: 0x13000, under: Under::Mapped }),
        Record::Part(part(0x13000, 0x14000)),
        Record::Summary(Summary {
            call: 1,
            parts: 2,
            gaps: 1,
            bytes: 0x3000,
            source: FoundBy::Bisect,
            retries: 0,
        }),
        Record::Call(Call {
            outcome: Outcome::PassedThrough,
            ticks: 9000,
            result: -12,
            flags: 0,
            caller: 0,
            ..call
        }),
    ];
    let header = Header {
        page_size: 4096,
        pid: 42,
        chunks: 1,
        clock: Some(Clock::Nanoseconds),
        ticks: 1000,
        ..Header::default()
    };
    common::trace_bytes(&header, &records)
}

fn file(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, bytes).expect("the file is written");
    path
}

fn on_trace(bytes: &[u8], command: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let path = file(directory.path(), "t.mremap", bytes);
    let mut arguments = command.to_vec();
    arguments.insert(1, path.to_str().expect("a path of text"));
    analyzer(&arguments)
}

#[test]
fn report_tells_outcomes_moves_and_failures() {
    let output = on_trace(&trace_bytes(), &["report"]);
    assert!(output.status.success(), "{output:?}");
    let report = stdout(&output);
    for expected in [
        "/usr/bin/mover (pid 42)",
        "emulated",
        "passed-through",
        "1 x ENOMEM: ",
        "12 KiB relocated",
    ] {
        assert!(report.contains(expected), "{expected} in:\n{report}");
    }
}

#[test]
fn events_are_filtered_and_their_json_can_be_parsed() {
    let output = on_trace(&trace_bytes(), &["events", "--json"]);
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["outcome"], &lines[0]["parts"]), (&"emulated".into(), &2.into()));
    assert_eq!(lines[1]["errno"], "ENOMEM");
    let failed = on_trace(&trace_bytes(), &["events", "--errno", "ENOMEM"]);
    assert_eq!(stdout(&failed).lines().count(), 1);
}

#[test]
fn show_draws_parts_gaps_and_what_lay_under_them() {
    let output = on_trace(&trace_bytes(), &["show", "--event", "1", "--ascii", "--width", "40"]);
    let picture = stdout(&output);
    assert!(
        output.status.success() && picture.contains('A') && picture.contains("B'"),
        "{picture}"
    );
    assert!(picture.contains('#'), "what lay under the gap is drawn:\n{picture}");
    assert!(picture.lines().take(12).all(|line| line.len() <= 90), "{picture}");
    let none = on_trace(&trace_bytes(), &["show", "--event", "9"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("no event 9"), "{none:?}");
}

#[test]
fn damage_is_named_by_offset_and_the_rest_is_still_reported() {
    let whole = trace_bytes();
    let torn_at = layout::HEADER_SIZE + 6 * layout::SLOT_SIZE;
    let mut torn = whole.clone();
    torn[torn_at + 56..torn_at + 64].fill(0);
    let mut version = whole.clone();
    version[8] = 9;
    for (bytes, offset, readable) in [
        (torn, torn_at, true),
        (whole[..layout::HEADER_SIZE + 300].to_vec(), layout::HEADER_SIZE + 300, true),
        (whole[..100].to_vec(), 100, false),
        (version, 8, false),
        (Vec::new(), 0, false),
        (b"not a trace".to_vec(), 0, false),
    ] {
        let output = on_trace(&bytes, &["events"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains(&format!("t.mremap: offset {offset}: ")), "{output:?}");
        assert_eq!(stdout(&output).contains("emulated"), readable, "{output:?}");
    }
}

#[test]
fn hostile_bytes_never_end_in_a_panic() {
    let whole = trace_bytes();
    let mut state = 1u64;
    for _ in 0..60 {
        let mut bytes = whole.clone();
        for _ in 0..40 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let place = if state & 1 << 60 == 0 {
                40..layout::HEADER_SIZE
            } else {
                layout::HEADER_SIZE..bytes.len()
            };
            let at = place.start + (state >> 20) as usize % place.len();
            bytes[at] = (state >> 50) as u8;
        }
        for command in [&["report"][..], &["events"], &["show", "--event", "1"]] {
            let output = on_trace(&bytes, command);
            assert!(matches!(output.status.code(), Some(0 | 2)), "{command:?}: {output:?}");
            assert!(!stderr(&output).contains("panicked"), "{command:?}: {output:?}");
        }
    }
}

#[test]
fn run_refuses_what_cannot_be_reached_and_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let elf32 = file(directory.path(), "elf32", b"\x7fELF\x01\x01\x01");
    let plain = file(directory.path(), "plain", b"hello");
    for path in [&elf32, &plain] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, mode).expect("made executable");
    }
    let setuid = file(directory.path(), "setuid", &fs::read("/bin/true").expect("/bin/true"));
    fs::set_permissions(&setuid, std::os::unix::fs::PermissionsExt::from_mode(0o4755))
        .expect("made setuid");
    let unexecutable = file(directory.path(), "unexecutable", b"#!/bin/sh\n");
    for (program, why, status) in [
        (elf32.to_str(), "32-bit", 126),
        (plain.to_str(), "neither an ELF program nor a script", 126),
        (setuid.to_str(), "setuid", 126),
        (unexecutable.to_str(), "not executable", 126),
        (directory.path().to_str(), "a directory", 126),
        (Some("no-such-program-anywhere"), "not found in PATH", 127),
    ] {
        let output = analyzer(&["run", "--", program.expect("a path of text")]);
        assert_eq!(output.status.code(), Some(status), "{why}: {output:?}");
        assert!(stderr(&output).contains(why), "{why}: {output:?}");
    }
}
