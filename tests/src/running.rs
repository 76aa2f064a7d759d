//! Programs that run while `mremap-analyzer` is attached to them.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use crate::artifacts::Artifacts;
use crate::output::text;

/// A program that runs until its input ends.
pub struct Running(pub Child);

impl Running {
    /// Starts a program, and waits until it is ready.
    pub fn start(command: &mut Command) -> Self {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).env_remove("LD_PRELOAD");
        let mut running = Self(pipes.spawn().expect("the program starts"));
        assert_eq!(running.line(), "ready");
        running
    }

    /// Starts the fixture `attached` with some works.
    pub fn fixture(works: &[&str]) -> Self {
        Self::start(Command::new(Artifacts::get().fixture("attached")).args(works))
    }

    /// Starts the same, linked with musl; `None` where it could not be built.
    pub fn with_musl(works: &[&str]) -> Option<Self> {
        let program = Artifacts::get().linked_with_musl("tests/fixtures/attached.c", &[])?;
        Some(Self::start(Command::new(program).args(works)))
    }

    /// Starts `/attached` of another root directory with some works. It sees `directory` by its
    /// usual path, and `/proc`; otherwise only what is in the root.
    pub fn in_root(root: &Path, directory: &Path, works: &[&str]) -> Self {
        let script = "mkdir -p $1$2 $1/proc && mount --bind $2 $1$2 && mount --bind /proc $1/proc \
                      && root=$1 && shift 2 && exec chroot $root /attached \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-euc", script, "sh"]).args([root, directory]).args(works);
        Self::start(&mut command)
    }

    /// Has strace trace a process, and waits until it does.
    pub fn strace(strace: &Path, pid: u32) -> Self {
        let mut command = Command::new(strace);
        command.args(["-o", "/dev/null", "-p", &pid.to_string()]).stderr(Stdio::null());
        let tracer = Self(command.spawn().expect("strace runs"));
        while !is_traced(pid) {
            thread::yield_now();
        }
        tracer
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The next line of its output. One byte at a time: what follows is read at the end.
    pub fn line(&mut self) -> String {
        let output = self.0.stdout.as_mut().expect("a pipe");
        let mut line = String::new();
        loop {
            let mut byte = [0];
            output.read_exact(&mut byte).expect("the program prints a line");
            match byte[0] {
                b'\n' => return line,
                byte => line.push(char::from(byte)),
            }
        }
    }

    /// Writes a byte to its input; returns the line that it answers.
    pub fn ask(&mut self) -> String {
        let input = self.0.stdin.as_mut().expect("a pipe");
        input.write_all(b"x").expect("the program reads");
        self.line()
    }

    /// Ends its input; returns its output and status.
    pub fn end(mut self) -> (String, Option<i32>) {
        drop(self.0.stdin.take());
        let mut output = String::new();
        let mut pipe = self.0.stdout.take().expect("a pipe");
        pipe.read_to_string(&mut output).expect("text");
        let mut lines: Vec<&str> = output.lines().collect();
        lines.sort_unstable();
        (lines.join(" "), self.0.wait().expect("it ends").code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the analyzer with a process's id as its last argument.
pub fn analyzer(arguments: &[&str], pid: u32) -> Output {
    let mut command = Command::new(Artifacts::get().analyzer());
    command.args(arguments).arg(pid.to_string()).env_remove("LD_PRELOAD");
    command.output().expect("the analyzer runs")
}

/// What the analyzer says when it refuses to trace a process.
pub fn refusal(arguments: &[&str], pid: u32) -> String {
    let output = analyzer(arguments, pid);
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{printed}");
    printed
}

/// The letter of a process's state.
pub fn state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).expect("a state")
}

/// Whether a process is traced.
pub fn is_traced(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it is there");
    !status.contains("TracerPid:\t0\n")
}
