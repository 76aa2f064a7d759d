//! `attach --reach all`: a process that no library reaches is followed while it runs, and does what
//! it did before.
#![cfg(target_arch = "x86_64")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::output::text;
use mremap_tests::preload::{Trace, is_guest, kernel_moves_several_vmas, sum_of_calls, traces_in};
use mremap_tests::running::{Running, is_traced, refusal, state};
use mremap_tests::script::as_nobody;
use mremap_trace::{Outcome, Record};
use rustix::process::{Pid, Signal, kill_process};

/// Calls of one turn of `static_followed`, and those of them that only Linux 6.17 makes.
const CALLS: usize = 208;
const MOVES: usize = 104;

/// The analyzer while it follows a process.
struct Follower(Child);

impl Follower {
    fn start(options: &[&str], directory: &Path, pid: u32) -> Self {
        let mut command = Command::new(Artifacts::get().analyzer());
        command.args(["attach", "--reach", "all", "--trace"]).arg(directory).args(options);
        command.arg(pid.to_string()).env_remove("LD_PRELOAD").stderr(Stdio::piped());
        let mut follower = Self(command.spawn().expect("the analyzer runs"));
        let mut line = String::new();
        let output = follower.0.stderr.as_mut().expect("a pipe");
        BufReader::with_capacity(1, output).read_line(&mut line).expect("text");
        assert!(
            line.contains(": followed; each of its system calls takes 15 µs longer, or more"),
            "{line}"
        );
        follower
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it is there");
    }

    /// Waits for its end; returns what it prints.
    fn wait(mut self) -> String {
        let mut printed = String::new();
        let output = self.0.stderr.as_mut().expect("a pipe");
        output.read_to_string(&mut printed).expect("text");
        assert_eq!(self.0.wait().expect("it ends").code(), Some(0), "{printed}");
        printed
    }
}

/// The signal of Ctrl-C; another one where a shell has had it ignored, as in the background.
fn interrupt() -> Signal {
    let status = fs::read_to_string("/proc/self/status").expect("it is there");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
    let ignored = u64::from_str_radix(ignored.expect("a line"), 16).expect("a number");
    if ignored & 1 << (Signal::INT.as_raw() - 1) == 0 { Signal::INT } else { Signal::TERM }
}

fn followed() -> Running {
    Running::start(&mut Command::new(Artifacts::get().fixture("static_followed")))
}

/// What the program prints after a turn. Its children count their refusals for themselves.
fn turn(is_refused: bool) -> String {
    let refused = if is_refused { MOVES - 4 } else { 0 };
    format!("{CALLS} calls, {refused} refused, 0 failed")
}

#[test]
fn a_static_process_is_followed_until_a_signal_ends_that() {
    let is_refused = !kernel_moves_several_vmas();
    for (mode, signal) in [("auto", interrupt()), ("emulate", Signal::TERM)] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut running = followed();
        let follower = Follower::start(&["--mode", mode], directory.path(), running.pid());
        for _ in 0..2 {
            assert_eq!(running.ask(), turn(false), "{mode}");
        }
        follower.signal(signal);
        let printed = follower.wait();
        assert!(printed.contains("goes on by itself"), "{printed}");
        assert!(!is_traced(running.pid()));
        assert_eq!(running.ask(), turn(is_refused), "untraced");
        assert_eq!(running.end(), (String::new(), Some(5)));

        let traces = traces_in(directory.path());
        assert_eq!(traces.len(), 1 + 2 * 4, "the process and its children");
        assert_eq!(sum_of_calls(&traces), 2 * CALLS as u64);
        let calls = traces.iter().flat_map(Trace::calls);
        let emulated = calls.filter(|call| call.outcome == Outcome::Emulated).count();
        let is_native = mode == "auto" && !is_refused;
        assert_eq!(emulated, if is_native { 0 } else { 2 * MOVES });
    }
}

#[test]
fn a_process_is_followed_to_its_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut running = followed();
    let follower = Follower::start(&[], directory.path(), running.pid());
    assert_eq!(running.ask(), turn(false));
    assert_eq!(running.end(), (String::new(), Some(5)));
    let printed = follower.wait();
    assert!(printed.contains("has ended"), "{printed}");
    assert_eq!(sum_of_calls(&traces_in(directory.path())), CALLS as u64);
}

#[test]
fn a_process_outlives_a_follower_that_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let expected = turn(!kernel_moves_several_vmas());
    let options = ["--mode", "passthrough"];
    // A call that the kernel makes go on when a tracer dies finds a pending signal that is none:
    // epoll_wait fails with EINTR.
    let mut program = Command::new(Artifacts::get().fixture("static_followed"));
    let mut running = Running::start(program.arg("without epoll_wait"));
    for pause in 0..if is_guest() { 3 } else { 40 } {
        let mut follower = Follower::start(&options, directory.path(), running.pid());
        assert_eq!(running.ask(), expected);
        let kill = thread::spawn(move || {
            thread::sleep(Duration::from_micros(500 * pause));
            follower.0.kill().expect("it is there");
            follower.0.wait().expect("it ends");
        });
        assert_eq!(running.ask(), expected);
        kill.join().expect("it is killed");
    }
    assert_eq!(running.end(), (String::new(), Some(5)));
}

/// Half of its memory would be elsewhere.
#[test]
fn a_process_does_not_outlive_a_follower_that_is_killed_inside_a_move() {
    if !kernel_moves_several_vmas() {
        return; // the program ends with its first move that is not emulated
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut killed = 0;
    for pause in 0..5 {
        let mut command = Command::new(Artifacts::get().fixture("static_many_parts"));
        let mut running = Running(command.args(["1500", "100000000"]).spawn().expect("it starts"));
        let follower = Follower::start(&["--mode", "emulate"], directory.path(), running.pid());
        thread::sleep(Duration::from_millis(50 + 3 * pause));
        follower.signal(Signal::KILL);
        thread::sleep(Duration::from_millis(100));
        let Some(status) = running.0.try_wait().expect("a status") else { continue };
        assert_eq!(status.code(), None, "it went on with a range that was half moved");
        killed += 1;
    }
    assert!(killed > 0, "it is inside moves nearly all the time");
}

#[test]
fn a_stopped_process_stays_stopped_and_is_followed_when_it_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut running = followed();
    let pid = Pid::from_child(&running.0);
    kill_process(pid, Signal::STOP).expect("it runs");
    while state(running.pid()) != 'T' {
        thread::yield_now();
    }
    let first = Follower::start(&[], directory.path(), running.pid());
    first.signal(interrupt());
    first.wait();
    assert_eq!(state(running.pid()), 'T', "still stopped when it is released");
    let second = Follower::start(&[], directory.path(), running.pid());
    kill_process(pid, Signal::CONT).expect("it is there");
    assert_eq!(running.ask(), turn(false));
    assert_eq!(running.end(), (String::new(), Some(5)));
    second.wait();
    assert_eq!(sum_of_calls(&traces_in(directory.path())), CALLS as u64);
}

/// `maps` names its files from the root of the process that reads it.
#[test]
fn a_process_in_another_root_is_followed_with_its_build_id() {
    if is_guest() || !need::root("tests in another root directory") {
        return;
    }
    let (root, directory) = [(); 2].map(|()| tempfile::tempdir().expect("a directory")).into();
    fs::copy(Artifacts::get().fixture("static_followed"), root.path().join("attached"))
        .expect("a copy");
    let mut running = Running::in_root(root.path(), directory.path(), &[]);
    let follower = Follower::start(&["--mode", "emulate"], directory.path(), running.pid());
    assert_eq!(running.ask(), turn(false));
    follower.signal(interrupt());
    follower.wait();
    assert_eq!(running.end(), (String::new(), Some(5)));
    let traces = traces_in(directory.path());
    let modules: Vec<_> = traces
        .iter()
        .flat_map(|trace| &trace.records)
        .filter_map(|record| match record {
            Record::Module(module) => Some(module),
            _ => None,
        })
        .collect();
    assert!(!modules.is_empty());
    assert!(modules.iter().all(|module| module.build_id_len > 0), "{modules:?}");
}

#[test]
fn a_program_linked_with_musl_is_followed() {
    let Some(program) = Artifacts::get().linked_with_musl("tests/fixtures/static_followed.c", &[])
    else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let mut running = Running::start(&mut Command::new(program));
    let follower = Follower::start(&["--mode", "emulate"], directory.path(), running.pid());
    assert_eq!(running.ask(), turn(false));
    assert_eq!(running.end(), (String::new(), Some(5)));
    follower.wait();
    assert_eq!(sum_of_calls(&traces_in(directory.path())), CALLS as u64);
}

#[test]
fn a_go_program_is_followed() {
    if is_guest() {
        return;
    }
    let Some(go) = need::program("go", "golang-go") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/resize.go");
    let program = directory.path().join("resize");
    let build = Command::new(go)
        .args(["build", "-o"])
        .args([&program, &source])
        .envs([("GO111MODULE", "off"), ("CGO_ENABLED", "0")])
        .env("GOCACHE", directory.path().join("cache"))
        .output()
        .expect("go runs");
    assert!(build.status.success(), "{}", text(&build.stderr));
    let traces = directory.path().join("traces");
    let mut running = Running::start(&mut Command::new(&program));
    let follower = Follower::start(&[], &traces, running.pid());
    assert_eq!(running.ask(), "400 calls");
    follower.signal(interrupt());
    follower.wait();
    assert_eq!(running.ask(), "400 calls");
    assert_eq!(running.end(), (String::new(), Some(0)));
    assert_eq!(sum_of_calls(&traces_in(&traces)), 400);
}

#[test]
fn refuses_with_the_reason() {
    let follow = ["attach", "--reach", "all"];
    let missing = refusal(&follow, 0x3fff_ffff);
    assert!(missing.contains("no such process"), "{missing}");
    let running = followed();
    if let Some(strace) = need::program("strace", "strace") {
        let tracer = Running::strace(&strace, running.pid());
        let printed = refusal(&follow, running.pid());
        assert!(printed.contains("is traced by process"), "{printed}");
        drop(tracer);
    }
    if rustix::process::geteuid().is_root() {
        // Copied, since nobody may be unable to execute the built one.
        let analyzer = Path::new("/tmp").join(format!("analyzer.{}", running.pid()));
        fs::copy(Artifacts::get().analyzer(), &analyzer).expect("a copy");
        let mut command = Command::new(&analyzer);
        command.args(follow).arg(running.pid().to_string()).current_dir("/");
        as_nobody(&mut command);
        let output = command.output();
        fs::remove_file(&analyzer).expect("it is there");
        let printed = text(&output.expect("the analyzer runs").stderr);
        assert!(printed.contains("it belongs to another user"), "{printed}");
    }
    assert_eq!(running.end(), (String::new(), Some(5)));
}
