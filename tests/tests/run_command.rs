//! `mremap-analyzer run`: leaves input, output, signals and status to the program, refuses programs
//! that the library cannot reach, and fails before the program runs when its calls cannot be
//! recorded.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::output::text;
use mremap_tests::preload::{sum_of_calls, traces_in};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

/// Calls that a stage of the fixtures makes.
const CALLS_OF_A_STAGE: u64 = 4;

/// `mremap-analyzer run OPTIONS PROGRAM ARGUMENTS`, with its temporary files in `home`.
fn run(home: &Path, options: &[&str], program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(Artifacts::get().analyzer());
    command.arg("run").args(options).arg(program).args(arguments);
    command.env_remove("LD_PRELOAD").env("TMPDIR", home);
    command
}

fn output(options: &[&str], program: &Path, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a directory");
    run(home.path(), options, program, arguments).output().expect("the analyzer runs")
}

/// Runs a program that waits for a signal, sends the signal, and checks program, trace and summary.
fn check_signal(signal: Signal, send: impl Fn(Pid)) {
    let home = tempfile::tempdir().expect("a directory");
    let traces = home.path().join("traces");
    let options = ["--trace", traces.to_str().expect("a path in UTF-8")];
    let mut child = run(home.path(), &options, &Artifacts::get().fixture("on_signal"), &[])
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the analyzer runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its stdout")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    send(Pid::from_child(&child));
    let number = signal.as_raw();
    assert_eq!(lines.next().expect("a line").expect("text"), format!("signal {number}"));
    let mut printed = String::new();
    child.stderr.take().expect("its stderr").read_to_string(&mut printed).expect("text");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(40 + number), "{printed}");
    assert!(printed.contains("mremap-analyzer report "), "{printed}");
    assert_eq!(
        sum_of_calls(&traces_in(&traces)),
        2 * CALLS_OF_A_STAGE,
        "calls before and after the signal"
    );
}

#[test]
fn keeps_trace_and_summary_after_ctrl_c() {
    check_signal(Signal::INT, |group| {
        kill_process_group(group, Signal::INT).expect("the group exists");
    });
}

#[test]
fn forwards_signals_sent_to_run_alone() {
    check_signal(Signal::TERM, |process| {
        kill_process(process, Signal::TERM).expect("it runs");
    });
}

#[test]
fn returns_status_and_output_of_the_program() {
    let ending = Artifacts::get().fixture("ending");
    for (end, status) in
        [("return", 0), ("abort", 128 + 6), ("signal", 128 + 15), ("fault", 128 + 11)]
    {
        let run = output(&[], &ending, &[end]);
        assert_eq!(run.status.code(), Some(status), "{end}: {run:?}");
        let printed = text(&run.stderr);
        assert!(printed.contains("passed-through"), "{end}: the summary: {printed}");
    }
    let busy = Artifacts::get().fixture("busy");
    let run = output(&[], &busy, &["1", "5"]);
    assert_eq!(text(&run.stdout), "busy: 5 calls\n");
    assert_eq!(output(&[], &busy, &[]).status.code(), Some(1), "the program's status");
}

#[test]
fn records_programs_by_the_name_typed() {
    let home = tempfile::tempdir().expect("a directory");
    let link = home.path().join("alias");
    std::os::unix::fs::symlink(Artifacts::get().fixture("busy"), &link).expect("a link");
    let name = link.to_str().expect("a path in UTF-8");
    let run = output(&["--programs", name], &link, &["1", "5"]);
    let printed = text(&run.stderr);
    assert!(printed.contains("passed-through"), "{printed}");

    let none = output(&["--programs", "mremap-no-such-program"], &link, &["1", "5"]);
    let printed = text(&none.stderr);
    assert_eq!(none.status.code(), Some(125), "{printed}");
    for word in ["no program mremap-no-such-program", "alias (executable busy)"] {
        assert!(printed.contains(word), "{word:?} in: {printed}");
    }
}

#[test]
fn records_children_by_name_behind_a_wrapper_in_the_path() {
    let home = tempfile::tempdir().expect("a directory");
    let [wrappers, programs] = ["wrappers", "programs"].map(|name| home.path().join(name));
    for directory in [&wrappers, &programs] {
        fs::create_dir(directory).expect("a directory");
    }
    let (wrapper, link) = (wrappers.join("tool"), programs.join("tool"));
    std::os::unix::fs::symlink(Artifacts::get().fixture("busy"), &link).expect("a link");
    fs::write(&wrapper, format!("#!/bin/sh\nexec {} \"$@\"\n", link.display())).expect("a script");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("its mode");
    let old = std::env::var("PATH").expect("text");
    let path = format!("{}:{}:{old}", wrappers.display(), programs.display());
    let traces = home.path().join("traces");
    // The shell that runs the wrapper is no tool; neither is the shell's other child.
    let script = format!("tool 1 5; {}", programs.join("other").display());
    std::os::unix::fs::symlink(Artifacts::get().example("snapshot"), programs.join("other"))
        .expect("a link");
    let options = ["--programs", "tool", "--trace", traces.to_str().expect("text")];
    let run = run(home.path(), &options, Path::new("sh"), &["-c", &script])
        .env("PATH", path)
        .output()
        .expect("the analyzer runs");
    let printed = text(&run.stderr);
    let traces = traces_in(&traces);
    assert_eq!((traces.len(), sum_of_calls(&traces)), (1, 5), "{printed}");
}

#[test]
fn leaves_no_trace_of_processes_without_calls() {
    let home = tempfile::tempdir().expect("a directory");
    let traces = home.path().join("traces");
    let options = ["--trace", traces.to_str().expect("text")];
    let busy = Artifacts::get().fixture("busy");
    let script = format!("/bin/true; {} 1 5; exec /bin/true", busy.display());
    let run = run(home.path(), &options, Path::new("sh"), &["-c", &script]).output();
    let printed = text(&run.expect("the analyzer runs").stderr);
    let traces = traces_in(&traces);
    assert_eq!((traces.len(), sum_of_calls(&traces)), (1, 5), "{printed}");
}

#[test]
fn says_how_to_record_the_vmas_of_native_moves() {
    let mover = Artifacts::get().example("snapshot");
    let hint = |detail: &str| {
        let printed = text(&output(&["--detail", detail], &mover, &[]).stderr);
        (printed.contains(" native"), printed.contains("run --detail vmas"), printed)
    };
    let (is_native, is_hinted, printed) = hint("calls");
    assert_eq!(is_hinted, is_native, "{printed}");
    assert!(!hint("vmas").1);
}

#[test]
fn says_how_to_see_the_calls_of_realloc() {
    let program = Path::new("true");
    let printed = text(&output(&[], program, &[]).stderr);
    let is_patched = cfg!(target_arch = "x86_64");
    assert!(printed.contains("no calls of mremap"), "{printed}");
    assert_eq!(printed.contains("run --libc patch"), is_patched, "{printed}");
    let printed = text(&output(&["--libc", "patch"], program, &[]).stderr);
    assert!(!printed.contains("run --libc patch"), "{printed}");
}

#[test]
fn takes_options_up_to_the_program_only() {
    let home = tempfile::tempdir().expect("a directory");
    let ending = Artifacts::get().fixture("ending");
    let after_program = run(home.path(), &["--mode", "auto"], &ending, &["--mode", "-x"]).output();
    let printed = text(&after_program.expect("the analyzer runs").stderr);
    assert!(!printed.contains("Usage: mremap-analyzer"), "{printed}");
    let mistyped = output(&["--moed", "auto"], &ending, &[]);
    assert_eq!(mistyped.status.code(), Some(2), "{}", text(&mistyped.stderr));
    let separated = output(&["--"], &ending, &["return"]);
    assert_eq!(separated.status.code(), Some(0), "{}", text(&separated.stderr));
}

/// A directory of programs that must not run: each would print to stdout.
struct Unreachable {
    directory: TempDir,
    bytes: Vec<u8>,
}

impl Unreachable {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            bytes: fs::read(Artifacts::get().fixture("busy")).expect("the fixture is readable"),
        }
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, bytes).expect("the program is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode is set");
        path
    }

    /// A copy of the fixture with some bytes replaced.
    fn patched(&self, name: &str, at: usize, fresh: &[u8]) -> PathBuf {
        let mut bytes = self.bytes.clone();
        bytes[at..at + fresh.len()].copy_from_slice(fresh);
        self.write(name, &bytes, 0o755)
    }

    /// Offset of the loader's path.
    fn loader(&self) -> usize {
        let name = b"/lib";
        let found = self.bytes.windows(name.len()).position(|window| window == name);
        found.expect("a path of a loader")
    }

    /// Offset of the program header `PT_INTERP`. Program headers of 56 bytes follow a file header
    /// of 64.
    fn loader_segment(&self) -> usize {
        const PT_INTERP: [u8; 4] = 3_u32.to_ne_bytes();
        (64..)
            .step_by(56)
            .take(16)
            .find(|&at| self.bytes[at..at + 4] == PT_INTERP)
            .expect("a PT_INTERP")
    }
}

/// Checks that `run` refuses a program: it prints nothing, the status is 126, and stderr contains
/// `words`.
fn check_refused(program: &Path, words: &[&str]) {
    check_refused_with(126, program, words);
}

fn check_refused_with(status: i32, program: &Path, words: &[&str]) {
    let run = output(&[], program, &["1", "5"]);
    let printed = text(&run.stderr);
    assert_eq!(run.status.code(), Some(status), "{}: {printed}", program.display());
    assert_eq!(text(&run.stdout), "", "{} has run", program.display());
    for word in words {
        assert!(printed.contains(word), "{}: {word:?} in: {printed}", program.display());
    }
}

#[test]
fn refuses_programs_out_of_reach_with_the_reason() {
    let programs = Unreachable::new();
    let bytes = &programs.bytes;
    let no_loader = programs.patched("static", programs.loader_segment(), &0_u32.to_ne_bytes());
    check_refused(&no_loader, &["statically linked", "--reach all"]);
    let bionic = programs.patched("bionic", programs.loader(), b"/system/bin/linker64\0");
    check_refused(&bionic, &["linker64", "glibc", "musl"]);
    check_refused(&programs.patched("narrow", 4, &[1]), &["32-bit"]);
    check_refused(&programs.write("setuid", bytes, 0o4755), &["setuid", "cp", "--reach all"]);
    check_refused(&programs.write("setgid", bytes, 0o2755), &["setgid"]);
    check_refused(&programs.write("plain", bytes, 0o644), &["not executable", "chmod"]);
    check_refused(programs.directory.path(), &["directory"]);
    check_refused_with(127, &programs.directory.path().join("missing"), &["no such"]);
    check_refused_with(127, Path::new("mremap-no-such-program"), &["PATH"]);
    let script = programs.write("script", b"#!/usr/bin/env mremap-no-such-program\n", 0o755);
    check_refused_with(127, &script, &["mremap-no-such-program", "PATH"]);
}

#[test]
fn refuses_programs_with_file_capabilities() {
    let programs = Unreachable::new();
    let program = programs.write("capable", &programs.bytes, 0o755);
    let Some(setcap) = need::program("setcap", "libcap2-bin") else {
        return;
    };
    let set =
        Command::new(setcap).arg("cap_net_raw+ep").arg(&program).output().expect("setcap runs");
    if !set.status.success() {
        return need::skip(
            "a program with file capabilities: setting them takes root and a file system that stores them",
        );
    }
    check_refused(&program, &["capabilities"]);
}

#[test]
fn refuses_a_static_program_linked_with_musl() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(compiler) = need::program("musl-gcc", "musl-tools") else {
        return;
    };
    let (source, program) = (directory.path().join("hello.c"), directory.path().join("hello"));
    fs::write(&source, "int main(void) { return 0; }\n").expect("the source is written");
    let status = Command::new(&compiler)
        .args(["-static", "-o"])
        .args([&program, &source])
        .status()
        .expect("the compiler runs");
    assert!(status.success(), "it compiles");
    check_refused(&program, &["statically"]);
}

#[test]
fn reports_a_missing_loader() {
    let programs = Unreachable::new();
    let absent = programs.patched("absent", programs.loader(), b"/lib/ld-linux-0.so.0\0");
    check_refused_with(127, &absent, &["cannot be started", "loader"]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn names_the_library_by_lib_where_32_bit_programs_find_another() {
    let home = tempfile::tempdir().expect("a directory");
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    let wide = if libc.exists() { "lib/x86_64-linux-gnu" } else { "lib64" };
    let narrow = if libc.exists() { "lib/i386-linux-gnu" } else { "lib" };
    let library = home.path().join(wide).join("libmremap_shim.so");
    let place = |directory: &str| {
        let directory = home.path().join(directory);
        fs::create_dir_all(&directory).expect("a directory");
        fs::copy(Artifacts::get().shim(), directory.join("libmremap_shim.so")).expect("a copy");
    };
    place(wide);
    let run = || {
        let options = ["--best-effort", "--shim", library.to_str().expect("a path in UTF-8")];
        output(&options, Path::new("/bin/sh"), &["-c", "echo $LD_PRELOAD"])
    };
    assert_eq!(text(&run().stdout), format!("{}\n", library.display()));
    place(narrow);
    place("$LIB");
    let output = run();
    let expected = format!("{}/$LIB/libmremap_shim.so\n", home.path().display());
    assert_eq!(text(&output.stdout), expected, "{output:?}");
    // The loader found the library: there is nothing in the way of a trace.
    assert!(!text(&output.stderr).contains("cannot be preloaded"), "{output:?}");
}

#[test]
fn preloads_a_sanitizer_before_the_shim() {
    let Some(compiler) = need::program("gcc", "gcc") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let (source, program) = (directory.path().join("grow.c"), directory.path().join("grow"));
    let code = "#define _GNU_SOURCE\n#include <sys/mman.h>\nint main(void) {\n\
        void *p = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);\n\
        return mremap(p, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED;\n}\n";
    fs::write(&source, code).expect("the source is written");
    let compiled = Command::new(compiler)
        .args(["-fsanitize=address", "-o"])
        .args([&program, &source])
        .output()
        .expect("the compiler runs");
    assert!(compiled.status.success(), "{compiled:?}");
    let run = output(&[], &program, &[]);
    let printed = text(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{printed}");
    assert!(printed.contains("1 passed-through"), "{printed}");
}
