//! The analyzer's exports, in turns with babeltrace2 over the exported CTF.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::peers::SUITE;
use super::report;
use crate::rounds::{self, Variant};
use crate::stats::named;
use crate::subject::Subject;
use crate::table::{Goal, Row};
use crate::{clock, limited};

const CALLS: usize = 1_000_000;
const ROUNDS: usize = 9;
const FORMATS: [&str; 6] = ["jsonl", "csv", "parquet", "chrome", "ctf", "folded"];

/// The rows of each format and of babeltrace2, or the reason why they are missing.
pub fn rows(subject: &Subject) -> Vec<(&'static str, Result<Vec<Row>>)> {
    let directory = subject.trace_directory();
    let made = report::trace(subject, CALLS).and_then(|trace| Ok((trace, directory?)));
    match made {
        Ok(((trace, calls), directory)) => in_turns(subject, &trace, calls, directory.path()),
        Err(error) => vec![("exports", Err(error))],
    }
}

/// A measurement: its name, and a function that returns seconds.
type Timed<'a> = (&'static str, Box<dyn Fn() -> Result<f64> + 'a>);

fn in_turns(
    subject: &Subject,
    trace: &Path,
    calls: usize,
    directory: &Path,
) -> Vec<(&'static str, Result<Vec<Row>>)> {
    let at = |format: &str| directory.join(format);
    let mut timed: Vec<Timed<'_>> = Vec::new();
    for format in FORMATS {
        timed.push((
            format,
            Box::new(move || export(subject, format, trace, &directory.join(format))),
        ));
    }
    timed.push((BABELTRACE, Box::new(|| babeltrace(&at("ctf")))));
    let mut found = Vec::new();
    // Run each once, to leave out what fails.
    timed.retain(|(name, measure)| match measure() {
        Ok(_) => true,
        Err(error) => {
            found.push((*name, Err(error)));
            false
        }
    });
    let mut variants: Vec<Variant<'_>> = timed
        .iter()
        .map(|(name, measure)| -> Variant<'_> {
            let measure = move || measure().unwrap_or(f64::NAN);
            ((*name).to_owned(), Box::new(measure))
        })
        .collect();
    let series = rounds::run(ROUNDS, &mut variants);
    for (name, _) in &timed {
        found.push((name, speed(name, calls, named(&series, name))));
    }
    if timed.iter().any(|(name, _)| *name == "parquet") {
        found.push(("parquet", parquet_size(&at("parquet"), calls)));
    }
    found
}

const BABELTRACE: &str = "babeltrace2";

fn speed(name: &str, calls: usize, seconds: &[f64]) -> Result<Vec<Row>> {
    ensure!(seconds.iter().all(|seconds| seconds.is_finite()), "a run failed");
    let millions = calls as f64 / 1e6;
    let figures = seconds.iter().map(|seconds| millions / seconds).collect();
    let row = |what: String| Row::new(SUITE, what, "").measured("M/s", figures);
    Ok(vec![if name == BABELTRACE {
        row(format!("{name}, count from CTF of {millions:.0} million calls"))
    } else {
        row(format!("export to {name} of {millions:.0} million calls")).goal(Goal::AtLeast(1.0))
    }])
}

fn parquet_size(parquet: &Path, calls: usize) -> Result<Vec<Row>> {
    let bytes = size(parquet)? as f64 / calls as f64;
    Ok(vec![Row::new(SUITE, "Parquet of a call with random fields", "").measured("B", vec![bytes])])
}

/// Runs an export and returns its seconds.
pub(super) fn export(subject: &Subject, format: &str, trace: &Path, target: &Path) -> Result<f64> {
    if target.is_dir() {
        std::fs::remove_dir_all(target)
            .with_context(|| format!("{}: cannot be emptied", target.display()))?;
    }
    let mut command = Command::new(&subject.analyzer);
    command.args(["export", "--format", format, "--output"]).arg(target).arg(trace);
    wall(&mut command)
}

/// Counts the events by babeltrace2 and returns its seconds.
fn babeltrace(ctf: &Path) -> Result<f64> {
    let mut command = Command::new(BABELTRACE);
    command.arg(ctf).args(["--component", "sink.utils.counter"]);
    wall(&mut command).context("Debian: babeltrace2")
}

fn wall(command: &mut Command) -> Result<f64> {
    let before = clock::monotonic_ns();
    limited::output(command)?;
    Ok((clock::monotonic_ns() - before) as f64 / 1e9)
}

/// The size of all files below a directory in bytes.
pub(super) fn size(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
