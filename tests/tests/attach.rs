//! `attach` and `detach`: a process that runs already is recorded, and does what it did before:
//! same output, same status, no call that fails or takes shorter than it should.
#![cfg(target_arch = "x86_64")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::output::text;
use mremap_tests::preload::{
    Trace, is_guest, kernel_moves_several_vmas, read_trace_file, trace_files, traces_in,
};
use mremap_tests::running::{self, Running, analyzer, state};
use mremap_trace::Outcome;
use rustix::process::{Pid, Signal, kill_process};

/// As a trace has it.
const EINVAL: i64 = -22;

/// Attaches; must succeed.
fn attach(options: &[&str], directory: &Path, pid: u32) {
    let directory = directory.to_str().expect("a path in UTF-8");
    let output = analyzer(&[&["attach", "--trace", directory], options].concat(), pid);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stderr);
    assert!(printed.contains("attached; all threads stood still for "), "{printed}");
}

fn detach(pid: u32) {
    let output = analyzer(&["detach"], pid);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// What `attach` says when it refuses.
fn refusal(pid: u32) -> String {
    running::refusal(&["attach"], pid)
}

/// The number of calls in all traces. A call that is being made when the process is detached is
/// recorded when it returns.
fn calls_in(directory: &Path) -> usize {
    let read = |path: &PathBuf| Trace::read_torn(&read_trace_file(path));
    let begun = Instant::now();
    loop {
        let traces: Vec<_> = trace_files(directory).iter().map(read).collect();
        if traces.iter().all(|(_, torn)| *torn == 0) {
            return traces.iter().map(|(trace, _)| trace.calls().len()).sum();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "a record stays torn");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Each takes long on an emulated processor.
fn turns(turns: u64) -> u64 {
    if is_guest() { turns.div_ceil(40) } else { turns }
}

fn work() {
    thread::sleep(Duration::from_millis(if is_guest() { 1000 } else { 200 }));
}

const WORKS_OF_MEMORY: [&str; 4] = ["grow", "remap", "busy", "grow"];

#[test]
fn records_a_busy_process_until_it_is_detached_and_again() {
    record_twice(Running::fixture(&WORKS_OF_MEMORY));
}

fn record_twice(running: Running) {
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    for directory in &directories {
        attach(&[], directory.path(), running.pid());
        work();
        detach(running.pid());
        work();
        let recorded = calls_in(directory.path());
        assert!(recorded > 50, "{recorded} calls");
        work();
        assert_eq!(calls_in(directory.path()), recorded, "none after it was detached");
    }
    let expected = "busy: done grow: done grow: done remap: done".to_owned();
    assert_eq!(running.end(), (expected, Some(5)));
    for directory in &directories {
        assert_eq!(traces_in(directory.path())[0].header.forked_from, 0, "it is no fork's child");
    }
    let traces = traces_in(directories[0].path());
    let [trace] = traces.as_slice() else { panic!("one trace") };
    let calls = trace.calls();
    let failed = calls.iter().filter(|call| call.result == EINVAL).count();
    assert!(failed > 0, "the calls that fail on purpose");
    assert!(calls.iter().all(|call| call.outcome == Outcome::PassedThrough && call.caller != 0));
}

/// A FIFO in `LD_PRELOAD` keeps the loader from going on to libc until somebody writes to it.
#[test]
fn waits_for_the_libc_of_a_program_that_has_just_been_started() {
    let [directory, other] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let fifo = other.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    let mut command = Command::new(Artifacts::get().fixture("attached"));
    command.arg("grow").env("LD_PRELOAD", &fifo).stderr(Stdio::null());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running(command.spawn().expect("it starts"));
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        fs::write(fifo, "").expect("the loader reads");
    });
    attach(&[], directory.path(), running.pid());
    writer.join().expect("it has written");
    assert_eq!(running.line(), "ready");
    work();
    assert_eq!(running.end(), ("grow: done".to_owned(), Some(5)));
    assert!(calls_in(directory.path()) > 0);
}

#[test]
fn emulates_moves_from_then_on() {
    emulate_moves(|| Running::fixture(&["move"]));
}

fn emulate_moves(start: impl Fn() -> Running) {
    let directory = tempfile::tempdir().expect("a directory");
    let running = start();
    work();
    attach(&["--mode", "emulate"], directory.path(), running.pid());
    work();
    assert_eq!(running.end(), ("move: done".to_owned(), Some(5)));
    let traces = traces_in(directory.path());
    let calls: Vec<_> = traces.iter().flat_map(Trace::calls).collect();
    assert!(!calls.is_empty());
    for call in calls {
        assert_eq!((call.outcome, call.result as u64), (Outcome::Emulated, call.new));
    }
    if !kernel_moves_several_vmas() {
        assert_eq!(start().end().0, "move: refused", "without the library");
    }
}

#[test]
fn sleeps_and_waits_go_on_as_long_as_they_should() {
    sleep_and_wait(Running::fixture(&["sleep", "epoll", "sleep"]));
}

fn sleep_and_wait(running: Running) {
    let directory = tempfile::tempdir().expect("a directory");
    for _ in 0..turns(20) {
        attach(&[], directory.path(), running.pid());
        detach(running.pid());
    }
    let expected = "epoll: done sleep: done sleep: done".to_owned();
    assert_eq!(running.end(), (expected, Some(5)));
}

#[test]
fn a_single_thread_that_sleeps_wakes_up_in_time() {
    if is_guest() {
        return; // a guest's sleep is a static busybox
    }
    // Building it takes longer than the sleep.
    let _ = Artifacts::get();
    let begun = Instant::now();
    let mut command = Command::new("/bin/sleep");
    let mut sleeper = command.arg("3").env_remove("LD_PRELOAD").spawn().expect("it starts");
    let directory = tempfile::tempdir().expect("a directory");
    thread::sleep(Duration::from_millis(500));
    attach(&[], directory.path(), sleeper.id());
    detach(sleeper.id());
    assert_eq!(sleeper.wait().expect("it ends").code(), Some(0));
    let slept = begun.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_secs(5)).contains(&slept), "{slept:?}");
}

#[test]
fn signals_and_forks_do_not_disturb() {
    disturb(Running::fixture(&["storm", "forks", "grow", "busy"]));
}

fn disturb(running: Running) {
    let directory = tempfile::tempdir().expect("a directory");
    for _ in 0..turns(5) {
        attach(&[], directory.path(), running.pid());
        work();
        detach(running.pid());
    }
    let expected = "busy: done forks: done grow: done storm: done".to_owned();
    assert_eq!(running.end(), (expected, Some(5)));
    let traces = traces_in(directory.path());
    let children = traces.iter().filter(|trace| trace.header.forked_from != 0).count();
    assert!(children > 0 && calls_in(directory.path()) > 0, "{children} children");
}

const PROGRAM: &str = "
import mmap, select, sys
print('ready', flush=True)
memory = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
turn = 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    turn = turn % 8 + 1
    memory.resize(4096 * turn)
    memory[4096 * turn - 1] = turn
print('done')
";

#[test]
fn records_python_that_runs_already() {
    let Some(python) = need::file("/usr/bin/python3", "python3") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(Command::new(python).args(["-S", "-c", PROGRAM]));
    attach(&["--stack", "4"], directory.path(), running.pid());
    work();
    detach(running.pid());
    assert_eq!(running.end(), ("done".to_owned(), Some(0)));
    assert!(calls_in(directory.path()) > 5);
}

/// The library comes in a memory file.
#[test]
fn records_a_process_whose_root_lacks_the_library() {
    let libraries = ["/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"];
    let program = Artifacts::get().fixture("attached");
    record_in_root(&program, &libraries, "/memfd:libmremap_shim.so");
}

fn record_in_root(program: &Path, libraries: &[&str], mapped: &str) {
    if is_guest() || !need::root("tests in another root directory") {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    fs::copy(program, root.path().join("attached")).expect("a copy");
    for library in libraries {
        let copy = root.path().join(&library[1..]);
        fs::create_dir_all(copy.parent().expect("a directory")).expect("a directory");
        fs::copy(library, copy).expect("a copy");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::in_root(root.path(), directory.path(), &["grow", "remap", "busy"]);
    for _ in 0..3 {
        attach(&[], directory.path(), running.pid());
        let maps = fs::read_to_string(format!("/proc/{}/maps", running.pid())).expect("text");
        assert!(maps.contains(mapped), "{maps}");
        work();
        detach(running.pid());
    }
    assert_eq!(running.end(), ("busy: done grow: done remap: done".to_owned(), Some(5)));
    assert!(calls_in(directory.path()) > 50);
}

/// The thread that sets ids holds a lock which `dlopen` takes until the borrowed thread has handled
/// a signal.
#[test]
fn the_borrowed_thread_sets_its_ids_when_another_one_asks() {
    attach_while_ids_are_set(Running::fixture(&["ids"]));
}

/// On an emulated processor the thread has hardly handled a signal when the next one comes.
fn attach_while_ids_are_set(running: Running) {
    if is_guest() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    attach(&[], directory.path(), running.pid());
    assert_eq!(running.end(), ("ids: done".to_owned(), Some(5)));
}

/// A thread that waits in a condition variable holds no lock of libc.
#[test]
fn borrows_a_thread_that_waits_for_another_one() {
    borrow_waiting(Running::fixture(&["grow", "waits"]));
}

fn borrow_waiting(running: Running) {
    let directory = tempfile::tempdir().expect("a directory");
    attach(&[], directory.path(), running.pid());
    work();
    detach(running.pid());
    assert_eq!(running.end(), ("grow: done waits: done".to_owned(), Some(5)));
    assert!(calls_in(directory.path()) > 0);
}

#[test]
fn a_stopped_process_stays_stopped() {
    let running = Running::fixture(&["grow"]);
    let pid = Pid::from_child(&running.0);
    kill_process(pid, Signal::STOP).expect("it runs");
    while state(running.pid()) != 'T' {
        thread::yield_now();
    }
    let printed = refusal(running.pid());
    assert!(printed.contains("is stopped; continue it first"), "{printed}");
    assert_eq!(state(running.pid()), 'T');
    kill_process(pid, Signal::CONT).expect("it is there");
    assert_eq!(running.end(), ("grow: done".to_owned(), Some(5)));
}

#[test]
fn an_exiting_process_exits() {
    for pause in 0..20 {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "for i in 1 2 3 4 5 6 7 8 9; do :; done; exit 6"])
            .env_remove("LD_PRELOAD")
            .spawn()
            .expect("it starts");
        thread::sleep(Duration::from_micros(200 * pause));
        analyzer(&["attach"], child.id());
        assert_eq!(child.wait().expect("it ends").code(), Some(6));
    }
}

#[test]
fn the_process_outlives_a_tracer_that_is_killed() {
    outlive(Running::fixture(&["grow", "remap", "sleep", "busy"]));
}

fn outlive(running: Running) {
    let directory = tempfile::tempdir().expect("a directory");
    let pid = running.pid().to_string();
    for turn in 0..turns(80) {
        let mut command = Command::new(Artifacts::get().analyzer());
        command.args(["attach", "--trace"]).arg(directory.path()).arg(&pid).stderr(Stdio::null());
        let mut tracer = command.spawn().expect("the analyzer runs");
        thread::sleep(Duration::from_micros(2000 + 250 * turn));
        let _ = tracer.kill();
        tracer.wait().expect("it ends");
        analyzer(&["detach"], running.pid());
    }
    // A sleep that the tracer's death interrupts fails with EINTR, which that work reports.
    let (printed, status) = running.end();
    assert_eq!(
        (printed.as_str(), status),
        ("busy: done grow: done remap: done sleep: done", Some(5))
    );
}

#[test]
fn a_thread_that_waits_for_the_lock_of_the_loader_is_taken_out_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let may_start = directory.path().join("may-start");
    let mut fixture = Command::new(Artifacts::get().fixture("attached"));
    let running = Running::start(fixture.arg("loads").env("MAY_START", &may_start));
    work();
    let printed = refusal(running.pid());
    assert!(printed.contains("another thread holds the loader's lock for long"), "{printed}");
    fs::write(&may_start, "").expect("a new file");
    work();
    attach(&[], directory.path(), running.pid());
    assert_eq!(running.end(), ("loads: done".to_owned(), Some(5)));
}

#[test]
fn refuses_with_the_reason() {
    let running = |command: &mut Command| {
        let command = command.stdout(Stdio::null()).env_remove("LD_PRELOAD");
        Running(command.spawn().expect("it starts"))
    };
    // Elsewhere it ends with its first move.
    if kernel_moves_several_vmas() {
        let program = running(Command::new(Artifacts::get().fixture("static_torn")).arg("9"));
        work();
        let printed = refusal(program.pid());
        assert!(printed.contains("start it by `mremap-analyzer run --reach all`"), "{printed}");
        assert!(printed.contains("follow it by `mremap-analyzer attach --reach all"), "{printed}");
    }

    let missing = refusal(0x3fff_ffff);
    assert!(missing.contains("no such process"), "{missing}");

    let mut preloaded = Command::new(Artifacts::get().fixture("attached"));
    preloaded.stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = preloaded.env("LD_PRELOAD", Artifacts::get().shim()).spawn().expect("it starts");
    let preloaded = Running(child);
    work();
    let printed = refusal(preloaded.pid());
    assert!(printed.contains("it was started with the library (LD_PRELOAD)"), "{printed}");

    let twice = Running::fixture(&[]);
    let directory = tempfile::tempdir().expect("a directory");
    attach(&[], directory.path(), twice.pid());
    let printed = refusal(twice.pid());
    assert!(printed.contains("is attached already; detach it first"), "{printed}");
    detach(twice.pid());
    let again = analyzer(&["detach"], twice.pid());
    assert!(text(&again.stderr).contains("is not attached"), "{}", text(&again.stderr));

    if let Some(strace) = need::program("strace", "strace") {
        let traced = Running::fixture(&[]);
        let tracer = Running::strace(&strace, traced.pid());
        let printed = refusal(traced.pid());
        assert!(printed.contains("is traced by process"), "{printed}");
        drop(tracer);
    }
}

#[test]
fn attaching_many_times_does_no_harm() {
    attach_many_times(Running::fixture(&["grow", "remap", "busy", "sleep"]));
}

fn attach_many_times(running: Running) {
    let directory = tempfile::tempdir().expect("a directory");
    for _ in 0..turns(200) {
        attach(&["--trace-size", "64K"], directory.path(), running.pid());
        detach(running.pid());
    }
    let expected = "busy: done grow: done remap: done sleep: done".to_owned();
    assert_eq!(running.end(), (expected, Some(5)));
}

/// Programs linked with musl, into which another file of the library is loaded.
mod musl {
    use super::*;

    #[test]
    fn records_a_busy_process_until_it_is_detached_and_again() {
        if let Some(running) = Running::with_musl(&WORKS_OF_MEMORY) {
            record_twice(running);
        }
    }

    #[test]
    fn emulates_moves_from_then_on() {
        if Running::with_musl(&[]).is_some() {
            emulate_moves(|| Running::with_musl(&["move"]).expect("as before"));
        }
    }

    #[test]
    fn sleeps_and_waits_go_on_as_long_as_they_should() {
        if let Some(running) = Running::with_musl(&["sleep", "epoll", "sleep"]) {
            sleep_and_wait(running);
        }
    }

    #[test]
    fn signals_and_forks_do_not_disturb() {
        if let Some(running) = Running::with_musl(&["storm", "forks", "grow", "busy"]) {
            disturb(running);
        }
    }

    #[test]
    fn the_process_outlives_a_tracer_that_is_killed() {
        if let Some(running) = Running::with_musl(&["grow", "remap", "sleep", "busy"]) {
            outlive(running);
        }
    }

    #[test]
    fn attaching_many_times_does_no_harm() {
        if let Some(running) = Running::with_musl(&["grow", "remap", "busy", "sleep"]) {
            attach_many_times(running);
        }
    }

    #[test]
    fn borrows_a_thread_that_waits_for_another_one() {
        if let Some(running) = Running::with_musl(&["grow", "waits"]) {
            borrow_waiting(running);
        }
    }

    #[test]
    fn the_borrowed_thread_sets_its_ids_when_another_one_asks() {
        if let Some(running) = Running::with_musl(&["ids"]) {
            attach_while_ids_are_set(running);
        }
    }

    /// musl holds the lock of the list of handlers meanwhile, which loading the library takes.
    #[test]
    fn borrows_no_thread_inside_a_handler_of_fork() {
        let Some(running) = Running::with_musl(&["busy", "slow"]) else { return };
        let directory = tempfile::tempdir().expect("a directory");
        attach(&[], directory.path(), running.pid());
        assert_eq!(running.end(), ("busy: done slow: done".to_owned(), Some(5)));
    }

    #[test]
    fn records_a_process_whose_root_lacks_the_library() {
        let program = Artifacts::get().linked_with_musl("tests/fixtures/attached.c", &[]);
        let loader = ["/lib/ld-musl-x86_64.so.1"];
        if let Some(program) = program {
            record_in_root(&program, &loader, "/memfd:libmremap_shim_attach_musl.so");
        }
    }

    #[test]
    fn refuses_with_the_reason() {
        let Some(running) = Running::with_musl(&["grow"]) else { return };
        let home = tempfile::tempdir().expect("a directory");
        let alone = home.path().join("libmremap_shim.so");
        fs::copy(Artifacts::get().shim(), &alone).expect("a copy");
        let options = ["attach", "--shim", alone.to_str().expect("a path in UTF-8")];
        let printed = running::refusal(&options, running.pid());
        let expected = format!(
            "{}: is linked with musl: {}: No such file or directory",
            running.pid(),
            home.path().join("libmremap_shim_attach_musl.so").display()
        );
        assert!(printed.contains(&expected), "{printed}");
        drop(running);

        let program = Artifacts::get().linked_with_musl("tests/fixtures/attached.c", &[]);
        let mut preloaded = Command::new(program.expect("as before"));
        preloaded.stdin(Stdio::piped()).stdout(Stdio::piped());
        let preloaded = preloaded.env("LD_PRELOAD", Artifacts::get().shim()).spawn();
        let preloaded = Running(preloaded.expect("it starts"));
        work();
        let printed = refusal(preloaded.pid());
        assert!(printed.contains("it was started with the library (LD_PRELOAD)"), "{printed}");

        let with_glibc = Running::fixture(&["grow"]);
        let library = Artifacts::get().shim_for_musl();
        let options = ["attach", "--shim", library.to_str().expect("a path in UTF-8")];
        let printed = running::refusal(&options, with_glibc.pid());
        assert!(printed.contains("only for programs linked with musl"), "{printed}");
    }
}
