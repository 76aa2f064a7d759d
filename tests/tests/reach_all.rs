//! `run --reach all`: programs that no preload library reaches have their moves emulated, and
//! everything else that they do has the outcome that it has untraced.

use std::fs;
#[cfg(target_arch = "x86_64")]
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::output::{calls_made, text};
use mremap_tests::preload::{Trace, is_guest, traces_in};
use mremap_tests::records;
use mremap_tests::tracer::emulated;
use mremap_trace::Outcome;
use rustix::process::{Pid, Signal, kill_process};

fn run(options: &[&str], fixture: &str, arguments: &[&str]) -> Command {
    emulated(options, &Artifacts::get().fixture(fixture), arguments)
}

fn output(options: &[&str], fixture: &str, arguments: &[&str]) -> Output {
    run(options, fixture, arguments).output().expect("the analyzer runs")
}

fn traces_of(fixture: &str, arguments: &[&str]) -> (Output, Vec<Trace>) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("a path in UTF-8");
    let output = output(&["--trace", path], fixture, arguments);
    (output, traces_in(directory.path()))
}

#[test]
fn emulates_the_move_of_a_static_program_and_records_it() {
    let (output, traces) = traces_of("static_moves", &[]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("arrived\n", Some(3)));
    let [trace] = traces.as_slice() else { panic!("one process, {} traces", traces.len()) };
    let [call] = trace.calls()[..] else { panic!("one call: {:?}", trace.calls()) };
    assert_eq!(call.outcome, Outcome::Emulated);
    assert_eq!(call.result as u64, call.new);
    assert_eq!((records!(trace, Part).count(), records!(trace, Gap).count()), (5, 2));
    assert_eq!(records!(trace, Summary).count(), 1);
    assert!(records!(trace, Module).count() > 0, "its code has a name");
}

/// A ring of 64 KiB holds fewer records than one of these moves has.
#[test]
fn a_ring_keeps_and_counts_each_call_once_where_a_move_fills_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("a path in UTF-8");
    let options = ["--trace", path, "--trace-size", "64K", "--trace-keep", "last"];
    let output = output(&options, "static_many_parts", &["1500", "5"]);
    let traces = traces_in(directory.path());
    let [trace] = traces.as_slice() else { panic!("one process, {} traces", traces.len()) };
    let calls = trace.calls();
    assert_eq!(trace.calls_and_losses(), calls_made(&output), "{calls:?}");
    let last = calls.iter().max_by_key(|call| call.ticks).expect("the last call is kept");
    assert_eq!((last.outcome, last.result as u64), (Outcome::Emulated, last.new));
    assert!(calls.iter().all(|call| call.outcome == Outcome::Emulated), "{calls:?}");
}

#[test]
fn no_child_finds_a_half_moved_range() {
    let output = output(&[], "static_torn", &["2"]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(printed.ends_with(" 0 torn\n"), "{printed}");
}

/// A thread that moves a range stops the others, which makes an `epoll_wait` fail with `EINTR`.
#[test]
#[cfg(target_arch = "x86_64")]
fn threads_that_wait_are_not_interrupted() {
    let mut run = run(&[], "static_followed", &[]);
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(b"xxx").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let printed = text(&output.stdout);
    assert_eq!(printed.matches("208 calls, 0 refused, 0 failed").count(), 3, "{output:?}");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
}

#[test]
fn signals_stops_and_execs_are_passed_on() {
    let (output, traces) = traces_of("static_life", &[]);
    let expected = "10 signals, sum 55\nstopped by 19\nexited with 7\nmoved after exec\n";
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(output.status.code(), Some(128 + 10), "killed by its own SIGUSR1");
    let calls: usize = traces.iter().map(|trace| trace.calls().len()).sum();
    assert_eq!((traces.len(), calls), (1, 1), "only the second image called mremap");
}

#[test]
fn a_crowd_of_threads_and_children_moves_and_is_recorded() {
    let (threads, children) = if is_guest() { (20, 20) } else { (100, 100) };
    let arguments = [threads.to_string(), children.to_string()];
    let (output, traces) = traces_of("static_crowd", &arguments.each_ref().map(String::as_str));
    assert_eq!(text(&output.stdout), "0 failed\n", "{output:?}");
    let calls: usize = traces.iter().map(|trace| trace.calls().len()).sum();
    assert_eq!((traces.len(), calls), (1 + children, threads + children));
    assert!(traces.iter().filter(|trace| trace.header.forked_from != 0).count() == children);
}

/// The first stop of a new thread may arrive before its parent tells of it, and be queued behind a
/// move, which then waited for that stop for ever.
#[test]
fn no_move_waits_for_a_thread_that_is_new_and_stopped() {
    let mut run = run(&[], "static_births", &["2"]);
    let mut analyzer = run.stdout(Stdio::piped()).spawn().expect("it runs");
    let status = within_ten_seconds(|| analyzer.try_wait().expect("a status"));
    let _ = analyzer.kill();
    let output = analyzer.wait_with_output().expect("it ends");
    assert!(status.is_some(), "it hangs");
    assert_eq!(text(&output.stdout), "ended\n", "{output:?}");
}

#[test]
fn the_program_dies_with_its_tracer() {
    let mut analyzer = run(&[], "on_signal", &[]).stdout(Stdio::null()).spawn().expect("it runs");
    let child = within_ten_seconds(|| child_of(analyzer.id())).expect("it starts");
    kill_process(Pid::from_child(&analyzer), Signal::KILL).expect("it is there");
    analyzer.wait().expect("it ends");
    within_ten_seconds(|| (!is_running(child)).then_some(())).expect("it dies");
}

/// Changes a setting of the machine, so only in guests. Root may trace under both.
#[test]
fn yamas_scope_is_the_reason_of_a_refusal() {
    const SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";
    const NOBODY: u32 = 65534;
    if !is_guest() {
        return;
    }
    let set = |scope: &str| fs::write(SCOPE, scope).expect("the guest has Yama");
    let was = fs::read_to_string(SCOPE).expect("the guest has Yama");
    let run_as_nobody = || run(&[], "static_moves", &[]).uid(NOBODY).output().expect("it runs");
    let mut other = Command::new(Artifacts::get().fixture("static_followed"));
    let mut other = other.uid(NOBODY).stdin(Stdio::piped()).spawn().expect("it runs");
    let follow_as_nobody = || {
        let mut command = Command::new(Artifacts::get().analyzer());
        command.args(["attach", "--reach", "all", &other.id().to_string()]).uid(NOBODY);
        text(&command.output().expect("it runs").stderr)
    };
    set("1");
    let (own, of_another) = (run_as_nobody(), follow_as_nobody());
    set("2");
    let (refused, refused_another) = (run_as_nobody(), follow_as_nobody());
    set(was.trim());
    other.kill().expect("it runs");
    other.wait().expect("it ends");
    assert_eq!((text(&own.stdout).as_str(), own.status.code()), ("arrived\n", Some(3)), "{own:?}");
    assert!(of_another.contains("Yama lets only its ancestors trace it"), "{of_another}");
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    let refused = text(&refused.stderr);
    assert!(refused.contains("only an administrator may trace here"), "{refused}");
    assert!(refused_another.contains("only root may trace"), "{refused_another}");
}

#[test]
fn refuses_where_another_tracer_is_attached() {
    let analyzer = Artifacts::get().analyzer();
    let inner = ["run", "--reach", "all", "--", "/bin/true"];
    let output = Command::new(&analyzer)
        .args(["run", "--reach", "all", "--"])
        .arg(&analyzer)
        .args(inner)
        .output()
        .expect("the analyzer runs");
    let printed = text(&output.stderr);
    assert!(printed.contains("is itself traced"), "{printed}");
    assert_eq!(output.status.code(), Some(125), "{printed}");
}

fn within_ten_seconds<T>(mut found: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..1000 {
        if let Some(found) = found() {
            return Some(found);
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

/// The first child of a process that has executed the fixture.
fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let child = children.split_whitespace().next()?.parse().ok()?;
    let exe = fs::read_link(format!("/proc/{child}/exe")).ok()?;
    (exe.ends_with("on_signal")).then_some(child)
}

/// Whether a process is there and no zombie.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}
