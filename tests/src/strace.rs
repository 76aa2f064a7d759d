//! Counts a program's calls of `mremap` with strace.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a program in an empty directory under strace, which follows its children. Returns its
/// output and the number of calls.
pub fn count_calls(strace: &Path, command: &Command) -> (Output, usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("strace.log");
    let mut traced = Command::new(strace);
    traced.args(["-f", "-e", "trace=mremap", "-o"]).arg(&log).current_dir(directory.path());
    for (name, value) in command.get_envs() {
        // For the program's environment, not strace's own.
        let value = value.map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        traced.arg("-E").arg(format!("{}={value}", name.to_string_lossy()));
    }
    traced.arg(command.get_program()).args(command.get_args());
    let output = traced.output().expect("strace runs");
    let log = fs::read_to_string(&log).expect("strace wrote its log");
    // Another thread may split a call into two lines.
    (output, log.lines().filter(|line| line.contains("mremap(")).count())
}
