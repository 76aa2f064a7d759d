//! Moves that other threads, forks and filters interfere with. What the kernel does under its mmap
//! lock, the library must do without harm to others.

use std::fs;
use std::process::Command;

use mremap_tests::output::{SOURCES, assert_moves_say, assert_says, text};
use mremap_tests::preload::{Preload, is_guest, kernel_moves_several_vmas};
use mremap_tests::records;

fn check(fixture: &str, arguments: &[&str], expected: &str) {
    assert_moves_say(fixture, arguments, expected, &SOURCES);
}

const MOVED: &str = "moved, errno 0: 24 pages arrived, 0 left\n";

/// ```text
///   | a | bb|bb | c |     b is split right before it is moved
/// ```
#[test]
fn retries_a_part_that_another_thread_splits() {
    check("races", &["split_part"], MOVED);
    check("races", &["split_again"], MOVED);
}

#[test]
fn retries_a_move_of_one_vma_that_another_thread_splits() {
    check("races", &["split_one_vma"], MOVED);
}

/// ```text
///   target    | a | .. | c |     the refusal has unmapped it: another thread may map there
/// ```
#[test]
fn reserves_the_target_of_a_refused_part() {
    check("races", &["hole_sought"], MOVED);
}

/// The kernel's own move leaves no hole.
#[test]
fn never_moves_over_memory_that_another_thread_has_just_mapped() {
    let rules = [
        ("hole_taken", "failed, errno 14: 8 pages arrived, 16 left\n"),
        ("one_hole_taken", "failed, errno 14: 0 pages arrived, 24 left\n"),
    ];
    for (rule, failed) in rules {
        let expected = if kernel_moves_several_vmas() {
            MOVED.to_owned()
        } else {
            format!("{failed}another thread's page is intact\n")
        };
        check("races", &[rule], &expected);
    }
}

/// A part of a process whose threads have interfered before is not refused at its target.
#[test]
fn empties_no_target_after_the_first_interference() {
    check("races", &["second_hole"], MOVED);
}

#[test]
fn a_lost_race_is_reported_in_the_trace() {
    let (output, trace) = Preload::emulated("races", &["hole_taken"], "auto").traced();
    assert!(output.status.success(), "{output:?}");
    let printed =
        records!(trace, Text).fold(String::new(), |printed, bytes| printed + &text(bytes));
    assert_eq!(printed.contains("lost a race"), !kernel_moves_several_vmas(), "{printed}");
}

/// ```text
///   | a | b | c |     b is unmapped right before it is moved: a gap
/// ```
#[test]
fn a_part_that_another_thread_unmaps_becomes_a_gap() {
    for source in SOURCES {
        let run = Preload::emulated("races", &["part_unmapped"], source).output();
        assert_says(source, "moved, errno 0: 16 pages arrived, 0 left\n", &run);
    }
}

#[test]
fn a_fork_finds_each_move_whole_and_no_descriptor() {
    let children = if is_guest() { "20" } else { "200" };
    check("forks", &[children], &format!("{children} children, 0 torn, 0 with a descriptor\n"));
}

/// Handlers of the forking thread move memory all the while, which does not end the wait.
#[test]
fn a_fork_does_not_keep_a_move_waiting_that_holds_a_lock_of_libc() {
    check("waiting_fork", &[], "both returned\n");
}

#[test]
fn probes_with_flags_that_filters_admit() {
    for call in ["mmap", "mremap"] {
        check("filtered_flags", &[call], "moved\n");
    }
}

/// A FUSE daemon whose own directory the path leads through would wait for itself.
#[test]
fn a_move_resolves_no_path_of_the_host() {
    for source in ["auto", "maps"] {
        let directory = tempfile::tempdir().expect("a directory to mount on");
        let path = directory.path().to_str().expect("UTF-8");
        let mut run = Preload::emulated("own_mount", &[path], source);
        let timed = Command::new("timeout")
            .args(["-s", "KILL", "20"])
            .arg(run.command().get_program())
            .arg(path)
            .envs(run.command().get_envs().filter_map(|(name, value)| Some((name, value?))))
            .output()
            .expect("timeout runs");
        assert_says(source, "moved\n", &timed);
    }
}

#[test]
fn waits_no_longer_than_100_ms_for_a_move_that_was_left() {
    for source in ["auto", "maps"] {
        let directory = tempfile::tempdir().expect("a directory for the trace");
        let path = directory.path().to_str().expect("UTF-8");
        for how in [&["truncated", path][..], &["long"]] {
            let run = Preload::emulated("left_move", how, source).setting("TRACE", path).output();
            assert_says(source, "the other thread moved\n", &run);
        }
    }
}

/// Changes a setting of the machine, so only in guests.
#[test]
fn probes_charge_no_memory_to_the_commit_limit() {
    let is_new = kernel_moves_several_vmas();
    if is_guest() && !is_new {
        let run = Preload::emulated("commit_limit", &["3000"], "auto").output();
        assert_says("auto", "0 refused\n", &run);
    }
    let setting = fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    assert_ne!(setting.trim(), "2", "the setting is as it was");
}
