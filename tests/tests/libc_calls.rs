//! The calls of `mremap` that libc makes to itself. With libc patched, or with glibc's debugging
//! allocator, all of them are in the trace and nothing else changes. Where libc cannot be patched,
//! one line says why.

use std::path::Path;
use std::process::Command;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::output::text;
use mremap_tests::preload::{Preload, Trace};
use mremap_tests::strace;

const GROWS_A_BYTEARRAY: &str = "
b = bytearray()
for turn in range(300):
    b.extend(b'x' * 100000)
print(len(b))
";
const GROWS_A_STRING_OF_PERL: &str =
    "my $s = ''; $s .= 'x' x 100000 for 1 .. 300; print length $s, qq(\n)";
const GROWS_AND_RESIZES: &str = "
import mmap
m = mmap.mmap(-1, 4096)
for turn in range(12):
    m.resize(4096 << turn)
b = bytearray()
for turn in range(300):
    b.extend(b'x' * 100000)
print(len(m), len(b))
";

/// The library's own `mremap` calls while it patches libc: the move of the page.
const CALLS_TO_PATCH: usize = 1;

fn recorded(traces: &[Trace]) -> usize {
    traces.iter().map(|trace| trace.calls().len()).sum()
}

/// Runs a program alone under strace, then with libc patched and traced: output and number of calls
/// are the same.
fn check(program: &Path, arguments: &[&str]) {
    let Some(strace) = need::program("strace", "strace") else {
        return;
    };
    let mut alone = Command::new(program);
    alone.args(arguments);
    let (expected, calls) = strace::count_calls(&strace, &alone);
    let name = program.display();
    assert!(calls > 5, "{name} calls mremap {calls} times: {expected:?}");
    for mode in ["auto", "emulate"] {
        let run =
            || Preload::new(program).args(arguments).setting("LIBC", "patch").setting("MODE", mode);
        let (output, traces) = run().traced_with_children();
        assert_eq!(output, expected, "{name}, {mode}");
        assert_eq!(recorded(&traces), calls, "{name}, {mode}");
        let lost: u64 = traces.iter().map(|trace| trace.header.lost()).sum();
        assert_eq!(lost, 0, "{name}, {mode}");
        assert_eq!(run().output(), expected, "{name}, {mode}, without a trace");
    }
}

#[test]
fn records_reallocations_in_threads_handlers_and_children() {
    check(&Artifacts::get().fixture("growing"), &[]);
}

#[test]
fn records_reallocations_of_python() {
    // Debian's own. A version manager puts shell scripts into PATH.
    if let Some(python) = need::file("/usr/bin/python3", "python3") {
        check(&python, &["-S", "-c", GROWS_A_BYTEARRAY]);
        check(&python, &["-S", "-c", GROWS_AND_RESIZES]);
    }
}

#[test]
fn records_reallocations_of_perl() {
    if let Some(perl) = need::file("/usr/bin/perl", "perl") {
        check(&perl, &["-e", GROWS_A_STRING_OF_PERL]);
    }
}

#[test]
fn records_reallocations_of_ruby() {
    if let Some(ruby) = need::file("/usr/bin/ruby", "ruby") {
        check(
            &ruby,
            &["--disable-gems", "-e", "s = +''; 300.times { s << 'x' * 100_000 }; puts s.size"],
        );
    }
}

#[test]
fn records_each_call_once_with_a_profiler() {
    let (Some(memusage), Some(python), Some(strace)) = (
        need::library("libmemusage.so", "libc6"),
        need::file("/usr/bin/python3", "python3"),
        need::program("strace", "strace"),
    ) else {
        return;
    };
    let arguments = ["-S", "-c", GROWS_AND_RESIZES];
    let mut alone = Command::new(&python);
    alone.args(arguments).env("LD_PRELOAD", &memusage);
    let (expected, calls) = strace::count_calls(&strace, &alone);
    assert!(expected.status.success() && calls > 40, "{calls}: {expected:?}");
    let memusage = &[memusage.as_path()][..];
    for (before, after) in [(memusage, &[][..]), (&[][..], memusage)] {
        for mode in ["auto", "emulate"] {
            let run = || {
                Preload::new(&python)
                    .args(&arguments)
                    .with_libraries(before, after)
                    .setting("MODE", mode)
                    .setting("LIBC", "patch")
            };
            // Without a trace calls are not marked, and must still not return to the hook in an
            // endless loop.
            let (output, made) = strace::count_calls(&strace, run().command());
            assert_eq!(output.stdout, expected.stdout, "{before:?}, {after:?}, {mode}");
            assert_eq!(made, calls + CALLS_TO_PATCH, "{before:?}, {after:?}, {mode}");
            let (output, traces) = run().traced_with_children();
            assert_eq!(output.stdout, expected.stdout, "{before:?}, {after:?}, {mode}");
            assert_eq!(recorded(&traces), calls, "{before:?}, {after:?}, {mode}");
        }
    }
}

#[test]
fn records_calls_of_the_debugging_allocator_without_a_patch() {
    let (Some(library), Some(strace)) =
        (need::library("libc_malloc_debug.so.0", "libc6"), need::program("strace", "strace"))
    else {
        return;
    };
    // One thread, because the timing of frees decides where later memory comes from.
    let arguments = ["-e", GROWS_A_STRING_OF_PERL];
    let mut alone = Command::new("/usr/bin/perl");
    alone.args(arguments).env("MALLOC_CHECK_", "1").env("LD_PRELOAD", &library);
    let (expected, calls) = strace::count_calls(&strace, &alone);
    assert!(expected.status.success() && calls > 5, "{calls}: {expected:?}");
    let mut run = Preload::new("/usr/bin/perl").args(&arguments).with_libraries(&[], &[&library]);
    run.command().env("MALLOC_CHECK_", "1");
    let (output, traces) = run.traced_with_children();
    assert_eq!(output, expected);
    assert_eq!(recorded(&traces), calls);
}

/// Runs a program in which libc cannot be patched and returns what the library printed. `None`
/// where the kernel lacks what `earlier` needs.
fn refusal(earlier: &str) -> Option<String> {
    let constructor = Artifacts::get().fixture("libearlier.so");
    let mut run =
        Preload::fixture("growing").with_libraries(&[], &[&constructor]).setting("LIBC", "patch");
    run.command().env("EARLIER", earlier);
    let output = run.output();
    if output.status.code() == Some(77) {
        return None;
    }
    assert_eq!(text(&output.stdout), "growing: done\n", "{earlier}: {output:?}");
    Some(text(&output.stderr))
}

#[test]
fn says_in_one_line_why_libc_was_not_patched() {
    const SEEN: &str = "mremap-shim: libc's own calls of mremap are not seen: ";
    assert_eq!(refusal("").as_deref(), Some(""), "libc can be patched");
    for (earlier, why) in [
        ("threads", "other threads may be running already\n"),
        ("patched", "the code of libc's mremap is unknown\n"),
        ("breakpoint", "libc's code in memory differs from its file\n"),
        ("no-code", "memory cannot be made executable here: Permission denied (EACCES)\n"),
    ] {
        // PR_SET_MDWE, which refuses new code, is of Linux 6.3.
        if let Some(printed) = refusal(earlier) {
            assert_eq!(printed, format!("{SEEN}{why}"), "{earlier}");
        }
    }
}

#[test]
fn run_has_an_option_to_patch_libc() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = Command::new(Artifacts::get().analyzer())
        .args(["run", "--libc", "patch", "--trace"])
        .arg(directory.path())
        .arg("--")
        .arg(Artifacts::get().fixture("growing"))
        .output()
        .expect("the analyzer runs");
    assert_eq!(text(&output.stdout), "growing: done\n", "{output:?}");
    assert!(recorded(&mremap_tests::preload::traces_in(directory.path())) > 5);
}

#[test]
fn libc_is_not_patched_by_default() {
    let program = Artifacts::get().fixture("growing");
    let (_, traces) = Preload::new(&program).traced_with_children();
    assert_eq!(recorded(&traces), 0);
    let (_, traces) = Preload::new(&program).setting("LIBC", "leave").traced_with_children();
    assert_eq!(recorded(&traces), 0);
    let output = Preload::new(&program).setting("LIBC", "patched").output();
    assert_eq!(
        text(&output.stderr),
        "mremap-shim: MREMAP_SHIM_LIBC=patched must be leave or patch; using leave\n"
    );
}
