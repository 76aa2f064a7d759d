//! `check`: each finding appears for the smallest trace that justifies it, and not for a similar
//! one.
#![allow(missing_docs)]

use common::*;
use mremap_trace::{Call, Detail, FoundBy, Header, Outcome, Part, Record, Summary, Under};
use serde_json::Value;
use tempfile::TempDir;

mod common;

/// Runs `check --json` on a trace. Returns the exit status and the report.
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

/// Checks that `docs/json.md` has a row for a finding, with its severity.
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

/// An emulated move of two parts around a gap, with its call in slot `of`.
fn emulated(of: u32, ticks: u64, duration: u64, retries: u32) -> Vec<Record> {
    let whole = made(Outcome::Emulated, ticks, 20, NEW as i64);
    vec![
        Record::Call(Call { duration, ..whole }),
        part(of, 0, 8, 0),
        gap(of, 8, 14, Under::Empty),
        part(of, 14, 20, 0),
        summary(of, 2, 1, 14 * PAGE, retries),
    ]
}

/// The call in a record, changed.
fn changed(of: Record, change: impl Fn(&mut Call)) -> Record {
    let Record::Call(mut call) = of else { unreachable!() };
    change(&mut call);
    Record::Call(call)
}

#[test]
fn reports_moves_of_several_vmas_with_their_site() {
    let (status, report) = check(&header(42, 1), &[(77, emulated(1, 3_000, 1_500, 0))]);
    assert_eq!((status, kinds(&report)), (Some(1), vec!["needs-6.17"]));
    assert_eq!(report["before_6_17"], "no");
    let evidence = &report["findings"][0]["evidence"][0];
    assert_eq!((&evidence["event"], &evidence["tid"]), (&1.into(), &77.into()));
    assert_eq!(evidence["what"], "a move of 80 KiB over 2 VMAs and 1 gap, emulated");
}

#[test]
fn cannot_judge_native_moves_without_their_vmas() {
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
    let unmapped = vec![call(Outcome::Native, 3_000, 4, -14), summary(1, 0, 0, 0, 0)];
    assert!(found(&with_vmas, unmapped).is_empty(), "the VMAs were recorded: there are none");
    let resize = changed(plain(Outcome::PassedThrough), |call| call.new_len += PAGE);
    assert!(found(&header(42, 1), vec![resize]).is_empty());
}

#[test]
fn reports_dontunmap_with_lengths_equal_only_as_pages() {
    let uneven = changed(call(Outcome::Native, 3_000, 4, NEW as i64), |call| {
        call.flags = 7;
        call.new_len -= 100;
    });
    assert_eq!(found(&header(42, 1), vec![uneven]), ["needs-6.17"]);
}

#[test]
fn reports_moves_that_never_ended() {
    let begun = changed(call(Outcome::Begun, 3_000, 20, 0), |call| call.duration = 0);
    let kinds = found(&header(42, 1), vec![begun, part(1, 0, 8, 0)]);
    assert!(kinds.contains(&"killed-half-way".to_owned()), "{kinds:?}");
}

#[test]
fn reports_emulated_moves_during_calls_of_other_threads() {
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
    assert_eq!(kinds_with(9_000), ["needs-6.17"], "after the move");
}

/// A call without `MREMAP_FIXED`: from `old`, four pages, to `new`, eight pages; takes 1,500 ns.
fn growth(ticks: u64, old: u64, new: u64) -> Record {
    changed(call(Outcome::PassedThrough, ticks, 4, new as i64), |call| {
        (call.old, call.new_len, call.flags) = (old, 8 * PAGE, 1);
    })
}

/// Whether calls of two threads are reported as a race, in either order.
fn is_race(first: &Record, second: &Record) -> bool {
    let race = |a: &Record, b: &Record| {
        let threads = [(77, vec![*a]), (78, vec![*b])];
        kinds(&check(&header(42, 2), &threads).1).contains(&"race")
    };
    let (race, other) = (race(first, second), race(second, first));
    assert_eq!(race, other, "the order of threads does not matter");
    race
}

#[test]
fn reports_memory_that_two_calls_used_at_once() {
    const ELSEWHERE: u64 = OLD + (1 << 30);
    let in_place = |ticks| growth(ticks, OLD, OLD);
    for second in [
        in_place(3_500),
        growth(3_500, OLD, ELSEWHERE),
        growth(2_500, ELSEWHERE, OLD + PAGE),
        // A move over the mapping that the other call resizes.
        changed(call(Outcome::OneVma, 3_500, 4, OLD as i64), |call| {
            (call.old, call.new) = (ELSEWHERE, OLD);
        }),
    ] {
        assert!(is_race(&in_place(3_000), &second), "{second:?}");
    }
    let moved_away = growth(3_000, OLD, NEW);
    let not_found = changed(growth(3_500, OLD, NEW), |call| call.result = -14);
    assert!(is_race(&moved_away, &not_found), "the source was gone");
    let later = |ticks| changed(not_found, |call| call.ticks = ticks);
    assert!(is_race(&moved_away, &later(5_000)), "the source had just gone");
    assert!(!is_race(&moved_away, &later(500_000)), "long ago");
    assert!(!is_race(&moved_away, &later(1_200)), "before the move");
}

#[test]
fn reused_memory_is_no_race() {
    const ELSEWHERE: u64 = OLD + (1 << 30);
    let moved_away = growth(3_000, OLD, NEW);
    for (second, how) in [
        (growth(3_500, OLD, ELSEWHERE), "the source was freed, mapped by thread 2, and moved"),
        (growth(3_500, OLD, OLD), "the source was freed, mapped by thread 2, and grown"),
        (growth(3_500, ELSEWHERE, OLD), "the kernel moved another mapping to the freed source"),
        (growth(2_500, ELSEWHERE, OLD), "the same, by a call that began earlier"),
        (growth(9_000, NEW, NEW), "the target after the call"),
        (changed(growth(3_500, NEW, NEW), |call| call.result = -12), "a call that failed"),
    ] {
        assert!(!is_race(&moved_away, &second), "{how}");
    }
    // Under a gap of a move, another thread may have mappings.
    let in_gap = growth(3_500, NEW + 9 * PAGE, NEW + 9 * PAGE);
    let threads = [(77, emulated(1, 3_000, 1_500, 0)), (78, vec![in_gap])];
    let (_, report) = check(&header(42, 2), &threads);
    assert!(!kinds(&report).contains(&"race"), "{report}");
}

#[test]
fn reports_failed_calls_whose_result_is_used() {
    const MAP_FAILED: u64 = u64::MAX;
    let failed = changed(growth(3_000, OLD, NEW), |call| call.result = -12);
    let use_of = |old| changed(growth(9_000, old, NEW), |call| call.result = -22);
    let kinds = |between: &[Record], old| {
        let records = [&[failed], between, &[use_of(old)]].concat();
        found(&header(42, 1), records)
    };
    assert_eq!(kinds(&[], MAP_FAILED), ["failed-and-used"]);
    assert!(kinds(&[], OLD).is_empty(), "the source is still mapped after a failure");
    let retry = growth(5_000, OLD, OLD);
    assert!(
        kinds(&[retry], MAP_FAILED).is_empty(),
        "the failure was handled; MAP_FAILED is of mmap"
    );
    let others: Vec<_> = (0..5).map(|at| growth(5_000 + at, NEW + at * PAGE, NEW)).collect();
    assert!(kinds(&others, MAP_FAILED).is_empty(), "the failure was long ago");
}

#[test]
fn reports_moves_that_one_call_could_make() {
    /// A move of one page, `at` pages into the source.
    fn step(ticks: u64, at: u64, distance: u64) -> Record {
        let new = OLD + at * PAGE + distance;
        changed(call(Outcome::OneVma, ticks, 1, new as i64), |call| {
            (call.old, call.new, call.duration) = (OLD + at * PAGE, new, 100);
        })
    }
    const FAR: u64 = NEW - OLD;
    let (status, report) = check(
        &header(42, 1),
        &[(77, vec![step(3_000, 0, FAR), step(4_000, 1, FAR), step(5_000, 4, FAR)])],
    );
    assert_eq!((status, kinds(&report)), (Some(1), vec!["could-be-one-call"]), "{report}");
    let finding = &report["findings"][0];
    assert_eq!((&finding["count"], &finding["evidence"][0]["event"]), (&1.into(), &1.into()));
    let what = &finding["evidence"][0]["what"];
    assert_eq!(what, "3 moves up to event 3, 12 KiB in all with 1 gap, 300 ns in the calls");
    for (second, why) in [
        (step(4_000, 1, FAR + PAGE), "another distance"),
        (step(9_000_000, 1, FAR), "much later"),
        (step(4_000, 1_000, FAR), "a large gap"),
        (step(4_000, 0, FAR), "the same range again"),
        (changed(step(4_000, 1, FAR), |call| call.result = -12), "a failure"),
        (changed(step(4_000, 1, FAR), |call| call.flags = 7), "other flags"),
    ] {
        let kinds = found(&header(42, 1), vec![step(3_000, 0, FAR), second]);
        assert!(!kinds.contains(&"could-be-one-call".to_owned()), "{why}: {kinds:?}");
    }
    let near = vec![step(3_000, 0, PAGE), step(4_000, 1, PAGE)];
    assert!(found(&header(42, 1), near).is_empty(), "the ranges would overlap");
}

#[test]
fn reports_retries() {
    let kinds = found(&header(42, 1), emulated(1, 3_000, 1_500, 2));
    assert_eq!(kinds, ["needs-6.17", "retried"]);
}

#[test]
fn reports_moves_that_failed_with_enomem() {
    let kinds = found(&header(42, 1), vec![call(Outcome::OneVma, 3_000, 4, -12)]);
    assert!(kinds.contains(&"map-count".to_owned()), "{kinds:?}");
    let growth = changed(call(Outcome::PassedThrough, 3_000, 4, -12), |call| {
        call.new_len += PAGE;
    });
    assert!(found(&header(42, 1), vec![growth]).is_empty(), "a growth may fail for other reasons");
    let shrink = changed(call(Outcome::PassedThrough, 3_000, 4, -12), |call| call.new_len -= PAGE);
    assert_eq!(found(&header(42, 1), vec![shrink]), ["map-count"]);
}

#[test]
fn reports_adjacent_vmas_that_could_be_one() {
    let neighbours = |protection| {
        let mut records = vec![call(Outcome::Emulated, 3_000, 8, NEW as i64), part(1, 0, 4, 0)];
        let Record::Part(mut second) = part(1, 4, 8, 0) else { unreachable!() };
        second.protection = protection;
        records.extend([Record::Part(second), summary(1, 2, 0, 8 * PAGE, 0)]);
        found(&header(42, 1), records)
    };
    assert_eq!(neighbours(0x83), ["needs-6.17", "fragmented"]);
    assert_eq!(neighbours(0x81), ["needs-6.17"], "other permissions");
}

#[test]
fn cannot_say_after_losses_and_unexplained_refusals() {
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
fn reports_a_refusal_with_the_wrong_errno() {
    let overlapping = |errno: i64| {
        let refused = call(Outcome::Refused, 3_000, 4, -errno);
        vec![changed(refused, |call| call.new = call.old + PAGE)]
    };
    assert_eq!(found(&header(42, 1), overlapping(14)), ["nonconforming"]);
    let (status, report) = check(&header(42, 1), &[(77, overlapping(22))]);
    assert_eq!((status, &report["conforming"]), (Some(0), &1.into()), "{report}");
}

/// Changes to the record of a correct emulated move, each of which must be noticed.
#[test]
fn notices_every_mutation_of_an_emulated_move() {
    type Mutation = fn(&mut Vec<Record>);
    fn the_call(records: &mut [Record], change: fn(&mut Call)) {
        let Record::Call(call) = &mut records[0] else { unreachable!() };
        change(call);
    }
    fn the_part(records: &mut [Record], at: usize, change: fn(&mut Part)) {
        let Record::Part(part) = &mut records[at] else { unreachable!() };
        change(part);
    }
    fn the_summary(records: &mut [Record], change: fn(&mut Summary)) {
        let Some(Record::Summary(summary)) = records.last_mut() else { unreachable!() };
        change(summary);
    }
    const DIFFERS: &[&str] = &["nonconforming"];
    const CANNOT_SAY: &[&str] = &["not-recomputed"];
    let mutations: &[(&str, &[&str], Mutation)] = &[
        ("none", &[], |_| {}),
        ("another result", DIFFERS, |it| the_call(it, |call| call.result += 4096)),
        ("a failure", CANNOT_SAY, |it| the_call(it, |call| call.result = -14)),
        ("another destination", DIFFERS, |it| the_call(it, |call| call.new += PAGE)),
        ("a destination beyond every address space", DIFFERS, |it| {
            the_call(it, |call| (call.new, call.result) = (1 << 60, 1 << 60));
        }),
        ("a destination that ends beyond 47 bits", CANNOT_SAY, |it| {
            the_call(it, |call| {
                call.new = (1 << 47) - 20 * PAGE;
                call.result = call.new as i64;
            });
        }),
        ("an overlap", DIFFERS, |it| {
            the_call(it, |call| {
                call.new = OLD + PAGE;
                call.result = call.new as i64;
            });
        }),
        ("an unknown flag", DIFFERS, |it| the_call(it, |call| call.flags |= 8)),
        ("a longer source", DIFFERS, |it| {
            the_call(it, |call| (call.old_len, call.new_len) = (21 * PAGE, 21 * PAGE));
        }),
        ("one VMA", DIFFERS, |it| the_call(it, |call| call.outcome = Outcome::OneVma)),
        ("a refusal with a result", DIFFERS, |it| {
            the_call(it, |call| call.outcome = Outcome::Refused);
        }),
        ("a refusal with parts that moved", DIFFERS, |it| {
            the_call(it, |call| (call.outcome, call.result) = (Outcome::Refused, -14));
        }),
        ("a part longer than its VMA", DIFFERS, |it| the_part(it, 1, |part| part.vma_end -= PAGE)),
        ("a part before its VMA", DIFFERS, |it| the_part(it, 3, |part| part.vma_start += PAGE)),
        ("a part beyond the source", DIFFERS, |it| {
            the_part(it, 3, |part| {
                part.end += PAGE;
                part.vma_end += PAGE;
            });
        }),
        ("a shorter part", DIFFERS, |it| the_part(it, 3, |part| part.end -= PAGE)),
        ("a failed part", DIFFERS, |it| the_part(it, 3, |part| part.errno = 12)),
        ("a failed part that is not the last", DIFFERS, |it| {
            the_part(it, 1, |part| part.errno = 12);
            the_summary(it, |summary| (summary.parts, summary.bytes) = (1, 6 * PAGE));
        }),
        ("a missing part", DIFFERS, |it| {
            it.remove(3);
        }),
        ("a missing part, also in the summary", DIFFERS, |it| {
            it.remove(3);
            the_summary(it, |summary| (summary.parts, summary.bytes) = (1, 8 * PAGE));
        }),
        ("merged parts", DIFFERS, |it| {
            it.drain(2..4);
            the_part(it, 1, |part| (part.end, part.vma_end) = (OLD + 20 * PAGE, OLD + 20 * PAGE));
        }),
        ("a part twice", DIFFERS, |it| it.insert(2, it[1])),
        ("a missing gap", DIFFERS, |it| {
            it.remove(2);
        }),
        ("a missing summary", DIFFERS, |it| it.truncate(4)),
        ("a part more in the summary", DIFFERS, |it| the_summary(it, |it| it.parts += 1)),
        ("a gap more in the summary", DIFFERS, |it| the_summary(it, |it| it.gaps += 1)),
        ("a page more in the summary", DIFFERS, |it| the_summary(it, |it| it.bytes += PAGE)),
    ];
    for (name, expected, mutate) in mutations {
        let mut records = emulated(1, 3_000, 1_500, 0);
        mutate(&mut records);
        let header = Header { detail: Some(Detail::Vmas), ..header(42, 1) };
        let mut kinds = found(&header, records);
        kinds.retain(|kind| ["nonconforming", "not-recomputed"].contains(&kind.as_str()));
        assert_eq!(&kinds, expected, "{name}");
    }
}
