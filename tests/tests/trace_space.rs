//! What a trace costs the program: no descriptor, little address space, at most 256 bytes for a
//! call, and no signal when there is no space.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Output;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::output::{calls_made, text};
use mremap_tests::preload::{Preload, Trace, is_guest, read_trace_file, trace_files};
use mremap_trace::Record;
use mremap_trace::layout::{CHUNK_SIZE, VERSION_SHARED, header};

/// Output, trace and size on disk of a run of a fixture.
struct Run {
    output: Output,
    bytes: Vec<u8>,
    trace: Trace,
    bytes_on_disk: u64,
}

/// Runs a fixture; `None` if this machine does not permit that.
fn run(fixture: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Option<Run> {
    let directory = tempfile::tempdir().expect("a directory for the trace");
    let output = Preload::fixture(fixture)
        .args(arguments)
        .setting("TRACE", directory.path())
        .settings(settings)
        .output();
    if !need::permission(fixture, &output) {
        return None;
    }
    assert!(output.status.success(), "{fixture} {arguments:?}: {output:?}");
    let [file] = &trace_files(directory.path())[..] else { panic!("one trace: {output:?}") };
    let bytes = read_trace_file(file);
    let trace = Trace::read_torn(&bytes).0;
    Some(Run { output, bytes, trace, bytes_on_disk: on_disk(file) })
}

fn on_disk(file: &Path) -> u64 {
    fs::metadata(file).expect("the trace").blocks() * 512
}

#[test]
fn uses_no_descriptor_once_the_trace_is_open() {
    let calls = if is_guest() { "20000" } else { "200000" };
    for (mode, keep) in [("auto", "first"), ("emulate", "last")] {
        let settings = [("MODE", mode), ("TRACE_KEEP", keep), ("VMA_SOURCE", "bisect")];
        let Some(run) = run("no_files", &[calls], &settings) else { return };
        assert_eq!(run.trace.calls_and_losses(), calls_made(&run.output), "{mode}, {keep}");
        assert_eq!(run.trace.header.lost(), 0, "{mode}, {keep}");
    }
}

/// The KiB of address space that the fixture printed.
fn address_space(output: &Output) -> u64 {
    let printed = text(&output.stdout);
    let number = printed.split(' ').nth(1).and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("a number of KiB: {printed}"))
}

#[test]
fn maps_at_most_one_mebibyte_more_than_it_has_written() {
    const KIB_OF_HEADER: u64 = 16;
    let untraced = Preload::fixture("address_space").args(&["unlimited", "1"]).output();
    for what in ["unlimited", "locked"] {
        for calls in [1, 40_000] {
            let Some(run) = run("address_space", &[what, &calls.to_string()], &[]) else { return };
            let added = address_space(&run.output) - address_space(&untraced);
            let written = u64::from(run.trace.header.chunks) * CHUNK_SIZE as u64 / 1024;
            assert!(
                added <= KIB_OF_HEADER + written + 1024,
                "{what}, {calls}: {added} KiB for {written} KiB of records"
            );
        }
    }
}

#[test]
fn counts_calls_lost_for_lack_of_address_space() {
    let settings = |keep| [("TRACE_KEEP", keep)];
    let run = |keep| run("address_space", &["limited", "60000"], &settings(keep));
    let (Some(first), Some(last)) = (run("first"), run("last")) else { return };
    for (run, keep) in [(&first, "first"), (&last, "last")] {
        let header = run.trace.header;
        assert_eq!(run.trace.calls_and_losses(), calls_made(&run.output), "{keep}: {header:?}");
        assert!(run.trace.calls().len() > 10_000, "{keep}: available space is used");
    }
    let (first, last) = (first.trace.header, last.trace.header);
    assert!(first.lost_no_memory > 0 && first.lost_no_memory == first.lost(), "{first:?}");
    assert!(last.lost_overwritten > 0 && last.lost_overwritten == last.lost(), "{last:?}");
}

#[test]
fn takes_at_most_256_bytes_for_a_call_of_a_brief_thread() {
    let threads = if is_guest() { 200 } else { 1000 };
    for order in ["after-another", "at-once"] {
        for calls_each in [1, 3, 41] {
            let arguments = [&threads.to_string(), &calls_each.to_string(), order];
            let run = run("brief_threads", &arguments, &[]).expect("threads can always be made");
            let calls = threads * calls_each;
            assert_eq!(run.trace.calls().len(), calls, "{order}, {calls_each}: recorded");
            // Modules and partly filled chunks take space, too.
            let bytes = run.trace.header.chunks as usize * CHUNK_SIZE;
            assert!(
                bytes <= 256 * calls + 20 * CHUNK_SIZE,
                "{order}, {calls_each}: {bytes} bytes for {calls} calls"
            );
            assert_eq!(run.bytes[header::VERSION], VERSION_SHARED as u8, "{order}, {calls_each}");
        }
    }
}

/// All threads need the next chunk while the file system is slow to allocate a page for it.
#[test]
fn keeps_traces_small_on_a_slow_file_system() {
    const THREADS: usize = 1000;
    let Some(strace) = need::program("strace", "strace") else { return };
    let (_, traces) = Preload::new(strace)
        .args(&["-f", "-qq", "-o", "/dev/null", "-e", "inject=madvise:delay_enter=20000"])
        .args(&[Artifacts::get().fixture("brief_threads").to_str().expect("a path in UTF-8")])
        .args(&[&THREADS.to_string(), "1", "at-once"])
        .traced_with_children();
    // strace makes calls, too.
    let trace = traces.iter().max_by_key(|trace| trace.calls().len()).expect("a trace");
    assert_eq!(trace.calls().len(), THREADS);
    let bytes = trace.header.chunks as usize * CHUNK_SIZE;
    assert!(bytes <= 256 * THREADS + 20 * CHUNK_SIZE, "{bytes} bytes");
}

#[test]
fn names_the_thread_of_each_call_in_a_shared_chunk() {
    let run = run("brief_threads", &["20", "3", "at-once"], &[]).expect("threads can be made");
    let mut thread = None;
    let mut calls = std::collections::BTreeMap::<u32, usize>::new();
    for record in &run.trace.records {
        match record {
            Record::Thread(tid) => thread = Some(*tid),
            Record::Call(_) => *calls.entry(thread.expect("a thread")).or_default() += 1,
            _ => {}
        }
    }
    assert_eq!(calls.len(), 20, "{calls:?}");
    assert!(calls.values().all(|&calls| calls == 3), "{calls:?}");
}

#[test]
fn allocates_no_space_for_a_failed_filter_call() {
    let probes = run("filters", &["at-null"], &[]).expect("probes are always permitted");
    let nothing = run("filters", &["at-null"], &[("TRACE_SIZE", "128K")]).expect("likewise");
    assert!(
        probes.bytes_on_disk <= nothing.bytes_on_disk + 4096,
        "{} bytes on disk, {} of a small trace",
        probes.bytes_on_disk,
        nothing.bytes_on_disk
    );
}

/// Thousands of calls of a thread under a filter, which may not allocate space.
#[test]
fn names_a_filter_as_the_reason_of_a_loss() {
    let Some(run) = run("filters", &["many-calls"], &[]) else { return };
    let header = run.trace.header;
    assert_eq!(run.trace.calls_and_losses(), calls_made(&run.output), "{header:?}");
    assert!(run.trace.calls().len() > 60_000, "4 MiB are allocated in advance");
    assert!(header.lost_filtered > 0 && header.lost_filtered == header.lost(), "{header:?}");
}
