//! Other libraries that interpose libc's functions: profilers, sanitizers, wrappers of `dlsym`.
//! Both sides must see every call, and the program must run as without them. (`allocators.rs` has
//! the allocators.)

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::output::text;
use mremap_tests::preload::{Preload, Trace, sum_of_calls};

fn assert_same_calls(output: &Output, traces: &[Trace], calls: u64, what: &str) {
    assert!(output.status.success(), "{what}: {output:?}");
    assert_eq!(sum_of_calls(traces), calls, "{what}: {output:?}");
}

/// The number of calls in memusage's line `mremap|  N  ...`, which is coloured.
fn calls_in_table(table: &str) -> Option<u64> {
    let (_, figures) = table.split_once("mremap|")?;
    let figures = figures.strip_prefix("\u{1b}[0m").unwrap_or(figures);
    figures.split_whitespace().next()?.parse().ok()
}

#[test]
fn glibcs_profiler_sees_every_call_before_and_after_us() {
    let Some(memusage) = need::library("libmemusage.so", "libc6") else {
        return;
    };
    let memusage = &[memusage.as_path()][..];
    for (before, after) in [(memusage, &[][..]), (&[][..], memusage)] {
        let mut run = Preload::fixture("busy").args(&["1", "1000"]).with_libraries(before, after);
        run.command().env("MEMUSAGE_TRACE_MMAP", "yes");
        let (output, trace) = run.traced();
        assert_same_calls(&output, &[trace], 1000, "ours");
        let table = text(&output.stderr);
        assert_eq!(calls_in_table(&table), Some(1000), "{table}");
    }
}

/// An example compiled with a sanitizer, and that sanitizer's library. `None` where the compiler
/// lacks it.
fn sanitized(directory: &Path, sanitizer: &str, runtime: &str) -> Option<(PathBuf, PathBuf)> {
    let compiler = need::program("gcc", "gcc")?;
    let output = Command::new(&compiler)
        .arg(format!("-print-file-name={runtime}"))
        .output()
        .expect("the compiler runs");
    let found = fs::canonicalize(text(&output.stdout).trim()).ok();
    let Some(found) = found else {
        need::skip(&format!("programs under {runtime}: apt-get install libgcc-12-dev"));
        return None;
    };
    let program = directory.join(sanitizer);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/compacting_heap.c");
    let status = Command::new(compiler)
        .args(["-std=gnu11", "-g", "-O1", "-pthread"])
        .arg(format!("-fsanitize={sanitizer}"))
        .arg("-o")
        .args([&program, &source])
        .status()
        .expect("the compiler runs");
    assert!(status.success(), "the example compiles with {sanitizer}");
    Some((program, found))
}

#[test]
fn sanitized_programs_run_with_their_library_first() {
    let directory = tempfile::tempdir().expect("a directory");
    for (sanitizer, runtime) in
        [("address", "libasan.so"), ("thread", "libtsan.so"), ("leak", "liblsan.so")]
    {
        let Some((program, runtime)) = sanitized(directory.path(), sanitizer, runtime) else {
            continue;
        };
        for mode in ["auto", "emulate"] {
            let mut run =
                Preload::new(&program).setting("MODE", mode).with_libraries(&[&runtime], &[]);
            // The leak checker reads all data of every library.
            run.command().env("ASAN_OPTIONS", "detect_leaks=1");
            let (output, trace) = run.traced();
            assert_same_calls(&output, &[trace], 1, sanitizer);
        }
    }
}

#[test]
fn works_with_a_library_that_wraps_dlsym() {
    let relay = Artifacts::get().fixture("libdlsym_relay.so");
    let relay = &[relay.as_path()][..];
    for (before, after) in [(relay, &[][..]), (&[][..], relay)] {
        let (output, traces) = Preload::fixture("children")
            .args(&["fork", "2"])
            .setting("MODE", "emulate")
            .with_libraries(before, after)
            .traced_with_children();
        assert_same_calls(&output, &traces, 16, "a wrapper of dlsym");
    }
}
