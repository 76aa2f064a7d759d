//! The rules that a layout alone cannot show: limits, threads, filters, userfaultfd.

use mremap_tests::output::{SOURCES, assert_moves_say, assert_says};
use mremap_tests::preload::{Preload, is_guest, kernel_is};
use mremap_trace::Outcome;

/// Runs once on an emulated processor, where it is slow.
const SIXTY_FIVE_THOUSAND: &str = "sixty_five_thousand";
const MOVED: &str = "moved\nsource ......\ndestination abc.ef\n";

/// The outcome of a move that is stopped at a VMA, by the position of that VMA. Those before it
/// have moved.
///
/// ```text
///            |  ab  | c |.|  ef  |
///   first     stops                    nothing moves
///   middle    moves  stops             the first VMA moves
///   last      moves  moves   stops     the first two move
///   alone     stops                    a trailing gap counts as another VMA
/// ```
const STOPPED_AT: [(&str, &str); 4] = [
    ("first", "source abc.ef\ndestination ......\n"),
    ("middle", "source ..c.ef\ndestination ab....\n"),
    ("last", "source ....ef\ndestination abc...\n"),
    ("alone", "source ab....\ndestination ......\n"),
];

/// Checks that a rule of `tests/fixtures/hard_rules.c` has the outcome of Linux 6.17.
fn check(rule: &str, expected: &str) {
    check_unless(&[rule], expected, &[]);
}

/// As [`check`], with arguments, except on kernels of the series `without`.
fn check_unless(rule: &[&str], expected: &str, without: &[&str]) {
    if without.iter().any(|series| kernel_is(series)) {
        return;
    }
    // In a guest, whose processor is emulated, two sources are enough.
    let is_wanted = |source: &&str| {
        !is_guest() || *source == "auto" || *source == "bisect" && rule != [SIXTY_FIVE_THOUSAND]
    };
    // Probing sees boundaries, not which file or driver backs a VMA.
    let is_seen = |source: &&str| *source != "bisect" || !rule[0].starts_with("attached_late");
    let sources: Vec<_> = SOURCES.into_iter().filter(is_wanted).filter(is_seen).collect();
    assert_moves_say("hard_rules", rule, expected, &sources);
}

/// ```text
///   | rw | r |.| rw |     one of them registered with userfaultfd
/// ```
#[test]
fn userfaultfd_stops_a_move_however_it_was_made() {
    for (place, outcome) in STOPPED_AT {
        let refused = format!("Bad address\n{outcome}");
        check_unless(&["userfaultfd_by_syscall", place], &refused, &[]);
        // 6.1 is the first with the device.
        check_unless(&["userfaultfd_by_device", place], &refused, &["5.10"]);
        check_unless(&["userfaultfd_over_fork", place], &refused, &[]);
    }
}

/// ```text
///   | rw | r |.| rw |     one of them attached with shmat, after the check of all files
/// ```
#[test]
fn system_v_memory_stops_a_move_whenever_it_was_attached() {
    for (place, outcome) in STOPPED_AT {
        let refused = format!("Bad address\n{outcome}");
        check_unless(&["attached_late_by_shmat", place], &refused, &[]);
        check_unless(&["attached_late_by_syscall", place], &refused, &[]);
    }
}

/// ```text
///   | rw | r |.| rw |     one of them sealed, on kernels that can (6.10)
/// ```
#[test]
fn sealed_memory_stops_a_move_at_its_part() {
    for (place, outcome) in STOPPED_AT {
        check_unless(&["sealed", place], &format!("Operation not permitted\n{outcome}"), &[]);
    }
}

/// ```text
///   | ab | c |.| ef |
///                 |  moves to
///               | x |     sealed: neither part moves
/// ```
#[test]
fn a_sealed_target_stops_its_part() {
    check("sealed_target", "Operation not permitted\nsource ....ef\ndestination abc.x.\n");
}

/// ```text
///         TASK_SIZE
///     | ab | c |.| ef |        EINVAL: by a page
///   | ab | c |.| ef |          moves
///   a | b | c |.| ef |...|     moves back: the source's trailing gap ends beyond it
///     | b | c |.| ef |...|     EINVAL: only the gap's target would
/// ```
#[test]
fn refuses_destinations_beyond_task_size() {
    check(
        "task_size_edge",
        "Invalid argument\nsource abc.ef\ndestination ......\n\
         moved\nsource ......\ndestination abc.ef\n\
         moved\nsource ......\ndestination bc.ef.\n\
         Invalid argument\nsource bc.ef.\ndestination ......\n",
    );
}

/// ```text
///   | ab | c |.| ef |     DONTUNMAP needs new address space, a move none
/// ```
#[test]
fn rlimit_as_stops_only_what_needs_address_space() {
    check(
        "address_space_limit",
        &format!("Cannot allocate memory\nsource abc.ef\ndestination ......\n{MOVED}"),
    );
}

/// ```text
///   | a locked | b | c |.| e locked | f |     as much locked as RLIMIT_MEMLOCK allows
/// ```
#[test]
fn locked_memory_moves_under_its_limit() {
    check("lock_limit", MOVED);
}

/// ```text
///   | ab | c |.| ef |     and 65,530 mappings less a few
/// ```
/// The kernel demands room for a few more mappings than it will need; 7.3 demands another number.
#[test]
fn refuses_moves_at_the_map_count_limit() {
    const REFUSED: &str = "Cannot allocate memory\nsource abc.ef\ndestination ......\n";
    const GONE: &str = "Bad address\nsource ......\ndestination abc.ef\n";
    let line = |spare: usize| match spare {
        0..=6 => format!("{spare} to spare: {REFUSED}"),
        7 => format!("{spare} to spare: {MOVED}"),
        _ => format!("{spare} to spare: {GONE}"),
    };
    check_unless(&["mapping_limit"], &(0..14).map(line).collect::<String>(), &["7.3"]);
}

/// ```text
///   | a.b | c |.| ef |              from the second page on
///      \    \   \   \
///   | 0  0   0  0   0  0 |          cut by the parts: the limit is reached half-way
/// ```
#[test]
fn a_move_that_reaches_the_map_count_limit_ends_as_the_kernels_does() {
    const REFUSED: &str = "Cannot allocate memory\nsource abc.ef\ndestination 000000\n";
    let expected = |outcomes: [&str; 3]| {
        let lines = [REFUSED, REFUSED].into_iter().chain(outcomes);
        let numbered = lines.zip(6..).map(|(line, spare)| format!("{spare} to spare: {line}"));
        numbered.collect::<String>()
    };
    let moved = "moved\nsource a.....\ndestination bc0ef0\n";
    let half = "Cannot allocate memory\nsource a...ef\ndestination bc0..0\n";
    check_unless(&["mapping_limit_in_a_move"], &expected([half, moved, moved]), &["7.3"]);
    // The oldest kernels demand one mapping more for a source that DONTUNMAP leaves.
    let half = "Cannot allocate memory\nsource a00.ef\ndestination bc0..0\n";
    let moved = "moved\nsource a00.00\ndestination bc0ef0\n";
    check_unless(
        &["mapping_limit_with_dontunmap"],
        &expected([half, half, moved]),
        &["5.10", "6.1", "7.3"],
    );
}

/// ```text
///   |rw|r|rw|r|rw|r| ... 65,400 of one page each
/// ```
#[test]
fn sixty_five_thousand_vmas_move_in_one_call() {
    check(SIXTY_FIVE_THOUSAND, "moved\na z\n");
}

/// ```text
///   | a | b c | . | e f |  <->  | a b | c | . | e | f |     while it moves
/// ```
#[test]
fn moves_vmas_that_another_thread_splits_and_joins() {
    check("split_by_another_thread", "0 failed\nsource abc.ef\ndestination ......\n");
}

/// ```text
///   | ab |...| e | f |     f is unmapped while the range moves
/// ```
#[test]
fn a_vma_unmapped_by_another_thread_is_a_gap() {
    check("unmapped_by_another_thread", "0 failed\n");
}

/// ```text
///   | ab | c |.| ef |           one thread moves this
///   | ab | c |.| ef |           the other this,
///      | b | c |.| ef |...|     or this
/// ```
#[test]
fn one_of_two_threads_that_move_the_same_pages_gets_all_of_them() {
    check("two_threads_same_range", "both 0, neither 0, torn 0\n");
    check("two_threads_overlapping_ranges", "both 0, neither 0, torn 0\n");
}

/// ```text
///   | ab | c |.| ef |     without /proc, without a free descriptor, under a strict filter
/// ```
#[test]
fn needs_neither_proc_nor_descriptors_nor_other_system_calls() {
    check("no_proc", MOVED);
    check("no_descriptors", MOVED);
    check("seccomp", MOVED);
}

/// ```text
///   | ... the frame of the call ... |     | the call | constants | data |
/// ```
#[test]
fn a_thread_that_moves_its_own_stack_or_code_ends_as_without_the_library() {
    check("own_stack", "ended by a signal\n");
    check("own_code", "ended by a signal\n");
}

/// ```text
///   | code | constants | data |     of the library;  | header | chunks ... |  of its trace
/// ```
/// No kernel rule is about them. A program that moves them, or moves something over them, gets
/// `EPERM` and finds them unchanged; the trace records the refusal.
#[test]
fn refuses_to_move_the_librarys_own_memory_and_its_trace() {
    for mode in ["emulate", "auto"] {
        let (run, trace) =
            Preload::fixture("hard_rules").args(&["own_library"]).setting("MODE", mode).traced();
        let expected = format!("{}{MOVED}", "Operation not permitted\n".repeat(4));
        assert_says(mode, &expected, &run);
        let calls = trace.calls();
        let refused =
            calls.iter().filter(|call| call.outcome == Outcome::Refused && call.result == -1);
        assert_eq!(refused.count(), 4, "{mode}: {calls:?}");
    }
}
