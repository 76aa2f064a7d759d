//! Findings, diffs, exports, symbols, and traces that are growing, sparse or huge.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::*;
use mremap_trace::layout::{self, CHUNK_SIZE};
use mremap_trace::{Call, FoundBy, Outcome, Record, Under};
use tempfile::TempDir;

mod common;

fn kinds(report: &serde_json::Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

#[test]
fn check_verifies_an_emulated_move_and_reports_needs_6_17() {
    let (_directory, file) = sample_file();
    let output = analyzer(&["check", "--json", &file]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let report = json(&output);
    assert_eq!(kinds(&report), ["needs-6.17", "native-unseen"]);
    assert_eq!(report["conforming"], 1);
    let text = stdout(&analyzer(&["check", &file]));
    assert!(text.contains("a move of 80 KiB over 3 VMAs and 2 gaps"), "{text}");
}

#[test]
fn check_reports_a_part_moved_wrongly() {
    let mut records = sample();
    records[7] = part(5, 14, 16, 0);
    let Record::Summary(summary) = &mut records[10] else { panic!() };
    summary.bytes -= PAGE;
    let (_directory, file) = trace(&records);
    let output = analyzer(&["check", "--json", &file]);
    assert!(kinds(&json(&output)).contains(&"nonconforming"), "{}", stdout(&output));
}

#[test]
fn check_is_clean_on_one_vma_and_cannot_say_without_vmas() {
    let (_directory, file) = trace(&[call(Outcome::OneVma, 3_000, 4, NEW as i64)]);
    let output = analyzer(&["check", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let (_directory, file) = trace(&[call(Outcome::Native, 3_000, 4, NEW as i64)]);
    let output = analyzer(&["check", "--json", &file]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert_eq!(kinds(&json(&output)), ["native-unseen"]);
}

#[test]
fn check_reports_the_use_of_a_failed_result() {
    let failed = made(Outcome::PassedThrough, 3_000, 4, -12);
    let used = Call { ticks: 9_000, old: u64::MAX, result: -22, ..failed };
    let (_directory, file) = trace(&[Record::Call(failed), Record::Call(used)]);
    let report = json(&analyzer(&["check", "--json", &file]));
    assert!(kinds(&report).contains(&"failed-and-used"), "{report}");
}

#[test]
fn check_reports_a_partial_move() {
    let records = [call(Outcome::Emulated, 3_000, 20, -1), part(1, 0, 8, 0), part(1, 8, 12, 1)];
    let (_directory, file) = trace(&records);
    let report = json(&analyzer(&["check", "--json", &file]));
    assert!(kinds(&report).contains(&"partial-move"), "{report}");
}

#[test]
fn diff_distinguishes_equal_runs_from_different_ones() {
    let (_a, before) = sample_file();
    let (_b, same) = sample_file();
    assert_eq!(analyzer(&["diff", &before, &same]).status.code(), Some(0));
    let mut records = sample();
    records.pop();
    let (_c, after) = trace(&records);
    let output = analyzer(&["diff", "--json", &before, &after]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let report = json(&output);
    assert_eq!(report["failures"][0]["name"], "EFAULT");
    assert_eq!(report["failures"][0]["after"], 0);
    assert!(stdout(&analyzer(&["diff", &before, &after])).contains("mover+0x2234"));
}

/// A trace of `calls` calls that took `duration` nanoseconds each.
fn trace_of_calls(calls: u64, duration: u64) -> (TempDir, String) {
    let records: Vec<Record> = (0..calls)
        .map(|at| {
            let call = made(Outcome::PassedThrough, 3_000 + at, 1, NEW as i64);
            Record::Call(Call { duration: duration + at % 7, ..call })
        })
        .collect();
    trace(&records)
}

#[test]
fn diff_goes_by_total_time_before_latency() {
    let (many, few) = (trace_of_calls(1_998, 2_900), trace_of_calls(11, 10_800));
    let report = json(&analyzer(&["diff", "--json", &many.1, &few.1]));
    assert_eq!(
        (&report["verdict"], &report["sites"][0]["change"]),
        (&"faster".into(), &"faster".into())
    );
    assert_eq!(report["total"]["after"]["calls"], 11);
    let text = stdout(&analyzer(&["diff", &many.1, &few.1]));
    assert!(text.starts_with("B is faster") && text.contains("-99.4 %"), "{text}");
    let report = json(&analyzer(&["diff", "--json", &few.1, &many.1]));
    assert_eq!(report["verdict"], "slower");
    // More calls that take no more time are no regression.
    let (more, fewer) = (trace_of_calls(200, 1_000), trace_of_calls(100, 2_000));
    let report = json(&analyzer(&["diff", "--json", &fewer.1, &more.1]));
    assert_eq!(
        (&report["verdict"], &report["sites"][0]["change"]),
        (&"different".into(), &"other count".into())
    );
}

#[test]
fn diff_of_several_runs_compares_medians_beyond_their_spread() {
    let runs = |durations: [u64; 3]| durations.map(|duration| trace_of_calls(100, duration));
    let paths = |runs: &[(TempDir, String); 3]| runs.each_ref().map(|(_, path)| path.clone());
    let base = runs([1_000, 1_200, 1_100]);
    let [a1, a2, a3] = paths(&base);
    for (durations, verdict, status) in [
        ([1_400, 1_300, 1_350], "slower", 1),
        ([1_190, 1_500, 1_600], "same", 0),
        ([1_210, 1_205, 1_206], "same", 0),
    ] {
        let after = runs(durations);
        let [b1, b2, b3] = paths(&after);
        let arguments = ["diff", "--json", "--a", &a1, &a2, &a3, "--b", &b1, &b2, &b3];
        let output = analyzer(&arguments);
        let report = json(&output);
        assert_eq!(report["verdict"], verdict, "{durations:?}: {report}");
        assert_eq!(output.status.code(), Some(status), "{durations:?}");
        assert_eq!(report["total"]["before"]["runs"], 3);
    }
    let after = runs([1_210, 1_205, 1_206]);
    let [b1, b2, b3] = paths(&after);
    let arguments = ["diff", "--tolerance", "5%", "--a", &a1, &a2, &a3, "--b", &b1, &b2, &b3];
    assert_eq!(analyzer(&arguments).status.code(), Some(1));
}

#[test]
fn diff_matches_call_sites_of_a_rebuilt_library_by_function() {
    let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (path_a, id_a, offset_a) = library(&old, "");
    let (path_b, id_b, offset_b) =
        library(&new, "/* one line more */\nint first(void) { return 1; }\n");
    assert!(id_a != id_b);
    let (_a, before) = trace_of_library(&path_a, &id_a, offset_a, 10);
    let (_b, after) = trace_of_library(&path_b, &id_b, offset_b, 20);
    let report = json(&analyzer(&["diff", "--json", &before, &after]));
    assert_eq!(report["sites"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["sites"][0]["before"]["calls"], 10);
    assert!(report["sites"][0]["site"].as_str().unwrap().starts_with("grow_pool (grow.c:"));
    assert_eq!(report["notes"], serde_json::json!([]));
    // Without names, offsets of different builds say nothing.
    let report = json(&analyzer(&["diff", "--json", "--no-symbols", &before, &after]));
    let changes = ["new", "gone"].map(|change| {
        report["sites"].as_array().unwrap().iter().filter(|site| site["change"] == change).count()
    });
    assert_eq!(changes, [1, 1], "{report}");
    assert!(report["notes"][0].as_str().unwrap().contains("libgrow.so"), "{report}");
}

#[test]
fn diff_prints_both_weights_of_each_stack() {
    let (many, few) = (trace_of_calls(3, 1_000), trace_of_calls(2, 1_000));
    let output = analyzer(&["diff", "--folded", "calls", &many.1, &few.1]);
    assert_eq!(stdout(&output), "mover;0x555500001234 3 2\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn stream_formats_can_be_read_back() {
    let (_directory, file) = sample_file();
    let export = |format: &str| stdout(&analyzer(&["export", "--format", format, &file]));
    let lines = export("jsonl");
    assert_eq!(lines, stdout(&analyzer(&["events", "--json", &file])));
    let text = export("csv");
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let columns = rows.headers().unwrap().clone();
    let moved = columns.iter().position(|name| name == "bytes_moved").unwrap();
    let rows: Vec<_> = rows.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), &rows[0][moved]), (2, "53248"));
    let chrome: serde_json::Value = serde_json::from_str(&export("chrome")).unwrap();
    assert_eq!(chrome["traceEvents"].as_array().unwrap().len(), 3);
    assert_eq!(export("folded"), "mover;mover+0x2234 2\n");
    let time = analyzer(&["export", "--format", "folded", "--weight", "time", &file]);
    assert_eq!(stdout(&time), "mover;mover+0x2234 3000\n");
}

#[test]
fn reports_an_unusable_output_before_reading_traces() {
    let output = analyzer(&["export", "--format", "csv", "-o", "/no/such/place", "/no/such/trace"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/no/such/place: cannot be written"));
    let output = analyzer(&["export", "--format", "ctf", "/no/such/trace"]);
    assert!(stderr(&output).contains("--output DIRECTORY"), "{}", stderr(&output));
}

#[test]
fn a_closed_pipe_changes_no_status() {
    let few = trace_of_calls(10, 1_500);
    let records: Vec<Record> = (0..20_000)
        .map(|number| call(Outcome::PassedThrough, 3_000 + number, 1, NEW as i64))
        .collect();
    let (_directory, file) = trace(&records);
    for (arguments, status) in [
        (&["export", "--format", "jsonl", &file][..], 0),
        (&["events", &file], 0),
        (&["diff", &file, &few.1], 1),
        (&["diff", &file, &file], 0),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mremap-analyzer"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(status), "{arguments:?}");
    }
}

#[test]
fn growth_chains_show_what_doubling_saves() {
    let records: Vec<Record> = (1..=64)
        .map(|pages| {
            Record::Call(Call {
                outcome: Outcome::PassedThrough,
                ticks: 3_000 + pages,
                duration: 1_000,
                old: OLD,
                old_len: pages * PAGE,
                new_len: (pages + 1) * PAGE,
                flags: 1,
                new: 0,
                result: OLD as i64,
                caller: 0x5555_0000_1234,
            })
        })
        .collect();
    let (_directory, file) = trace(&records);
    let report = json(&analyzer(&["report", "--json", &file]));
    let chain = &report["chains"][0];
    assert_eq!((&chain["growths"], &chain["growths_by_doubling"]), (&64.into(), &7.into()));
    assert_eq!(chain["time_saved_by_doubling_ns"], 57_000);
    assert_eq!(report["placement"]["grown_in_place"], 64);
    let text = stdout(&analyzer(&["report", &file]));
    let row = text.lines().skip_while(|line| !line.starts_with("Growth chains")).nth(2).unwrap();
    assert!(row.ends_with("64      0  4.0 KiB  260.0 KiB  7 calls  57.0 us"), "{row}");
}

#[test]
fn every_output_names_the_errno_of_a_failed_call() {
    let (directory, file) = sample_file();
    let in_directory = |name: &str| directory.path().join(name).display().to_string();
    let [page, ctf, pack] = ["x.html", "ctf", "x.mremapz"].map(in_directory);
    let [failed, other] = [-14, -12].map(|it| trace(&[call(Outcome::PassedThrough, 3, 1, it)]));
    assert!(analyzer(&["pack", "-o", &pack, &file]).status.success());
    for (command, written) in [
        (&["report", &file][..], None),
        (&["report", "--json", &file], None),
        (&["events", &file], None),
        (&["events", "--json", &file], None),
        (&["events", "--follow", &file], None),
        (&["events", "--errno", "EFAULT", &file], None),
        (&["events", &pack], None),
        (&["show", "--event", "2", &file], None),
        (&["diff", &failed.1, &other.1], None),
        (&["diff", "--json", &failed.1, &other.1], None),
        (&["export", "--format", "csv", &file], None),
        (&["export", "--format", "chrome", &file], None),
        (&["html", "-o", &page, &file], Some(page.clone())),
        (&["export", "--format", "ctf", "-o", &ctf, &file], Some(ctf.clone())),
    ] {
        let mut text = stdout(&analyzer(command));
        if let Some(written) = written {
            let files: Vec<PathBuf> = if Path::new(&written).is_dir() {
                fs::read_dir(written).unwrap().map(|it| it.unwrap().path()).collect()
            } else {
                vec![written.into()]
            };
            let texts = files.iter().map(|file| fs::read(file).unwrap());
            text = texts.map(|it| String::from_utf8_lossy(&it).into_owned()).collect();
        }
        assert!(text.contains("EFAULT"), "{command:?}: {text}");
    }
}

/// Calls of two sites, each `(calls, duration)`.
fn trace_of_two_sites(sites: [(u64, u64); 2]) -> (TempDir, String) {
    let calls = sites.iter().zip([0x5555_0000_1234, 0x5555_0000_5678]);
    let calls = calls.flat_map(|(&(calls, duration), caller)| {
        (0..calls).map(move |at| {
            // The first call is slow.
            let duration = if at == 0 { duration } else { 1_000 };
            let made = made(Outcome::PassedThrough, 3_000 + at, 1, NEW as i64);
            Record::Call(Call { duration, caller, ..made })
        })
    });
    let mut records = sample()[..2].to_vec();
    records.extend(calls);
    trace(&records)
}

#[test]
fn diff_does_not_take_one_slow_call_of_a_single_run_for_a_change() {
    // One call of the first site was slow; the second makes fewer calls.
    let before = trace_of_two_sites([(50, 4_000_000), (40, 1_000)]);
    let after = trace_of_two_sites([(50, 1_000), (6, 1_000)]);
    let report = json(&analyzer(&["diff", "--json", &before.1, &after.1]));
    assert_eq!(report["verdict"], "different", "{report}");
    assert_eq!(report["total"]["change"], "other count", "{report}");
    assert_eq!(report["sites"].as_array().unwrap().len(), 1, "{report}");
    let text = stdout(&analyzer(&["diff", &before.1, &after.1]));
    assert!(text.contains("the change of total time may be noise"), "{text}");
}

/// Successful resizes and a native move: those of a service that emulates nothing.
fn native_calls() -> Vec<Record> {
    let resize = |ticks: u64, old_pages: u64, new_pages: u64, result: u64| {
        let call = made(Outcome::PassedThrough, ticks, old_pages, result as i64);
        Record::Call(Call { flags: 1, new: 0xbad, new_len: new_pages * PAGE, ..call })
    };
    vec![
        resize(3_000, 1, 5, OLD),
        resize(3_100, 5, 7, NEW),
        resize(3_200, 7, 3, NEW),
        call(Outcome::Native, 3_300, 20, NEW as i64),
        call(Outcome::PassedThrough, 3_400, 20, -14),
    ]
}

#[test]
fn report_counts_relocated_and_grown_bytes_of_calls_that_are_not_emulated() {
    let (_directory, file) = trace(&native_calls());
    let report = json(&analyzer(&["report", "--json", &file]));
    let (relocated, grown) = ((5 + 3 + 20) * PAGE, 4 * PAGE);
    for totals in [&report, &report["sites"][0], &report["processes"][0]] {
        assert_eq!(totals["bytes_relocated"], relocated, "{totals}");
        assert_eq!(totals["bytes_grown_in_place"], grown, "{totals}");
        assert_eq!(totals["bytes_requested"], (5 + 7 + 7 + 20) * PAGE, "{totals}");
    }
    let text = stdout(&analyzer(&["report", &file]));
    assert!(text.contains("112 KiB relocated, 16 KiB grown in place; 156 KiB requested"), "{text}");
}

#[test]
fn a_moves_recorded_parts_correct_its_relocated_bytes() {
    let (_directory, file) = sample_file();
    let report = json(&analyzer(&["report", "--json", &file]));
    for totals in [&report, &report["sites"][0], &report["processes"][0]["threads"][0]] {
        assert_eq!(totals["bytes_relocated"], 13 * PAGE, "{totals}");
        assert_eq!(totals["bytes_requested"], 20 * PAGE, "{totals}");
    }
}

#[test]
fn a_summary_whose_call_was_overwritten_counts_no_move() {
    let summary = Record::Summary(mremap_trace::Summary {
        call: 1,
        parts: 2,
        bytes: 2 * PAGE,
        ..Default::default()
    });
    let newer = call(Outcome::PassedThrough, 9_000, 1, NEW as i64);
    for (number, moves) in [(7, 0), (1, 1)] {
        let mut bytes = trace_of_threads(
            &mremap_trace::Header { keep: Some(mremap_trace::Keep::Last), ..header(42, 2) },
            &[(77, vec![newer]), (77, vec![summary])],
        );
        for (chunk, number) in [number, 2].into_iter().enumerate() {
            let claims = layout::HEADER_SIZE + chunk * CHUNK_SIZE + 8;
            bytes[claims + 4..claims + 8].copy_from_slice(&u32::to_ne_bytes(number));
        }
        let directory = TempDir::new().unwrap();
        let path = write(&directory, "ring.mremap", &bytes).display().to_string();
        let report = json(&analyzer(&["report", "--json", &path]));
        assert_eq!(report["moves"]["moves"], moves, "{report}");
    }
}

#[test]
fn the_fifth_argument_is_null_where_the_kernel_does_not_read_it() {
    let (_directory, file) = trace(&native_calls());
    let events = stdout(&analyzer(&["events", "--json", &file]));
    assert!(!events.contains("0xbad"), "{events}");
    assert_eq!(events.matches("\"new\":null").count(), 3, "{events}");
    let table = stdout(&analyzer(&["export", "--format", "csv", &file]));
    assert!(!table.contains("0xbad"), "{table}");
}

#[test]
fn events_count_time_from_the_first_trace_as_since_does() {
    let directory = TempDir::new().unwrap();
    let mut late = header(43, 1);
    late.realtime_ns += 2_000_000_000;
    let records = [call(Outcome::PassedThrough, 3_000, 1, NEW as i64)];
    for (name, header) in [("a.mremap", header(42, 1)), ("b.mremap", late)] {
        write(&directory, name, &trace_bytes(&header, &records));
    }
    let path = directory.path().to_str().unwrap();
    let text = stdout(&analyzer(&["events", path]));
    let line = text.lines().last().unwrap();
    assert!(line.contains("+2.000002s"), "{text}");
    let later = stdout(&analyzer(&["events", "--since", "2s", path]));
    assert_eq!(later, format!("{line}\n"));
    let picture = stdout(&analyzer(&["show", path, "--event", "2"]));
    let both = [path.to_owned() + "/a.mremap", path.to_owned() + "/b.mremap"];
    let same = stdout(&analyzer(&["show", &both[0], &both[1], "--event", "2"]));
    assert!(picture.starts_with("event 2: ") && picture == same, "{same}");
}

#[test]
fn sizes_are_read_as_they_are_printed() {
    let (_directory, file) = sample_file();
    for size in ["8192", "8K", "8KiB", "8 KiB"] {
        let output = analyzer(&["events", "--min-len", size, &file]);
        assert_eq!(stdout(&output).lines().count(), 1, "{size}: {}", stderr(&output));
    }
}

#[test]
fn pid_restricts_losses_too() {
    let directory = TempDir::new().unwrap();
    for pid in [42, 43] {
        let header = mremap_trace::Header { lost_full: 7, ..header(pid, 1) };
        write(&directory, &format!("{pid}.mremap"), &trace_bytes(&header, &sample()));
    }
    let path = directory.path().to_str().unwrap();
    assert_eq!(stdout(&analyzer(&["report", path])).matches("NOT RECORDED").count(), 2);
    let text = stdout(&analyzer(&["report", "--pid", "43", path]));
    assert_eq!(
        (text.matches("NOT RECORDED").count(), text.contains("pid 42")),
        (1, false),
        "{text}"
    );
    let report = json(&analyzer(&["report", "--json", "--pid", "43", path]));
    assert_eq!(report["processes"].as_array().unwrap().len(), 1);
}

#[test]
fn site_filter_takes_the_names_that_a_report_prints() {
    let directory = TempDir::new().unwrap();
    let (path, id, offset) = library(&directory, "");
    let (_trace, file) = trace_of_library(&path, &id, offset, 3);
    let report = stdout(&analyzer(&["report", &file]));
    let at = report.find("grow_pool (grow.c:").unwrap();
    let name = &report[at..=at + report[at..].find(')').unwrap()];
    let shortened = format!("{}…{}", &name[..8], &name[name.len() - 4..]);
    for (site, calls) in [(name, 3), (&shortened, 3), ("grow…shrink", 0)] {
        let output = analyzer(&["report", "--json", "--site", site, &file]);
        assert_eq!(json(&output)["calls"], calls, "{site}");
    }
}

#[test]
fn report_says_when_call_sites_are_too_many() {
    let records: Vec<Record> = (0..8_200)
        .map(|at| {
            let made = made(Outcome::PassedThrough, 3_000 + at, 1, NEW as i64);
            Record::Call(Call { caller: made.caller + at, ..made })
        })
        .collect();
    let (_directory, file) = trace(&records);
    let text = stdout(&analyzer(&["report", &file]));
    assert!(text.contains("pid 42 calls from more than 8,192 addresses"), "{text}");
    let report = json(&analyzer(&["report", "--json", &file]));
    assert_eq!(report["pids_with_too_many_sites"], serde_json::json!([42]));
}

#[test]
fn filters_apply_to_the_report() {
    let (_directory, file) = sample_file();
    for (filter, calls) in [
        (&["--failed"][..], 1),
        (&["--outcome", "emulated,refused"], 1),
        (&["--site", "mover+0x2"], 2),
        (&["--site", "elsewhere"], 0),
        (&["--since", "2500ns"], 1),
        (&["--addr", "0x7f0000001000..0x7f0000002000"], 1),
    ] {
        let output = analyzer(&[&["report", "--json", &file], filter].concat());
        assert_eq!(json(&output)["calls"], calls, "{filter:?}");
    }
}

#[test]
fn an_unwritten_chunk_is_no_damage() {
    let directory = TempDir::new().unwrap();
    let mut bytes = trace_bytes(&header(42, 2), &sample());
    bytes.extend(vec![0; CHUNK_SIZE]);
    let path = write(&directory, "live.mremap", &bytes).display().to_string();
    let output = analyzer(&["report", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("1 chunk claimed and never written to"));
}

#[test]
fn skips_terabytes_of_holes() {
    let directory = TempDir::new().unwrap();
    let mut huge = header(42, u32::MAX);
    huge.capacity = 16 << 40;
    let path = write(&directory, "huge.mremap", &trace_bytes(&huge, &sample()));
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    if file.set_len(8 << 40).is_err() {
        eprintln!("SKIPPED: this file system has no files of 8 TiB");
        return;
    }
    let output = analyzer(&["report", "--json", path.to_str().unwrap()]);
    let report = json(&output);
    assert_eq!(report["calls"], 2);
    assert_eq!(report["processes"][0]["chunks_never_begun"], (8u64 << 40) / 4096 - 4 - 1);
}

#[test]
fn follow_prints_an_ended_trace_and_exits() {
    let (_directory, file) = sample_file();
    let output = analyzer(&["events", "--follow", "--json", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = stdout(&output);
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.contains("\"gaps\":2") && lines.contains("\"site\":\"mover+0x2234\""), "{lines}");
}

#[test]
fn show_draws_svg_and_names_split_vmas() {
    let mut records = sample();
    let Record::Part(first) = &mut records[5] else { panic!() };
    first.vma_start -= 2 * PAGE;
    let (_directory, file) = trace(&records);
    let svg = stdout(&analyzer(&["show", "--event", "1", "--svg", &file]));
    assert!(svg.starts_with("<svg") && svg.contains("kept") && svg.trim_end().ends_with("</svg>"));
    let text = stdout(&analyzer(&["show", "--event", "1", &file]));
    assert!(
        text.contains("split from VMA") && text.contains("8 KiB before it not moved"),
        "{text}"
    );
}

#[test]
fn every_help_has_examples_and_exit_statuses() {
    let attach: &[&str] = if cfg!(target_arch = "x86_64") { &["attach", "detach"] } else { &[] };
    let commands = [
        "run", "doctor", "report", "events", "show", "check", "diff", "export", "html", "top",
        "pack",
    ];
    for command in commands.iter().chain(attach).copied() {
        let help = stdout(&analyzer(&[command, "--help"]));
        assert!(help.contains("Examples:\n") && help.contains("Exit status:"), "{command}: {help}");
        assert!(stdout(&analyzer(&["man", command])).contains(".TH"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&analyzer(&["completions", shell])).contains("mremap-analyzer"), "{shell}");
    }
    for arguments in [["completions", "bash"], ["man", "report"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let status = Command::new(env!("CARGO_BIN_EXE_mremap-analyzer"))
            .args(arguments)
            .stdout(writer)
            .status();
        assert!(status.expect("it runs").success(), "{arguments:?} into a closed pipe");
    }
    let top = analyzer(&["top", "/"]);
    assert!(top.status.code() == Some(2) && stderr(&top).contains("events --follow"));
}

#[test]
fn run_forwards_signals_and_returns_the_status() {
    let directory = TempDir::new().unwrap();
    let library = write(&directory, "lib.so", b"").display().to_string();
    let ready = directory.path().join("ready");
    let script =
        format!("trap 'exit 9' TERM INT; touch {}; while :; do sleep 0.05; done", ready.display());
    for (signal, whom) in [("-TERM", ""), ("-INT", "-")] {
        // A test run in the background ignores SIGINT, which would stay so in the program.
        let mut run = Command::new("env");
        std::os::unix::process::CommandExt::process_group(&mut run, 0);
        let mut child = run
            .args(["--default-signal=INT,TERM", env!("CARGO_BIN_EXE_mremap-analyzer")])
            .args(["run", "--best-effort", "--shim", &library, "--", "sh", "-c", &script])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !ready.exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let target = format!("{whom}{}", child.id());
        assert!(Command::new("kill").args([signal, "--", &target]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(9), "{signal}");
        fs::remove_file(&ready).unwrap();
    }
}

#[test]
fn a_move_may_cross_a_chunk_boundary() {
    let mut records = vec![call(Outcome::PassedThrough, 2_500, 1, NEW as i64); 60];
    records.push(call(Outcome::Emulated, 3_000, 20, NEW as i64));
    records.extend([part(61, 0, 8, 0), gap(61, 8, 14, Under::Empty), part(61, 14, 20, 0)]);
    records.push(Record::Summary(mremap_trace::Summary {
        call: 61,
        parts: 2,
        gaps: 1,
        bytes: 14 * PAGE,
        source: FoundBy::Query,
        ..Default::default()
    }));
    assert!(records.len() > 63);
    let (_directory, file) = trace(&records);
    let report = json(&analyzer(&["check", "--json", &file]));
    assert_eq!((&report["conforming"], &report["events"]), (&1.into(), &61.into()), "{report}");
}
