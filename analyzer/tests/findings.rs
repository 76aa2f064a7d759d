//! `check`: each finding from the smallest trace that gives reason for it, and not from one that does not.
#![allow(missing_docs)]

use common::*;
use mremap_trace::{Call, Detail, FoundBy, Header, Outcome, Record, Summary, Under};
use serde_json::Value;
use tempfile::TempDir;

mod common;

/// What `check --json` says of a trace, with its exit status.
fn check(header: &Header, threads: &[(u32, Vec<Record>)]) -> (Option<i32>, Value) {
    let directory = TempDir::new().unwrap();
    let path = write(&directory, "c.mremap", &trace_of_threads(header, threads));
    let output = analyzer(&["check", "--json", path.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    for finding in report["findings"].as_array().unwrap() {
        assert_documented(finding);
    }
    (output.status.code(), report)
}

/// A finding has its row in `docs/json.md`, with its severity.
fn assert_documented(finding: &Value) {
    let (kind, severity) = (finding["kind"].as_str(), finding["severity"].as_str());
    let (name, severity) = (format!("`{}`", kind.unwrap()), format!("| {} |", severity.unwrap()));
    let mut rows =
        include_str!("../../docs/json.md").lines().filter(|line| line.starts_with("| `"));
    assert!(
        rows.any(|row| row.contains(&name) && row.contains(&severity)),
        "docs/json.md: no row of the table of findings has {name} with {severity}"
    );
}

fn kinds(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

/// The kinds found in a trace of one thread.
fn found(header: &Header, records: Vec<Record>) -> Vec<String> {
    let (_, report) = check(header, &[(77, records)]);
    kinds(&report).into_iter().map(str::to_owned).collect()
}

fn summary(of: u32, parts: u32, gaps: u32, bytes: u64, retries: u32) -> Record {
    Record::Summary(Summary { call: of, parts, gaps, bytes, retries, source: FoundBy::Query })
}

/// An emulated move of two parts around a gap, its call in slot `of`, at this moment for so long.
fn emulated(of: u32, ticks: u64, duration: u64, retries: u32) -> Vec<Record> {
    let Record::Call(whole) = call(Outcome::Emulated, ticks, 20, NEW as i64) else {
        unreachable!()
    };
    vec![
        Record::Call(Call { duration, ..whole }),
        part(of, 0, 8, 0),
        gap(of, 8, 14, Under::Empty),
        part(of, 14, 20, 0),
        summary(of, 2, 1, 14 * PAGE, retries),
    ]
}

/// The call of slot 1 by other arguments.
fn changed(of: Record, change: impl Fn(&mut Call)) -> Record {
    let Record::Call(mut call) = of else { unreachable!() };
    change(&mut call);
    Record::Call(call)
}

#[test]
fn a_move_of_several_vmas_needs_a_new_kernel_and_says_where_it_is_made() {
    let (status, report) = check(&header(42, 1), &[(77, emulated(1, 3_000, 1_500, 0))]);
    assert_eq!((status, kinds(&report)), (Some(1), vec!["needs-6.17"]));
    assert_eq!(report["before_6_17"], "no");
    let evidence = &report["findings"][0]["evidence"][0];
    assert_eq!((&evidence["event"], &evidence["tid"]), (&1.into(), &77.into()));
    assert_eq!(evidence["what"], "a move of 80 KiB over 2 VMAs and 1 gap, emulated");
}

#[test]
fn what_the_kernel_moved_by_itself_cannot_be_judged_without_its_vmas() {
    let plain = |outcome| call(outcome, 3_000, 4, NEW as i64);
    for outcome in [Outcome::Native, Outcome::PassedThrough] {
        let (status, report) = check(&header(42, 1), &[(77, vec![plain(outcome)])]);
        assert_eq!((status, kinds(&report)), (Some(2), vec!["native-unseen"]), "{outcome:?}");
        assert_eq!(report["before_6_17"], "cannot-say");
    }
    let one = vec![plain(Outcome::Native), part(1, 0, 4, 0), summary(1, 1, 0, 4 * PAGE, 0)];
    let mut with_vmas = header(42, 1);
    with_vmas.detail = Some(Detail::Vmas);
    let (status, report) = check(&with_vmas, &[(77, one)]);
    assert_eq!((status, &report["before_6_17"]), (Some(0), &"yes".into()), "{report}");
    let resize = changed(plain(Outcome::PassedThrough), |call| call.new_len += PAGE);
    assert!(found(&header(42, 1), vec![resize]).is_empty());
}

#[test]
fn lengths_that_are_equal_only_as_pages_need_a_new_kernel() {
    let uneven = changed(call(Outcome::Native, 3_000, 4, NEW as i64), |call| {
        call.flags = 7;
        call.new_len -= 100;
    });
    assert_eq!(found(&header(42, 1), vec![uneven]), ["needs-6.17"]);
}

#[test]
fn a_move_whose_process_ended_in_it_was_killed_half_way() {
    let begun = changed(call(Outcome::Begun, 3_000, 20, 0), |call| call.duration = 0);
    let kinds = found(&header(42, 1), vec![begun, part(1, 0, 8, 0)]);
    assert!(kinds.contains(&"killed-half-way".to_owned()), "{kinds:?}");
}

#[test]
fn a_move_in_parts_beside_another_threads_call_was_not_atomic() {
    let elsewhere = |ticks| {
        let other = call(Outcome::OneVma, ticks, 1, (NEW + (1 << 30)) as i64);
        changed(other, |call| {
            (call.old, call.new) = (OLD + (1 << 30), NEW + (1 << 30));
        })
    };
    let kinds_with = |ticks| {
        let threads = [(77, emulated(1, 3_000, 1_500, 0)), (78, vec![elsewhere(ticks)])];
        let (_, report) = check(&header(42, 2), &threads);
        kinds(&report).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(kinds_with(3_500), ["needs-6.17", "not-atomic"]);
    assert_eq!(kinds_with(9_000), ["needs-6.17"], "after it had ended");
}

#[test]
fn two_threads_at_the_same_addresses_at_once_are_a_race() {
    let plain = |ticks| call(Outcome::OneVma, ticks, 4, NEW as i64);
    let race = |second| {
        let threads = [(77, vec![plain(3_000)]), (78, vec![plain(second)])];
        kinds(&check(&header(42, 2), &threads).1).contains(&"race")
    };
    assert!(race(3_500));
    assert!(!race(9_000), "one after the other");
}

#[test]
fn parts_looked_up_again_are_told() {
    let kinds = found(&header(42, 1), emulated(1, 3_000, 1_500, 2));
    assert_eq!(kinds, ["needs-6.17", "retried"]);
}

#[test]
fn a_move_that_ran_out_of_mappings_is_near_the_limit() {
    let kinds = found(&header(42, 1), vec![call(Outcome::OneVma, 3_000, 4, -12)]);
    assert!(kinds.contains(&"map-count".to_owned()), "{kinds:?}");
    let growth = changed(call(Outcome::PassedThrough, 3_000, 4, -12), |call| {
        call.new_len += PAGE;
    });
    assert!(found(&header(42, 1), vec![growth]).is_empty(), "no room in place is no limit");
}

#[test]
fn neighbours_that_could_be_one_vma_are_fragments() {
    let neighbours = |protection| {
        let mut records = vec![call(Outcome::Emulated, 3_000, 8, NEW as i64), part(1, 0, 4, 0)];
        let Record::Part(mut second) = part(1, 4, 8, 0) else { unreachable!() };
        second.protection = protection;
        records.extend([Record::Part(second), summary(1, 2, 0, 8 * PAGE, 0)]);
        found(&header(42, 1), records)
    };
    assert_eq!(neighbours(0x83), ["needs-6.17", "fragmented"]);
    assert_eq!(neighbours(0x81), ["needs-6.17"], "other rights");
}

#[test]
fn lost_calls_and_refusals_without_reason_on_record_leave_it_open() {
    let mut lossy = header(42, 1);
    lossy.lost_full = 5;
    let resize = changed(call(Outcome::PassedThrough, 3_000, 4, NEW as i64), |call| {
        call.new_len += PAGE;
    });
    let (status, report) = check(&lossy, &[(77, vec![resize])]);
    assert_eq!((status, kinds(&report)), (Some(2), vec!["not-recorded"]));
    assert_eq!(report["findings"][0]["count"], 5);
    let refused = call(Outcome::Refused, 3_000, 4, -14);
    assert_eq!(found(&header(42, 1), vec![refused]), ["not-recomputed"]);
}

#[test]
fn a_refusal_by_the_wrong_errno_is_the_shims_defect() {
    let overlapping = |errno: i64| {
        let refused = call(Outcome::Refused, 3_000, 4, -errno);
        vec![changed(refused, |call| call.new = call.old + PAGE)]
    };
    assert_eq!(found(&header(42, 1), overlapping(14)), ["nonconforming"]);
    let (status, report) = check(&header(42, 1), &[(77, overlapping(22))]);
    assert_eq!((status, &report["conforming"]), (Some(0), &1.into()), "{report}");
}
