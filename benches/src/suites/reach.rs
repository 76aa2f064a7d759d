//! `run --reach all`: what its tracer adds to `mremap`, next to strace that stops there alone, too,
//! and what its filter adds to other system calls.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::limited;
use crate::rounds::Series;
use crate::stats::{Summary, differences, named, ratios};
use crate::subject::{Subject, parse};
use crate::table::{Goal, Row};

const SUITE: &str = "reach";
/// Runs under each tool, in turns.
const PROCESSES: usize = 15;
const STRACE: [&str; 7] =
    ["strace", "--seccomp-bpf", "-f", "-qq", "-o", "/dev/null", "--trace=mremap"];
/// Calls that `bench-other-calls` makes.
const OTHERS: [&str; 3] = ["gettid", "read of a page", "open and close"];

/// The rows.
pub fn rows(subject: &Subject) -> Result<Vec<Row>> {
    let mut rows = mremap(subject)?;
    rows.extend(others(subject)?);
    Ok(rows)
}

/// A program alone, or under a tool with arguments. Returns its figures.
fn figures(tool: &[String], program: &Path, arguments: &[&str]) -> Result<Vec<Series>> {
    let mut command = match tool.split_first() {
        Some((tool, before)) => {
            let mut command = Command::new(tool);
            command.args(before).arg(program);
            command
        }
        None => Command::new(program),
    };
    let output = limited::output(command.args(arguments))?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// The tracer's command, which records into a directory.
fn tracer(subject: &Subject, directory: &Path) -> Vec<String> {
    let analyzer = subject.analyzer.display().to_string();
    let directory = directory.display().to_string();
    let words = [&analyzer, "run", "--reach", "all", "--trace", &directory, "--"];
    words.map(str::to_owned).to_vec()
}

/// In wall-clock time, which the tools take while the program is stopped.
fn mremap(subject: &Subject) -> Result<Vec<Row>> {
    let directory = subject.trace_directory()?;
    let (ours, strace) = (tracer(subject, directory.path()), STRACE.map(str::to_owned));
    let program = subject.programs.join("bench-calls");
    let a_call = |tool: &[String]| -> Result<f64> {
        let series = figures(tool, &program, &["--wall", "--rounds=5", "--calls=1000"])?;
        Ok(Summary::of(named(&series, "direct").to_vec()).median)
    };
    let (mut bare, mut by_us, mut by_strace) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..subject.rounds(PROCESSES) {
        by_strace.push(a_call(&strace)?);
        by_us.push(a_call(&ours)?);
        bare.push(a_call(&[])?);
    }
    let what = "no-op resize, recorded by the tracer";
    Ok(vec![
        Row::new(SUITE, what, "strace --seccomp-bpf")
            .measured("x", ratios(&by_us, &by_strace))
            .goal(Goal::AtMost(0.95)),
        Row::new(SUITE, what, "bare mremap").measured("ns", differences(&by_us, &bare)),
        Row::new(SUITE, "no-op resize, strace --seccomp-bpf", "bare mremap")
            .measured("ns", differences(&by_strace, &bare)),
    ])
}

/// In CPU time, since the tracer does not work meanwhile.
fn others(subject: &Subject) -> Result<Vec<Row>> {
    let directory = subject.trace_directory()?;
    let ours = tracer(subject, directory.path());
    let program = subject.programs.join("bench-other-calls");
    let (mut bare, mut traced) = (Vec::new(), Vec::new());
    for _ in 0..subject.rounds(PROCESSES) {
        bare.push(figures(&[], &program, &["--rounds=5"])?);
        traced.push(figures(&ours, &program, &["--rounds=5"])?);
    }
    let median = |runs: &[Vec<Series>], name| -> Vec<f64> {
        runs.iter().map(|run| Summary::of(named(run, name).to_vec()).median).collect()
    };
    Ok(OTHERS
        .iter()
        .map(|name| {
            let row = Row::new(SUITE, format!("{name}, under the tracer"), "untraced");
            row.measured("x", ratios(&median(&traced, name), &median(&bare, name)))
                .goal(Goal::AtMost(1.05))
        })
        .collect())
}
