//! Other readers of the same events: `DuckDB` over the exported Parquet, babeltrace2 over the exported CTF, in turns
//! with the report and with the exports themselves.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::report;
use crate::clock;
use crate::rounds::{self, Variant};
use crate::stats::{named, ratios};
use crate::subject::Subject;
use crate::table::{Goal, Row};

const SUITE: &str = "peers";
const CALLS: usize = 10_000_000;
const CALLS_QUICK: usize = 1_000_000;
const ROUNDS: usize = 5;
const FORMATS: [&str; 6] = ["jsonl", "csv", "parquet", "chrome", "ctf", "folded"];

/// What the report tells of outcomes and call sites, asked of `DuckDB`.
const QUERY: &str = "import duckdb, sys, time\n\
    rows = f\"read_parquet('{sys.argv[1]}/**/*.parquet')\"\n\
    before = time.monotonic()\n\
    duckdb.sql(f'''select site, outcome, count(*), count(errno), sum(duration_ns), max(duration_ns),\n\
        approx_quantile(duration_ns, [0.5, 0.9, 0.99]), sum(greatest(old_len, new_len)), count(distinct tid)\n\
        from {rows} group by all''').fetchall()\n\
    print(time.monotonic() - before)";

/// The rows, and a line for each reader that is not here.
///
/// # Errors
/// No room for the trace and its exports, or the analyzer fails on them.
pub fn rows(subject: &Subject) -> Result<(Vec<Row>, Vec<String>)> {
    let (trace, calls) = report::trace(subject, if subject.is_quick { CALLS_QUICK } else { CALLS })?;
    let directory = subject.trace_directory()?;
    let at = |format: &str| directory.path().join(format);
    let (parquet, ctf) = (at("parquet"), at("ctf"));
    let mut variants: Vec<Variant<'_>> = vec![(
        "report".to_owned(),
        Box::new(|| report::report(subject, &trace).map_or(f64::NAN, |(seconds, _)| seconds)),
    )];
    for format in FORMATS {
        let export = || export(subject, format, &trace, &at(format)).unwrap_or(f64::NAN);
        variants.push((format.to_owned(), Box::new(export)));
    }
    let mut skipped = Vec::new();
    // The first, unmeasured round writes what these two read.
    for format in ["parquet", "ctf"] {
        export(subject, format, &trace, &at(format))?;
    }
    match duckdb(&parquet) {
        Ok(_) => variants.push((
            "duckdb".to_owned(),
            Box::new(|| duckdb(&parquet).unwrap_or(f64::NAN)),
        )),
        Err(error) => skipped.push(format!("duckdb: {error:#}")),
    }
    match babeltrace(&ctf) {
        Ok(_) => variants.push((
            "babeltrace2".to_owned(),
            Box::new(|| babeltrace(&ctf).unwrap_or(f64::NAN)),
        )),
        Err(error) => skipped.push(format!("babeltrace2: {error:#}")),
    }
    let names: Vec<String> = variants.iter().map(|(name, _)| name.clone()).collect();
    let series = rounds::run(ROUNDS, &mut variants);
    drop(variants);
    let millions = calls as f64 / 1e6;
    let report = named(&series, "report");
    let mut rows = Vec::new();
    for name in &names {
        let seconds = named(&series, name);
        ensure!(seconds.iter().all(|seconds| seconds.is_finite()), "{name} failed");
        let row = Row::new(SUITE, format!("{} {millions:.0} million calls", verb(name)), "")
            .measured("M/s", seconds.iter().map(|seconds| millions / seconds).collect());
        let is_export = FORMATS.contains(&name.as_str());
        rows.push(if is_export {
            row.goal(Goal::AtLeast(1.0))
        } else {
            row
        });
        if name == "duckdb" {
            rows.push(
                Row::new(SUITE, "report of the same calls", "DuckDB over Parquet")
                    .measured("x", ratios(report, seconds))
                    .goal(Goal::AtMost(1.0)),
            );
        }
    }
    let bytes = size(&parquet)? as f64 / calls as f64;
    rows.push(
        Row::new(SUITE, "Parquet of a call", "")
            .measured("bytes", vec![bytes])
            .goal(Goal::AtMost(15.0)),
    );
    Ok((rows, skipped))
}

fn verb(name: &str) -> String {
    match name {
        "report" => "report over".to_owned(),
        "duckdb" => "DuckDB, sums from Parquet of".to_owned(),
        "babeltrace2" => "babeltrace2, count from CTF of".to_owned(),
        format => format!("export to {format} of"),
    }
}

/// Seconds of an export.
fn export(subject: &Subject, format: &str, trace: &Path, target: &Path) -> Result<f64> {
    if target.is_dir() {
        std::fs::remove_dir_all(target)
            .with_context(|| format!("{}: cannot be emptied", target.display()))?;
    }
    let mut command = Command::new(&subject.analyzer);
    command
        .args(["export", "--format", format, "--output"])
        .arg(target)
        .arg(trace);
    wall(&mut command)
}

/// Seconds that `DuckDB` takes for its query, without its start.
fn duckdb(parquet: &Path) -> Result<f64> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .args(["-c", QUERY])
        .arg(parquet)
        .output()
        .context("python3 is not installed")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{} (pip install duckdb; PYTHON names the interpreter)",
        said.lines().last().unwrap_or_default()
    );
    let seconds = String::from_utf8_lossy(&output.stdout);
    seconds.trim().parse().context("DuckDB printed no time")
}

/// Seconds that babeltrace2 takes to count the events.
fn babeltrace(ctf: &Path) -> Result<f64> {
    let mut command = Command::new("babeltrace2");
    command.arg(ctf).args(["--component", "sink.utils.counter"]);
    wall(&mut command).context("it is not installed, or fails (Debian: babeltrace2)")
}

fn wall(command: &mut Command) -> Result<f64> {
    let before = clock::monotonic_ns();
    let status = command.stdout(Stdio::null()).status().context("cannot be run")?;
    ensure!(status.success(), "{status}");
    Ok((clock::monotonic_ns() - before) as f64 / 1e9)
}

/// Bytes of all files below a directory.
fn size(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}
