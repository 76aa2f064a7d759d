//! Killed writers, full disks, removed directories, hundreds of children and threads. The program
//! must end as it does untraced, every call that returned must be in the trace, and lost calls must
//! be counted.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::output::{calls_made, text};
use mremap_tests::preload::{
    Preload, Trace, alone, is_guest, read_trace_file, sum_of_calls, trace_files, traces_in,
};
use mremap_tests::records;
use mremap_trace::{Header, Outcome, layout};

/// Calls that a fixture makes in each of its stages.
const CALLS_OF_A_STAGE: u64 = 4;

/// The counts of `busy.c`: how many calls have returned in each thread.
fn counts(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap_or_default();
    let words = bytes.chunks_exact(8);
    words.map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes"))).collect()
}

/// Settings for which records a trace keeps, and its size.
type Kept = [(&'static str, &'static str); 2];
/// The file grows until it is full.
const KEEP_FIRST: Kept = [("TRACE_KEEP", "first"), ("TRACE_SIZE", "8M")];
/// The file is overwritten again and again.
const KEEP_LAST: Kept = [("TRACE_KEEP", "last"), ("TRACE_SIZE", "64K")];

/// Starts threads that call without end, and waits until the first call has returned.
fn start_busy(threads: &str, kept: Kept, directory: &Path, counters: &Path) -> Child {
    let mut run = Preload::fixture("busy")
        .args(&[threads, "0", counters.to_str().expect("a path in UTF-8")])
        .setting("TRACE", directory)
        .settings(&kept);
    let child = run.command().stdout(Stdio::null()).spawn().expect("the fixture runs");
    let deadline = Instant::now() + Duration::from_mins(1);
    while counts(counters).iter().all(|&count| count == 0) {
        assert!(Instant::now() < deadline, "no call returns");
        thread::sleep(Duration::from_micros(200));
    }
    child
}

/// Kills the writers `kills` times, at random instants.
fn kill_at_random_instants(kept: Kept, kills: u32) {
    const THREADS: u64 = 2;
    // A linear congruential generator is random enough here.
    let mut state = std::process::id().wrapping_mul(2_654_435_761);
    for kill in 0..kills {
        let directory = tempfile::tempdir().expect("a directory for the trace");
        let traces = directory.path().join("traces");
        fs::create_dir(&traces).expect("a directory");
        let counters = directory.path().join("counters");
        let mut child = start_busy(&THREADS.to_string(), kept, &traces, &counters);
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        thread::sleep(Duration::from_micros(u64::from(state >> 20)));
        child.kill().expect("it is alive");
        child.wait().expect("it ends");

        let returned: u64 = counts(&counters).iter().sum();
        let files = trace_files(&traces);
        let bytes = fs::read(&files[0]).expect("the trace is readable");
        let (trace, torn) = Trace::read_torn(&bytes);
        let recorded = trace.calls_and_losses();
        // A killed thread may have recorded a call that it has not counted, and begun another.
        assert!(
            (returned..=returned + THREADS).contains(&recorded),
            "{kept:?}, kill {kill}: {returned} calls returned, {recorded} are in the trace or counted"
        );
        assert!(torn as u64 <= THREADS, "kill {kill}: {torn} torn records");
        assert!(
            trace.calls().iter().all(|call| call.outcome == Outcome::PassedThrough),
            "kill {kill}: a record that no call wrote"
        );
    }
}

#[test]
fn records_every_call_that_returned_before_a_kill() {
    for kept in [KEEP_FIRST, KEEP_LAST] {
        kill_at_random_instants(kept, if is_guest() { 5 } else { 40 });
    }
}

#[test]
#[ignore = "ten times as many kills; cargo xtask test --programs runs it"]
fn records_every_call_that_returned_before_1000_kills() {
    for kept in [KEEP_FIRST, KEEP_LAST] {
        kill_at_random_instants(kept, 500);
    }
}

#[test]
fn loses_no_call_of_64_threads() {
    let each = if is_guest() { "100" } else { "3000" };
    let (output, trace) = Preload::fixture("busy").args(&["64", each]).traced();
    assert_eq!(trace.calls().len() as u64, calls_made(&output));
    assert_eq!(trace.header.lost(), 0);
}

#[test]
fn records_a_thousand_brief_children() {
    let kinds = [
        ("fork", 2, 1),
        ("fork-exec", 2, 1),
        ("between", 3, 2),
        ("vfork", 1, 0),
        ("vfork-exec", 2, 1),
        ("spawn", 2, 1),
        ("clone", 1, 0),
        ("daemon", 2, 1),
    ];
    let each: u64 = if is_guest() { 4 } else { 125 };
    for (kind, stages, files) in kinds {
        let (output, traces) = Preload::fixture("children")
            .args(&[kind, &each.to_string()])
            .settings(&[("MODE", "emulate"), ("TRACE_SIZE", "128K")])
            .traced_with_children();
        assert_eq!(calls_made(&output), each * stages * CALLS_OF_A_STAGE, "{kind}");
        assert_eq!(sum_of_calls(&traces), calls_made(&output), "{kind}: calls in the traces");
        assert_eq!(traces.len() as u64, 1 + each * files, "{kind}: one file for each process");
        let is_parent = |pid| traces.iter().any(|it| it.header.parent_pid == pid);
        let parents = traces.iter().filter(|trace| is_parent(trace.header.pid)).count();
        assert!(files == 0 || kind == "daemon" || parents == 1, "{kind}: each names its parent");
    }
}

#[test]
fn keeps_calls_in_order_while_the_clock_is_set() {
    let stepping = Artifacts::get().fixture("libstepping_clock.so");
    let (output, trace) =
        Preload::fixture("busy").args(&["1", "20000"]).with_libraries(&[&stepping], &[]).traced();
    let calls = trace.calls();
    assert_eq!(calls.len() as u64, calls_made(&output));
    assert!(
        calls.windows(2).all(|two| two[0].ticks <= two[1].ticks),
        "one thread's calls are in the order they were made in"
    );
}

#[test]
fn records_calls_however_the_process_ends() {
    for (end, code, signal, stages) in [
        ("return", Some(0), None, 1),
        ("_exit", Some(0), None, 1),
        ("abort", None, Some(6), 1),
        ("signal", None, Some(15), 1),
        ("fault", None, Some(11), 1),
        ("main-thread-first", Some(0), None, 2),
    ] {
        let (output, trace) =
            Preload::fixture("ending").args(&[end]).setting("MODE", "emulate").traced();
        assert_eq!((output.status.code(), output.status.signal()), (code, signal), "{end}");
        assert_eq!(trace.calls_and_losses(), stages * CALLS_OF_A_STAGE, "{end}");
    }
}

#[test]
fn survives_without_directory_and_descriptors() {
    for how in ["remove", "close"] {
        for mode in ["auto", "emulate"] {
            let directory = tempfile::tempdir().expect("a directory");
            let traces = directory.path().join("traces");
            fs::create_dir(&traces).expect("a directory");
            let output = Preload::fixture("hostile")
                .args(&[how, traces.to_str().expect("a path in UTF-8")])
                .setting("MODE", mode)
                .setting("TRACE", &traces)
                .output();
            assert_eq!(calls_made(&output), 3 * CALLS_OF_A_STAGE, "{how}, {mode}");
            if how == "close" {
                assert_eq!(sum_of_calls(&traces_in(&traces)), calls_made(&output), "{mode}");
            }
        }
    }
}

const KEPT: [&str; 2] = ["first", "last"];
const DETAILS: [&str; 2] = ["calls", "vmas"];

#[test]
fn survives_a_truncated_trace() {
    for how in ["truncate", "cut"] {
        for (mode, keep, detail) in
            [("auto", 0, 0), ("auto", 1, 1), ("emulate", 0, 1), ("emulate", 1, 0)]
        {
            let directory = tempfile::tempdir().expect("a directory");
            let output = Preload::fixture("hostile")
                .args(&[how, directory.path().to_str().expect("a path in UTF-8")])
                .settings(&[("MODE", mode), ("TRACE_KEEP", KEPT[keep])])
                .setting("TRACE_DETAIL", DETAILS[detail])
                .setting("TRACE", directory.path())
                .output();
            assert_eq!(calls_made(&output), 3 * CALLS_OF_A_STAGE, "{how}, {mode}: {output:?}");
            assert_eq!(text(&output.stderr), "", "{how}, {mode}");
            // A child has a trace of its own, whatever happened to its parent's.
            let whole = trace_files(directory.path())
                .iter()
                .map(|path| fs::read(path).expect("the trace is readable"))
                .filter(|bytes| bytes.len() > layout::HEADER_SIZE)
                .map(|bytes| Trace::read(&bytes).calls_and_losses())
                .collect::<Vec<_>>();
            assert_eq!(whole, [CALLS_OF_A_STAGE], "{how}, {mode}: the child's");
        }
    }
}

#[test]
fn counts_calls_after_a_truncation() {
    const THREADS: u64 = 4;
    for (keep, detail) in [(0, 0), (1, 1)] {
        let directory = tempfile::tempdir().expect("a directory for the trace");
        let traces = directory.path().join("traces");
        fs::create_dir(&traces).expect("a directory");
        let counters = directory.path().join("counters");
        let mut child = Preload::fixture("busy")
            .args(&[&THREADS.to_string(), "100000", counters.to_str().expect("a path in UTF-8")])
            .settings(&[("TRACE_KEEP", KEPT[keep]), ("TRACE_DETAIL", DETAILS[detail])])
            .setting("TRACE", &traces);
        let child = child.command().stdout(Stdio::piped()).spawn().expect("the fixture runs");
        while counts(&counters).iter().sum::<u64>() < 1000 {
            thread::sleep(Duration::from_micros(200));
        }
        let file = &trace_files(&traces)[0];
        let cut = fs::OpenOptions::new().write(true).open(file).expect("it is ours");
        cut.set_len(layout::HEADER_SIZE as u64).expect("it can be truncated");
        let before = counts(&counters).iter().sum::<u64>();
        let output = child.wait_with_output().expect("it ends");
        let made = calls_made(&output);
        let bytes = fs::read(file).expect("the trace is readable");
        let (header, _) = Header::decode(&bytes).expect("a header");
        // Each thread may have been in a call.
        assert!(header.lost_truncated <= made, "{header:?}");
        assert!(
            before > made - THREADS || header.lost_truncated > 0,
            "of {made} calls {before} came before: {header:?}"
        );
    }
}

/// The program handles SIGBUS itself, and jumps out of the handler.
#[test]
fn raises_no_signal_in_an_emulated_move() {
    // 2000 parts are more than the library's buffer of records holds.
    for (when, parts) in [("before", "8"), ("before", "2000"), ("during", "2000")] {
        for keep in KEPT {
            let directory = tempfile::tempdir().expect("a directory for the trace");
            let path = directory.path().to_str().expect("a path in UTF-8");
            let output = Preload::fixture("jumping")
                .args(&[when, parts, path])
                .settings(&[("MODE", "emulate"), ("TRACE_KEEP", keep), ("TRACE", path)])
                .output();
            let printed = text(&output.stdout);
            let expected = ["first: moved\nsecond: moved\n", "first: SIGBUS\nsecond: moved\n"];
            // The file may be truncated between the check that it has space and the store.
            let expected = &expected[..if when == "before" { 1 } else { 2 }];
            assert!(expected.contains(&printed.as_str()), "{when}, {parts}, {keep}: {output:?}");
        }
    }
}

#[test]
fn records_a_program_that_moves_its_vdso() {
    for mode in ["auto", "emulate"] {
        let (output, trace) = Preload::fixture("moving_vdso").setting("MODE", mode).traced();
        assert_eq!(text(&output.stdout), "moved the vDSO\n", "{mode}: {output:?}");
        assert!(trace.calls().len() > 200, "{mode}: {} calls", trace.calls().len());
    }
}

#[test]
fn names_the_process_whose_vfork_child_records_first() {
    for by in ["fork", "clone"] {
        let (output, traces) = Preload::fixture("vfork_first").args(&[by]).traced_with_children();
        let printed = text(&output.stdout);
        let numbers = printed.split_whitespace().map(|number| number.parse().expect("a number"));
        let [child, grandchild]: [u32; 2] = numbers.collect::<Vec<_>>().try_into().expect("two");
        let trace = traces.iter().find(|trace| trace.calls().len() == 6).expect("six calls");
        assert_eq!(trace.header.pid, child, "{by}");
        let is_named = records!(trace, Thread).any(|&tid| tid == grandchild);
        assert!(is_named, "{by}: the grandchild's call has its thread id");
    }
}

#[test]
fn leaves_other_bus_errors_to_the_program() {
    let program = Artifacts::get().fixture("bus_error");
    for how in ["fault", "fault-blocked", "sent", "ignored", "handled", "chained"] {
        let directory = tempfile::tempdir().expect("a directory for the trace");
        let traced =
            Preload::new(&program).args(&[how]).setting("TRACE", directory.path()).output();
        assert_eq!(traced, alone(&program, &[how]), "{how}");
    }
}

#[test]
fn does_not_follow_a_replaced_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let (traces, other) = (directory.path().join("traces"), directory.path().join("traces.other"));
    for path in [&traces, &other] {
        fs::create_dir(path).expect("a directory");
    }
    let output = Preload::fixture("hostile")
        .args(&["replace", traces.to_str().expect("a path in UTF-8")])
        .setting("TRACE", &traces)
        .output();
    assert_eq!(calls_made(&output), 3 * CALLS_OF_A_STAGE);
    assert_eq!(trace_files(&other).len(), 0, "no file in the directory that replaced it");
}

#[test]
fn does_not_map_over_a_host_that_unmapped_the_trace() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = Preload::fixture("hostile")
        .args(&["unmap", directory.path().to_str().expect("a path in UTF-8")])
        .setting("TRACE", directory.path())
        .output();
    // The parent may store into the hole and die. Its child must not map its own trace there.
    assert!([None, Some(11)].contains(&output.status.signal()), "{output:?}");
    let traces = traces_in(directory.path());
    assert_eq!(sum_of_calls(&traces), CALLS_OF_A_STAGE, "the earlier calls are there");
}

/// The output and traces of a confined program.
struct Confined {
    output: Output,
    traces: Vec<Trace>,
    /// Unfinished records and chunks.
    torn: usize,
}

impl Confined {
    /// The one trace there is.
    fn trace(&self) -> &Trace {
        let [trace] = &self.traces[..] else {
            panic!("one trace: {:?}", self.output);
        };
        trace
    }

    fn assert_silent(&self) {
        assert_eq!(text(&self.output.stderr), "", "the library prints nothing at run time");
    }
}

/// Runs 20,000 calls with a trace whose space is limited. `None` if this machine does not permit
/// the limit.
fn run_confined(what: &str, amount: &str) -> Option<Confined> {
    run_confined_with(what, amount, &[])
}

fn run_confined_with(what: &str, amount: &str, settings: &[(&str, &str)]) -> Option<Confined> {
    let directory = tempfile::tempdir().expect("a directory");
    let (small, kept) = (directory.path().join("small"), directory.path().join("small.kept"));
    fs::create_dir(&small).and_then(|()| fs::create_dir(&kept)).expect("two directories");
    let busy = Artifacts::get().fixture("busy");
    let arguments = [what, amount].map(Path::new);
    // One of the limits is a seccomp filter that refuses to allocate space.
    let mut run = Preload::fixture("confine")
        .setting("TRACE", &small)
        .setting("SECCOMP", "trust")
        .settings(settings);
    let output = run
        .command()
        .args(arguments)
        .args([&small, &busy])
        .args(["1", "20000"])
        .env_remove("LD_PRELOAD")
        .env("CONFINED_PRELOAD", Artifacts::get().shim())
        .output()
        .expect("the fixture runs");
    if !need::permission(&format!("{what} {amount}"), &output) {
        return None;
    }
    assert_eq!(calls_made(&output), 20_000, "{what} {amount}");
    let read = |path: &PathBuf| Trace::read_torn(&read_trace_file(path));
    let (traces, torn): (Vec<_>, Vec<_>) = trace_files(&kept).iter().map(read).unzip();
    Some(Confined { output, traces, torn: torn.iter().sum() })
}

#[test]
fn counts_calls_lost_on_a_full_disk() {
    for (what, amount) in [("disk", "600K"), ("ext4", "1M")] {
        for keep in KEPT {
            let settings = [("TRACE_KEEP", keep)];
            let Some(run) = run_confined_with(what, amount, &settings) else {
                continue;
            };
            let (trace, header) = (run.trace(), run.trace().header);
            assert_eq!(trace.calls_and_losses(), 20_000, "{what}, {keep}: {header:?}");
            assert!(trace.calls().len() > 1000, "{what}, {keep}: most of the disk is used");
            let lost = [header.lost_no_space, header.lost_overwritten];
            assert!(lost[usize::from(keep == "last")] > 0, "{what}, {keep}: {header:?}");
            assert_eq!(lost.iter().sum::<u64>(), header.lost(), "{what}, {keep}: {header:?}");
            // A ring's chunk numbers continue past its last position.
            assert!(run.torn <= 1 || keep == "last", "{what}: {} chunks and records", run.torn);
            run.assert_silent();
        }
    }
}

/// A copy-on-write file system needs new space to overwrite a byte, so it may be unable to store
/// the count of lost calls.
#[test]
fn survives_a_quota_on_btrfs() {
    let Some(run) = run_confined("btrfs-quota", "600K") else {
        return;
    };
    let trace = run.trace();
    assert!(run.torn <= 1, "the chunk that could not be begun: {}", run.torn);
    let calls = trace.calls().len();
    assert!((1000..20_000).contains(&calls), "{calls} calls");
    assert!(trace.calls_and_losses() <= 20_000);
    run.assert_silent();
}

#[test]
fn survives_a_limit_on_file_sizes() {
    let run = run_confined("file-size", "400000").expect("a limit can always be set");
    let trace = run.trace();
    assert_eq!(trace.calls_and_losses(), 20_000);
    assert!(trace.header.lost_full > 0, "the file was full");
    assert_eq!(run.torn, 0);
}

#[test]
fn reports_in_one_line_why_there_is_no_trace() {
    for (what, amount, errno) in [
        ("disk", "12K", "No space left on device (ENOSPC)"),
        ("read-only", "-", "Read-only file system (EROFS)"),
        ("file-size", "1000", "File too large (EFBIG)"),
        ("quota", "0", "Disk quota exceeded (EDQUOT)"),
    ] {
        let Some(run) = run_confined(what, amount) else {
            continue;
        };
        assert!(run.traces.is_empty(), "{what} {amount}");
        let printed = text(&run.output.stderr);
        assert_eq!(printed.lines().count(), 1, "{what} {amount}: {printed}");
        assert!(
            printed.starts_with("mremap-shim: no trace: ")
                && printed.ends_with(&format!(": {errno}\n")),
            "{what} {amount}: {printed}"
        );
    }
}
