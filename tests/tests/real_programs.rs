//! Other projects' programs that call `mremap`: output, status and number of calls must be the same
//! without the library and under it, in every mode. strace counts the calls.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::preload::{Preload, Trace, sum_of_calls};
use mremap_tests::strace;

/// Runs a program with a trace in an empty directory.
fn run_traced(mode: &str, program: &Path, arguments: &[&str]) -> (Output, Vec<Trace>) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut run = Preload::new(program).args(arguments).setting("MODE", mode);
    run.command().current_dir(directory.path());
    run.traced_with_children()
}

/// Runs a program without the library, in every mode with a trace, and in `emulate` under strace.
fn check(program: &Path, arguments: &[&str]) {
    let Some(strace) = need::program("strace", "strace") else {
        return;
    };
    let name = program.display();
    let (alone, calls) = strace::count_calls(&strace, Command::new(program).args(arguments));
    assert!(alone.status.success(), "{name} {arguments:?}: {alone:?}");
    assert!(calls > 0, "{name} {arguments:?} calls mremap: {alone:?}");

    for mode in ["passthrough", "auto", "emulate"] {
        let (output, traces) = run_traced(mode, program, arguments);
        assert_eq!(output, alone, "{mode}");
        let recorded: usize = traces.iter().map(|trace| trace.calls().len()).sum();
        assert_eq!(recorded, calls, "{name}, {mode}: calls in the traces");
        assert_eq!(sum_of_calls(&traces), calls as u64, "{name}, {mode}: nothing is lost");
    }
    let mut run = Preload::new(program).args(arguments).setting("MODE", "emulate");
    let (output, calls_of_kernel) = strace::count_calls(&strace, run.command());
    assert_eq!(output, alone, "emulate under strace");
    // None of these programs uses MREMAP_FIXED, so every call is forwarded.
    assert_eq!(calls_of_kernel, calls, "{name}: calls that reached the kernel");
}

#[test]
fn python_resizes_a_mapping() {
    let script = "
import mmap
m = mmap.mmap(-1, 4096)
m[:5] = b'hello'
for turn in range(12):
    m.resize(4096 << turn)
print(len(m), m[:5])
for turn in reversed(range(12)):
    m.resize(4096 << turn)
print(len(m), m[:5])
";
    // Not from PATH, where a version manager may have put a shell script.
    if let Some(python) = need::file("/usr/bin/python3", "python3") {
        check(&python, &["-S", "-c", script]);
    }
}

#[test]
fn sqlite_grows_a_mapped_database() {
    let statements = "
PRAGMA page_size=4096; PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA mmap_size=268435456;
DROP TABLE IF EXISTS t;
CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000)
INSERT INTO t(text) SELECT 'row ' || i || hex(zeroblob(40)) FROM n;
INSERT INTO t(text) SELECT text FROM t;
INSERT INTO t(text) SELECT text FROM t;
SELECT count(*), sum(length(text)) FROM t;
DELETE FROM t WHERE id % 3;
VACUUM;
SELECT count(*), sum(length(text)) FROM t;
PRAGMA integrity_check;
";
    if let Some(sqlite) = need::program("sqlite3", "sqlite3") {
        check(&sqlite, &["-batch", "base.sqlite", statements]);
    }
}

#[test]
fn apt_builds_its_cache() {
    let arguments = ["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "stats"];
    if let Some(apt) = need::program("apt-cache", "apt") {
        check(&apt, &arguments);
    }
}

#[test]
fn luajit_fills_a_large_table() {
    let script = "local t = {} for i = 1, 2000000 do t[i] = i * 0.5 end \
                  local s = 0 for i = 1, #t do s = s + t[i] end print(#t, s)";
    if let Some(luajit) = need::program("luajit", "luajit") {
        check(&luajit, &["-e", script]);
    }
}

#[test]
fn php_grows_a_string() {
    let script = "$text = ''; for ($i = 0; $i < 200; $i++) { $text .= str_repeat('x', 100000); } \
                  echo strlen($text), ' ', crc32($text);";
    if let Some(php) = need::program("php", "php-cli") {
        check(&php, &["-n", "-r", script]);
    }
}

#[test]
fn ruby_resizes_a_buffer() {
    let script = "b = IO::Buffer.new(1 << 16); b.set_string('hello'); \
                  12.times { |i| b.resize(1 << (17 + i % 8)) }; puts b.size, b.get_string(0, 5)";
    if let Some(ruby) = need::program("ruby", "ruby") {
        check(&ruby, &["-W0", "--disable-gems", "-e", script]);
    }
}

/// The system calls between the two calls of `sched_yield` in a log of strace.
fn calls_between_markers(log: &str) -> Vec<&str> {
    let markers: Vec<usize> = log
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("sched_yield("))
        .map(|(number, _)| number)
        .collect();
    let [first, last] = markers[..] else {
        panic!("two calls of sched_yield, not {}", markers.len());
    };
    log.lines().skip(first + 1).take(last - first - 1).collect()
}

/// The system calls of a thousand calls of `mremap`, with a trace or without.
fn calls_around(strace: &Path, traced: bool) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let log: PathBuf = directory.path().join("strace.log");
    let mut command = Command::new(strace);
    command.arg("-o").arg(&log).arg("-E");
    command.arg(format!("LD_PRELOAD={}", Artifacts::get().shim().display()));
    if traced {
        command.arg("-E");
        command.arg(format!("MREMAP_SHIM_TRACE={}", directory.path().display()));
    }
    let status =
        command.arg(Artifacts::get().fixture("counted_calls")).status().expect("strace runs");
    assert!(status.success(), "the fixture runs");
    let log = fs::read_to_string(&log).expect("strace wrote its log");
    calls_between_markers(&log).into_iter().map(str::to_owned).collect()
}

/// Traced, a chunk of 63 records takes a reading of a clock, and every few chunks some space.
#[test]
fn a_forwarded_call_makes_no_further_system_call() {
    let Some(strace) = need::program("strace", "strace") else {
        return;
    };
    for traced in [false, true] {
        let calls = calls_around(&strace, traced);
        let (own, others): (Vec<&String>, Vec<&String>) =
            calls.iter().partition(|line| line.starts_with("mremap("));
        assert_eq!(own.len(), 1000, "traced {traced}");
        let of_chunk = |line: &&String| {
            line.starts_with("clock_gettime(")
                || line.contains("MADV_POPULATE_WRITE")
                || line.contains("FUTEX_WAKE_OP_PRIVATE")
        };
        let most = if traced { 1000 / 63 * 2 } else { 0 };
        let is_expected = others.iter().all(of_chunk) && others.len() <= most;
        assert!(is_expected, "traced {traced}: {others:#?}");
    }
}
