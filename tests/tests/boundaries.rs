//! Boundaries of VMAs are found in every layout, and nothing outside the range is touched.

use std::fs;

use mremap_tests::output::{assert_moves_say, assert_says, text};
use mremap_tests::preload::{
    Preload, kernel_has_procmap_query, kernel_is, kernel_moves_several_vmas,
};
use mremap_tests::records;
use mremap_trace::FoundBy;

#[test]
fn moves_every_layout_intact() {
    for (source, threads, others) in [
        ("auto", "0", "0"),
        ("auto", "1", "0"),
        ("auto", "0", "5000"),
        ("query", "0", "0"),
        ("maps", "0", "0"),
        ("bisect", "0", "0"),
        ("bisect", "1", "0"),
    ] {
        let run = Preload::emulated("layouts", &[threads, others], source).output();
        assert!(run.status.success(), "{source}, {threads} threads, {others}: {run:?}");
    }
}

#[test]
fn moves_each_vma_as_one_part_and_queries_only_what_is_expensive_to_probe() {
    let mode = if kernel_moves_several_vmas() { "emulate" } else { "auto" };
    let (output, trace) = Preload::fixture("layouts").setting("MODE", mode).traced();
    assert!(output.status.success(), "{output:?}");
    let summaries: Vec<_> = records!(trace, Summary).collect();
    let parts: Vec<String> = summaries.iter().map(|summary| summary.parts.to_string()).collect();
    let vmas = text(&output.stdout);
    assert_eq!(parts, vmas.lines().collect::<Vec<_>>(), "a part for each VMA");
    let methods_of = |parts: u32| {
        let moves = summaries.iter().filter(move |summary| summary.parts == parts);
        moves.map(|summary| summary.source).collect::<Vec<_>>()
    };
    // The first moves check the names of the files that the loader has mapped.
    let of_few = methods_of(2);
    assert!(of_few[2..].iter().all(|&method| method == FoundBy::Bisect), "{of_few:?}");
    let of_many = if kernel_has_procmap_query() { FoundBy::Query } else { FoundBy::Bisect };
    assert_eq!(methods_of(330), [of_many; 3]);
}

/// Checks a rule of `tests/fixtures/boundaries.c`.
fn check(rule: &str, expected: &str) {
    assert_moves_say("boundaries", &[rule], expected, &["auto", "bisect"]);
}

/// ```text
///   | rw 4 | r 4 | rw 2 | end of all addresses
///                       | another VMA              at the destination
/// ```
#[test]
fn a_vma_ends_at_the_end_of_all_addresses() {
    check("beyond_all_addresses", "moved, under it kept\n");
}

/// ```text
///   | rw 4 | end of all addresses
/// ```
#[test]
fn moves_a_vma_at_the_end_of_all_addresses_as_one_part() {
    check("last_of_all_addresses", "moved\n");
    let (output, trace) =
        Preload::emulated("boundaries", &["last_of_all_addresses"], "bisect").traced();
    assert_eq!(records!(trace, Part).count(), 1, "{output:?}");
}

/// ```text
///   | rw 768 | r 768 | huge 512 | rw 256 |
///                                        | another VMA         at the destination
/// ```
#[test]
fn a_move_of_huge_pages_keeps_what_is_after_the_destination() {
    let _huge_pages = HugePages::reserve();
    // Huge pages can be moved since 5.16.
    let outcome = if kernel_is("5.10") { "Invalid argument" } else { "moved" };
    check("huge_page", &format!("{outcome}, behind it kept\n"));
}

/// Reserves huge pages until it is dropped, where there were none and that is allowed.
struct HugePages;

impl HugePages {
    const FILE: &str = "/proc/sys/vm/nr_hugepages";

    fn reserve() -> Option<Self> {
        let has_none = fs::read_to_string(Self::FILE).is_ok_and(|text| text.trim() == "0");
        (has_none && fs::write(Self::FILE, "4").is_ok()).then_some(Self)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = fs::write(Self::FILE, "0");
    }
}

#[test]
fn moves_of_another_thread_do_not_disturb_a_move() {
    check("other_thread", "moved\n");
    let directory = tempfile::tempdir().expect("a directory for the traces");
    let run = Preload::emulated("boundaries", &["other_thread"], "bisect")
        .setting("TRACE", directory.path())
        .setting("TRACE_DETAIL", "vmas")
        .output();
    assert_says("with the VMAs of every move", "moved\n", &run);
}

#[test]
fn moves_of_a_handler_do_not_disturb_a_move() {
    check("handler", "moved, the handler too\n");
}
