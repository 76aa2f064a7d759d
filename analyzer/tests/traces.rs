//! What the commands print of traces made with the encoder, whole and damaged.
#![allow(missing_docs)]

use std::process::{Command, Output};

use common::*;
use mremap_trace::layout::{self, CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE};
use mremap_trace::{ChunkHeader, ClaimWord, Header, Keep, Outcome, Record, Stack, Summary, Under};
use tempfile::TempDir;

mod common;

#[test]
fn reports_the_process_its_calls_and_why_they_failed() {
    let (_directory, file) = sample_file();
    let output = analyzer(&["report", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = stdout(&output);
    for expected in [
        "/usr/bin/mover (pid 42) on here: mover --fast",
        "kernel 6.1.0-test; multi-VMA moves: emulated, this kernel lacks them",
        "mode auto, VMA source auto, detail calls, trace of 64 MiB (keeps the first calls)",
        "shim: watch out",
        "emulated",
        "52 KiB",
        "1 x EFAULT",
        "mover+0x2234",
    ] {
        assert!(report.contains(expected), "{expected:?} is missing in:\n{report}");
    }
}

#[test]
fn reports_the_same_numbers_as_json() {
    let (_directory, file) = sample_file();
    let output = analyzer(&["report", "--json", &file]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["calls"], 2);
    assert_eq!(report["moves"]["bytes"], 13 * PAGE);
    assert_eq!(report["failures"][0]["errno"], "EFAULT");
    assert_eq!(report["processes"][0]["kernel_moves_several_vmas"], false);
}

#[test]
fn filters_events_and_writes_addresses_in_hexadecimal() {
    let (_directory, file) = sample_file();
    let output = analyzer(&["events", "--json", "--outcome", "emulated", &file]);
    let lines = stdout(&output);
    assert_eq!(lines.lines().count(), 1);
    let event: serde_json::Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(event["old"], "0x7f0000000000");
    assert_eq!(event["tid"], 77);
    assert_eq!(event["site"], "mover+0x2234");
    assert_eq!(event["gap_list"][0]["under"], "mapped");
    assert_eq!(event["part_list"][1]["target"], "0x7f100000e000");

    for (filter, value, count) in [
        ("--errno", "EFAULT", 1),
        ("--errno", "14", 1),
        ("--tid", "77", 2),
        ("--tid", "78", 0),
        ("--min-len", "8192", 1),
        ("--addr", "0x7f0000002000", 1),
        ("--addr", "0x10", 0),
    ] {
        let output = analyzer(&["events", filter, value, &file]);
        assert_eq!(stdout(&output).lines().count(), count, "{filter} {value}");
        assert_eq!(output.status.code(), Some(i32::from(count == 0)), "{filter} {value}");
    }
}

#[test]
fn draws_parts_gaps_and_kept_mappings() {
    let (_directory, file) = sample_file();
    let output = analyzer(&["show", "--event", "1", "--ascii", "--width", "64", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let picture = stdout(&output);
    for expected in [
        "|          A           |",
        "|          A'          |###### kept ######|  B'   |   | C' |",
        "0x7f100000e000",
        "0x7f1000012000",
        "target mapped, kept",
        "rw-p",
    ] {
        assert!(picture.contains(expected), "{expected:?} is missing in:\n{picture}");
    }
    let unicode = stdout(&analyzer(&["show", "--event", "1", &file]));
    assert!(unicode.contains('┌') && unicode.contains('░'), "{unicode}");
}

#[test]
fn draws_where_a_partial_move_stopped() {
    let directory = TempDir::new().unwrap();
    let records = [call(Outcome::Emulated, 3_000, 20, -1), part(1, 0, 8, 0), part(1, 8, 12, 1)];
    let path = write(&directory, "p.mremap", &trace_bytes(&header(1, 1), &records));
    let picture = stdout(&analyzer(&["show", "--event", "1", "--ascii", path.to_str().unwrap()]));
    for expected in ["B!", "NOT MOVED: EPERM", "not reached", "????"] {
        assert!(picture.contains(expected), "{expected:?} is missing in:\n{picture}");
    }
}

#[test]
fn draws_a_thousand_parts_within_the_columns() {
    let directory = TempDir::new().unwrap();
    let mut records = vec![call(Outcome::Emulated, 3_000, 2_000, NEW as i64)];
    for number in 0..1_000 {
        records.push(part(1, number * 2, number * 2 + 1, 0));
        records.push(gap(1, number * 2 + 1, number * 2 + 2, Under::Empty));
    }
    let chunks = records.len().div_ceil(63) as u32;
    let path = write(&directory, "m.mremap", &trace_bytes(&header(1, chunks), &records));
    let output = analyzer(&["show", "--event", "1", path.to_str().unwrap()]);
    let picture = stdout(&output);
    assert!(picture.contains("more parts, "), "{picture}");
    let boxes = picture.lines().take_while(|line| !line.contains("one column"));
    assert!(boxes.skip(1).all(|line| line.chars().count() <= 80), "{picture}");
}

#[test]
fn refuses_an_event_number_that_does_not_exist() {
    let (_directory, file) = sample_file();
    for number in ["0", "3"] {
        let output = analyzer(&["show", "--event", number, &file]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("the traces have 2"), "{}", stderr(&output));
    }
}

#[test]
fn reports_damage_with_its_offset_and_reads_the_rest() {
    let whole = trace_bytes(&header(42, 1), &sample());
    let tag_of = |slot: usize| HEADER_SIZE + slot * SLOT_SIZE + 63;
    let mut torn = whole.clone();
    torn[tag_of(12)] = 0;
    let mut unknown = whole.clone();
    unknown[tag_of(12)] = 200;
    let truncated = whole[..HEADER_SIZE + 6 * SLOT_SIZE + 10].to_vec();
    let mut overstated = trace_bytes(&header(42, u32::MAX), &sample());
    overstated[32..40].fill(0xff);
    let mut version = whole.clone();
    version[8] = 9;
    for (name, bytes, offset, calls) in [
        ("torn", torn, HEADER_SIZE + 12 * SLOT_SIZE, Some(1)),
        ("unknown", unknown, HEADER_SIZE + 12 * SLOT_SIZE, Some(1)),
        ("truncated", truncated, HEADER_SIZE + 6 * SLOT_SIZE + 10, Some(1)),
        ("overstated", overstated, HEADER_SIZE + CHUNK_SIZE, Some(2)),
        ("version", version, 8, None),
        ("empty", Vec::new(), 0, None),
        ("garbage", b"no trace at all".to_vec(), 0, None),
        ("header", whole[..100].to_vec(), 100, None),
    ] {
        let directory = TempDir::new().unwrap();
        let path = write(&directory, "d.mremap", &bytes);
        let output = analyzer(&["events", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let expected = format!("mremap-analyzer: {}: offset {offset}: ", path.display());
        assert!(stderr(&output).contains(&expected), "{name}: {}", stderr(&output));
        assert_eq!(stdout(&output).lines().count(), calls.unwrap_or(0), "{name}");
    }
}

/// Threads 1 to 3 share the first chunk, where thread 1's move is interrupted by calls of others.
/// Its second part and the summary are in a chunk of its own.
#[test]
fn reads_chunks_that_threads_share() {
    let resize = |ticks| call(Outcome::PassedThrough, ticks, 1, 0x1000);
    let stack = |of| Record::Stack(Stack { call: of, first: 1, count: 1, frames: [of.into(); 6] });
    let shared = vec![
        Record::Thread(1),
        call(Outcome::Emulated, 3_000, 20, NEW as i64),
        Record::Thread(2),
        resize(3_100),
        Record::Thread(3),
        resize(3_200),
        Record::Thread(1),
        part(2, 0, 8, 0),
        Record::Thread(2),
        stack(4),
    ];
    let summary = Summary { call: 2, parts: 2, bytes: 10 * PAGE, ..Summary::default() };
    let own = vec![part(2, 18, 20, 0), Record::Summary(summary), stack(2), resize(3_300)];
    let mut bytes = trace_of_threads(&header(42, 2), &[(9, shared), (1, own)]);
    bytes[layout::header::VERSION] = layout::VERSION_SHARED as u8;
    // A thread takes a chunk of its own later.
    let claims = HEADER_SIZE + CHUNK_SIZE + layout::chunk::CLAIMS;
    bytes[claims..claims + 8].copy_from_slice(&ClaimWord::new(1, 5).0.to_ne_bytes());
    let directory = TempDir::new().unwrap();
    let path = write(&directory, "shared.mremap", &bytes);
    let file = path.to_str().unwrap();

    for follow in [&[][..], &["--follow"]] {
        let events = analyzer(&[&["events", "--json", file], follow].concat());
        let read = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let events: Vec<_> = stdout(&events).lines().map(read).collect();
        let tids: Vec<_> = events.iter().map(|event| &event["tid"]).collect();
        assert_eq!(tids, [1, 2, 3, 1], "{follow:?}");
        assert_eq!(events[0]["parts"], 2, "{follow:?}: {}", events[0]);
        let frames = |event: &serde_json::Value| event["stack"].as_array().map_or(0, Vec::len);
        let stacks = if follow.is_empty() { [1, 1, 0, 0] } else { [0; 4] };
        assert_eq!(events.iter().map(frames).collect::<Vec<_>>(), stacks);
        assert_eq!(events[0]["part_list"].as_array().map(Vec::len), Some(2), "{follow:?}");
    }
    let report = analyzer(&["report", "--json", file]);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!((&report["calls"], &report["moves"]["bytes"]), (&4.into(), &(10 * PAGE).into()));
    let one = stdout(&analyzer(&["report", "--json", "--tid", "1", file]));
    let one: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!((&one["calls"], &one["moves"]["bytes"]), (&2.into(), &(10 * PAGE).into()));
}

/// A process killed while it gave up its oldest chunk: each of that chunk's two calls is shown or
/// counted.
#[test]
fn reads_a_closed_chunk_and_counts_a_void_one() {
    let header = Header { keep: Some(Keep::Last), lost_overwritten: 4, ..header(42, 1) };
    let calls = [
        call(Outcome::PassedThrough, 1_500, 1, 0x1000),
        call(Outcome::PassedThrough, 1_600, 1, 0x1000),
    ];
    for (added, kept, overwritten) in
        [(0, 2, 5), (ClaimWord::CLOSED, 2, 5), (ClaimWord::VOID, 0, 7)]
    {
        let mut bytes = trace_bytes(&header, &calls);
        ChunkHeader {
            tid: 77,
            claimed: added + 3,
            overwritten: 5,
            overwritten_next: 7,
            ..ChunkHeader::default()
        }
        .encode(&mut bytes[HEADER_SIZE..]);
        let directory = TempDir::new().unwrap();
        let path = write(&directory, "killed.mremap", &bytes);
        let output = analyzer(&["report", "--json", path.to_str().unwrap()]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["calls"], kept);
        assert_eq!(report["processes"][0]["lost_overwritten"], overwritten);
    }
}

#[test]
fn ignores_a_trace_without_a_header_beside_others() {
    let directory = TempDir::new().unwrap();
    let alone = write(&directory, "z.mremap", &vec![0; HEADER_SIZE + CHUNK_SIZE]);
    let output = analyzer(&["report", alone.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("offset 0: the trace has no header yet"),
        "{}",
        stderr(&output)
    );
    write(&directory, "a.mremap", &trace_bytes(&header(42, 1), &sample()));
    let output = analyzer(&["report", directory.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("1 file of processes that ended before their trace was open"));
}

#[test]
fn never_panics_on_damaged_chunks() {
    let whole = trace_bytes(&header(42, 1), &sample());
    let directory = TempDir::new().unwrap();
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    for round in 0..40 {
        let mut bytes = whole.clone();
        for _ in 0..200 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = HEADER_SIZE + (random >> 33) as usize % CHUNK_SIZE;
            bytes[at] = (random >> 20) as u8;
        }
        let path = write(&directory, "r.mremap", &bytes);
        let path = path.to_str().unwrap();
        for arguments in [&["report", path][..], &["show", "--event", "1", path]] {
            let code = analyzer(arguments).status.code();
            assert!(matches!(code, Some(0 | 2)), "round {round}: {code:?}");
        }
    }
}

#[test]
fn numbers_events_of_several_processes_by_time() {
    let directory = TempDir::new().unwrap();
    write(&directory, "b.mremap", &trace_bytes(&header(42, 1), &sample()));
    write(&directory, "a.mremap", &trace_bytes(&header(43, 1), &sample()));
    let output = analyzer(&["events", "--json", directory.path().to_str().unwrap()]);
    let seen: Vec<(u64, u64)> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|event| (event["event"].as_u64().unwrap(), event["pid"].as_u64().unwrap()))
        .collect();
    assert_eq!(seen, [(1, 42), (2, 43), (3, 42), (4, 43)]);
}

#[test]
fn fails_without_a_trace() {
    let directory = TempDir::new().unwrap();
    for path in [directory.path(), &directory.path().join("absent")] {
        let output = analyzer(&["report", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(path.to_str().unwrap()));
    }
}

fn calls_in(report: &Output) -> u64 {
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("JSON");
    report["calls"].as_u64().expect("a number")
}

#[test]
fn reads_what_can_be_opened_and_reports_the_rest() {
    let (directory, _) = sample_file();
    let missing = directory.path().join("dangling.mremap");
    std::os::unix::fs::symlink("/no/such/trace", &missing).unwrap();
    let fifo = directory.path().join("fifo.mremap");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    let output = analyzer(&["report", "--json", directory.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(calls_in(&output), 2);
    for (path, why) in [
        (&missing, "cannot be opened: No such file or directory (ENOENT)"),
        (&fifo, "cannot be opened: not a regular file"),
    ] {
        let expected = format!("{}: offset 0: {why}", path.display());
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    }
}

#[test]
fn counts_a_trace_given_twice_once() {
    let (directory, file) = sample_file();
    let link = directory.path().join("again.mremap");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let twice = format!("{}/./a.mremap", directory.path().display());
    let directory = directory.path().to_str().unwrap();
    let output = analyzer(&["report", "--json", &file, directory, &twice]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(calls_in(&output), 2);
}

#[test]
fn reads_more_traces_than_files_can_be_open() {
    let directory = TempDir::new().unwrap();
    for number in 0..200 {
        let bytes = trace_bytes(&header(number, 1), &sample());
        write(&directory, &format!("{number}.mremap"), &bytes);
    }
    for (soft, hard) in [(80, 4096), (80, 80)] {
        let limits = format!("ulimit -S -n {soft}; ulimit -H -n {hard}; exec \"$@\"");
        for command in ["report --json", "events --json", "check --json"] {
            let mut shell = Command::new("sh");
            shell.args(["-c", &limits, "sh", env!("CARGO_BIN_EXE_mremap-analyzer")]);
            let output = shell.args(command.split(' ')).arg(directory.path()).output().unwrap();
            assert_ne!(output.status.code(), Some(2), "{command}: {}", stderr(&output));
            if command.starts_with("report") {
                assert_eq!(calls_in(&output), 400);
            }
        }
    }
}
