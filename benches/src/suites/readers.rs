//! `DuckDB` over the exported Parquet, in turns with the report over the trace.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::exports::export;
use super::peers::SUITE;
use super::report;
use crate::limited;
use crate::rounds::{self, Variant};
use crate::stats::{named, ratios};
use crate::subject::Subject;
use crate::table::{Goal, Row};

const CALLS: usize = 10_000_000;
const CALLS_QUICK: usize = 1_000_000;
const ROUNDS: usize = 9;

/// The report's sums of outcomes and call sites, by `DuckDB`.
const QUERY: &str = "import duckdb, sys, time\n\
    rows = f\"read_parquet('{sys.argv[1]}/**/*.parquet')\"\n\
    duckdb.sql('set enable_progress_bar = false')\n\
    before = time.monotonic()\n\
    duckdb.sql(f'''select site, outcome, count(*), count(errno), sum(duration_ns), max(duration_ns),\n\
        approx_quantile(duration_ns, [0.5, 0.9, 0.99]), sum(greatest(old_len, new_len)), count(distinct tid)\n\
        from {rows} group by all''').fetchall()\n\
    print(time.monotonic() - before)";

/// The rows.
///
/// # Errors
/// `DuckDB` is missing, a command fails, or there is no room for the trace.
pub fn rows(subject: &Subject) -> Result<Vec<Row>> {
    let (trace, calls) =
        report::trace(subject, if subject.is_quick { CALLS_QUICK } else { CALLS })?;
    let directory = subject.trace_directory()?;
    let parquet = directory.path().join("parquet");
    // First, since the rest takes long.
    import(subject)?;
    export(subject, "parquet", &trace, &parquet)?;
    duckdb(subject, &parquet)?;
    report::report(subject, &trace)?;
    let mut variants: Vec<Variant<'_>> = vec![
        (
            "report".to_owned(),
            Box::new(|| report::report(subject, &trace).map_or(f64::NAN, |(seconds, _)| seconds)),
        ),
        ("duckdb".to_owned(), Box::new(|| duckdb(subject, &parquet).unwrap_or(f64::NAN))),
    ];
    let series = rounds::run(ROUNDS, &mut variants);
    drop(variants);
    let millions = calls as f64 / 1e6;
    let (report, duckdb) = (named(&series, "report"), named(&series, "duckdb"));
    let speed = |what: &str, seconds: &[f64]| {
        Row::new(SUITE, format!("{what} {millions:.0} million calls"), "")
            .measured("M/s", seconds.iter().map(|seconds| millions / seconds).collect())
    };
    Ok(vec![
        speed("report over", report),
        speed("DuckDB, sums from Parquet of", duckdb),
        Row::new(SUITE, "report of the same calls", "DuckDB over Parquet")
            .measured("x", ratios(report, duckdb))
            .goal(Goal::AtMost(1.0)),
    ])
}

fn import(subject: &Subject) -> Result<()> {
    let mut command = Command::new(&subject.python);
    limited::output(command.args(["-c", "import duckdb"]))
        .context("no duckdb (pip install duckdb)")?;
    Ok(())
}

/// Runs the query by `DuckDB` and returns its seconds, without the start.
fn duckdb(subject: &Subject, parquet: &Path) -> Result<f64> {
    let mut command = Command::new(&subject.python);
    let output = limited::output(command.args(["-c", QUERY]).arg(parquet))?;
    let seconds = String::from_utf8_lossy(&output.stdout);
    seconds.trim().parse().context("DuckDB printed no time")
}
