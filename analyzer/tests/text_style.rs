//! Text output fits 80 and 200 columns, is ASCII in an ASCII locale, has no colours in a pipe, and
//! no control characters from a trace.
#![allow(missing_docs)]

use std::process::{Command, Output};

use common::*;
use mremap_trace::{Call, Header, HeaderText, Message, Outcome, Record};
use tempfile::TempDir;

mod common;

fn rendered(columns: usize, locale: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mremap-analyzer"))
        .args(arguments)
        .env("COLUMNS", columns.to_string())
        .env("LC_ALL", locale)
        .env_remove("RUST_LOG")
        .output()
        .expect("the analyzer starts")
}

/// Failures of several kinds, moves, growths; two threads.
fn varied_file() -> (TempDir, String) {
    let fails = |ticks: u64, errno: i64, flags: u32| {
        let call = made(Outcome::PassedThrough, ticks, 1, -errno);
        let new_len = call.new_len * 1000;
        Record::Call(Call { flags, new_len, ..call })
    };
    let mut records = sample();
    records.extend([
        fails(5_000, 12, 0),
        fails(6_000, 12, 1),
        fails(7_000, 14, 1),
        fails(8_000, 22, 9),
    ]);
    let grow = |step: u64| {
        let call = made(Outcome::PassedThrough, 9_000 + step, step, OLD as i64);
        let new_len = call.old_len + PAGE;
        Record::Call(Call { flags: 1, new_len, ..call })
    };
    let threads = [(77, records), (123_456, (1..40).map(grow).collect())];
    let directory = TempDir::new().unwrap();
    let path = write(&directory, "v.mremap", &trace_of_threads(&header(42, 2), &threads));
    (directory, path.display().to_string())
}

#[test]
fn output_fits_the_columns_and_the_locale() {
    let (_a, file) = varied_file();
    let (_b, other) = sample_file();
    let pages: [&[&str]; 5] = [
        &["report", &file, &other],
        &["report", "--sort", "failures", "--top", "3", &file],
        &["check", &file],
        &["diff", &file, &other],
        &["doctor", "/no/such/program"],
    ];
    for columns in [80, 200] {
        for arguments in pages {
            let output = rendered(columns, "C", arguments);
            let text = stdout(&output);
            assert!(text.lines().count() > 5, "{arguments:?}: {output:?}");
            // A path is not shortened, so that it can be copied.
            let prose = text.lines().filter(|line| !line.contains('/'));
            for line in prose {
                assert!(
                    line.len() <= columns,
                    "{arguments:?} at {columns}: {} in\n{text}",
                    line.len()
                );
            }
            assert!(text.is_ascii(), "{arguments:?}:\n{text}");
            assert!(!text.contains('\x1b'), "{arguments:?}: colours in a pipe");
        }
    }
    let picture = stdout(&rendered(60, "C", &["show", &file, "--event", "1"]));
    let boxes = picture.lines().skip(2).take(10);
    assert!(boxes.clone().count() == 10 && picture.is_ascii(), "{picture}");
    assert!(boxes.into_iter().all(|line| line.len() <= 60), "{picture}");
}

#[test]
fn a_trace_cannot_send_control_characters_to_the_terminal() {
    let mut records = sample();
    let Record::Text(path) = &mut records[1] else { panic!() };
    path[..5].copy_from_slice(b"/\x1b[2J");
    let Record::Text(message) = &mut records[3] else { panic!() };
    message[..4].copy_from_slice(b"\x1b]0;");
    assert!(matches!(records[2], Record::Message(Message { text_len: 9, .. })));
    let mut bytes = trace_bytes(&header(42, 1), &records);
    let text = HeaderText {
        exe: b"/bin/\x1b[31mred",
        argv: b"\x1b[Hhome\0a\nb\0",
        host: b"\x07bell",
        kernel: b"6\r",
        shim_version: b"0",
    };
    Header::encode(&header(42, 1), &text, &mut bytes);
    let directory = TempDir::new().unwrap();
    let path = write(&directory, "e.mremap", &bytes).display().to_string();
    for command in [
        &["report", &path][..],
        &["events", &path],
        &["check", &path],
        &["show", &path, "--event", "1"],
        &["diff", &path, &path],
    ] {
        let text = stdout(&rendered(80, "C.UTF-8", command));
        let control = text.chars().find(|letter| letter.is_control() && *letter != '\n');
        assert_eq!(control, None, "{command:?}: {text:?}");
    }
    let report = stdout(&rendered(200, "C.UTF-8", &["report", &path]));
    assert!(report.contains("/bin/\\u{1b}[31mred") && report.contains("a\\nb"), "{report}");
}
