//! The rules that need more than a layout: limits, threads, sandboxes, userfaultfd by every road.

use std::process::Command;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::preload::{Preload, is_guest, kernel_moves_several_vmas};

const SOURCES: [&str; 4] = ["auto", "query", "maps", "bisect"];

/// Takes an emulated processor long enough to do it once.
const SIXTY_THOUSAND: &str = "sixty_thousand";
const MOVED: &str = "moved\nsource ......\ndestination abc.ef\n";
const REFUSED_AT_ITS_VMA: &str = "Bad address\nsource ....ef\ndestination abc...\n";

/// Runs a rule of `tests/fixtures/hard_rules.c`: natively where the kernel has the feature, then emulated with every
/// source of VMAs. Each must say what Linux 6.17 makes of it.
fn check(rule: &str, expected: &str) {
    check_unless(rule, expected, &[]);
}

/// The same on a kernel of another series than these.
fn check_unless(rule: &str, expected: &str, without: &[&str]) {
    if std::env::var("MREMAP_KERNEL").is_ok_and(|kernel| without.contains(&kernel.as_str())) {
        return;
    }
    let program = Artifacts::get().fixture("hard_rules");
    if kernel_moves_several_vmas() {
        let native = Command::new(&program).arg(rule).env_remove("LD_PRELOAD").output();
        assert_says("natively", expected, &native.expect("the fixture runs"));
    }
    // A guest emulates its processor, too: the best way and the last resort will do.
    let is_wanted =
        |source: &&str| !is_guest() || *source == "auto" || *source == "bisect" && rule != SIXTY_THOUSAND;
    for source in SOURCES.into_iter().filter(is_wanted) {
        let run = Preload::new(&program)
            .args(&[rule])
            .setting("MODE", "emulate")
            .setting("VMA_SOURCE", source)
            .output();
        assert_says(source, expected, &run);
    }
}

fn assert_says(who: &str, expected: &str, run: &std::process::Output) {
    let said = String::from_utf8_lossy(&run.stdout);
    if said.starts_with("cannot: ") {
        println!("{who}: {said}");
        return;
    }
    assert_eq!(said, expected, "{who}: {run:?}");
    assert!(run.status.success(), "{who}: {run:?}");
}

/// ```text
///  | rw | r |.| registered |      the parts before the registered VMA move
/// ```
#[test]
fn userfaultfd_is_seen_however_it_was_made() {
    check("userfaultfd_by_syscall", REFUSED_AT_ITS_VMA);
    // 6.1 is the first with the device.
    check_unless("userfaultfd_by_device", REFUSED_AT_ITS_VMA, &["5.10"]);
    check("userfaultfd_over_fork", REFUSED_AT_ITS_VMA);
}

#[test]
fn a_limit_on_the_address_space_stops_what_needs_more_and_nothing_else() {
    check(
        "address_space_limit",
        &format!("Cannot allocate memory\nsource abc.ef\ndestination ......\n{MOVED}"),
    );
}

#[test]
fn locked_memory_moves_under_its_limit() {
    check("lock_limit", MOVED);
}

/// The kernel wants room for a few mappings more than it will need; 7.3 wants room for another number.
#[test]
fn at_the_limit_of_mappings_nothing_moves() {
    const REFUSED: &str = "Cannot allocate memory\nsource abc.ef\ndestination ......\n";
    const GONE: &str = "Bad address\nsource ......\ndestination abc.ef\n";
    let line = |spare: usize| match spare {
        0..=6 => format!("{spare} to spare: {REFUSED}"),
        7 => format!("{spare} to spare: {MOVED}"),
        _ => format!("{spare} to spare: {GONE}"),
    };
    check_unless("mapping_limit", &(0..14).map(line).collect::<String>(), &["7.3"]);
}

#[test]
fn sixty_thousand_vmas_move_in_one_call() {
    check(SIXTY_THOUSAND, "moved\na z\n");
}

#[test]
fn vmas_split_and_joined_by_another_thread_move_all_the_same() {
    check(
        "split_by_another_thread",
        "0 failed\nsource abc.ef\ndestination ......\n",
    );
}

#[test]
fn a_vma_unmapped_by_another_thread_is_a_gap() {
    check("unmapped_by_another_thread", "0 failed\n");
}

#[test]
fn of_two_threads_that_move_the_same_pages_one_has_them_all() {
    check("two_threads_same_range", "both 0, neither 0, torn 0\n");
    check("two_threads_overlapping_ranges", "both 0, neither 0, torn 0\n");
}

#[test]
fn neither_proc_nor_descriptors_nor_other_system_calls_are_needed() {
    check("no_proc", MOVED);
    check("no_descriptors", MOVED);
    check("seccomp", MOVED);
}

#[test]
fn a_thread_that_moves_its_own_stack_ends_as_it_would_have() {
    check("own_stack", "ended by a signal\n");
}
