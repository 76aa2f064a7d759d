//! `cargo xtask bench`: what everything costs, in one table, kept under `benches/results/`.
//!
//! What is measured and how is in `benches/`; here things are built, suites chosen, guests booted.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mremap_benches::results::Results;
use mremap_benches::subject::{self, Subject};
use mremap_benches::suites::{calls, instructions, moves, peers, report, startup, trace};
use mremap_benches::table::Row;
use serde_json::Value;

use crate::catalogue::Catalogue;
use crate::guest::{self, Guest};
use crate::kernels;
use crate::repo;

/// Guests that the bench measures in: the oldest one, and one without `PROCMAP_QUERY`.
const GUESTS: [&str; 2] = ["5.10", "6.1"];
/// Places in a guest.
const GUEST_SHIM: &str = "/libmremap_shim.so";
const GUEST_BENCH: &str = "/bench-moves";

/// Which suites, how thoroughly.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only these; all of them when none is named.
    #[arg(value_enum)]
    suites: Vec<Suite>,
    /// Fewer rounds and a smaller trace: to see that everything runs.
    #[arg(long)]
    quick: bool,
    /// Do not keep the results.
    #[arg(long)]
    no_keep: bool,
    /// Write the counted instructions to benches/instructions.toml.
    #[arg(long)]
    record: bool,
}

/// One group of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Suite {
    /// Instructions of the hook's paths.
    Instructions,
    /// Calls that are passed through.
    Calls,
    /// Moves on this kernel.
    Moves,
    /// The least that each way to find VMAs costs.
    Floors,
    /// Moves in guests with older kernels.
    Guests,
    /// Start of a process.
    Startup,
    /// Size of a trace, memory of a traced process.
    Trace,
    /// The analyzer's report over 100 million calls.
    Report,
    /// Other tools.
    Peers,
}

/// Measures, prints the table, keeps it. Missed goals are not a failure: the table says them.
pub fn run(options: &Options) -> Result<ExitCode> {
    use clap::ValueEnum as _;
    let suites = if options.suites.is_empty() {
        Suite::value_variants()
    } else {
        &options.suites
    };
    let subject = prepare(options.quick, suites.contains(&Suite::Report))?;
    let mut results = Results::begin(options.quick)?;
    let mut status = ExitCode::SUCCESS;
    for suite in suites {
        match rows(*suite, &subject, options) {
            Ok(rows) => {
                eprint!("{}", mremap_benches::table::render(&rows, &[]));
                results.rows.extend(rows);
            }
            // The others' figures are worth keeping.
            Err(error) => {
                eprintln!("bench: {suite:?}: {error:#}");
                status = ExitCode::FAILURE;
            }
        }
    }
    let results = results.end()?;
    let table = if options.no_keep {
        results.render(None)
    } else {
        results.keep(&repo::root().join("benches/results"))?
    };
    print!("{table}");
    Ok(status)
}

fn rows(suite: Suite, subject: &Subject, options: &Options) -> Result<Vec<Row>> {
    match suite {
        Suite::Instructions => counted(subject, options),
        Suite::Calls => calls::rows(subject),
        Suite::Moves => moves::rows(subject),
        Suite::Floors => moves::floors(subject),
        Suite::Guests => in_guests(subject),
        Suite::Startup => startup::rows(subject),
        Suite::Trace => trace::rows(subject),
        Suite::Report => report::rows(subject),
        Suite::Peers => {
            let (rows, skipped) = peers::rows(subject)?;
            for line in skipped {
                eprintln!("bench: skipped: {line}");
            }
            Ok(rows)
        }
    }
}

fn recorded_counts() -> PathBuf {
    repo::root().join("benches/instructions.toml")
}

fn counted(subject: &Subject, options: &Options) -> Result<Vec<Row>> {
    let counts = instructions::counts(subject)?;
    let path = recorded_counts();
    if options.record {
        instructions::write(&path, &counts)?;
    }
    Ok(instructions::rows(&counts, &instructions::read(&path)?))
}

/// Fails when a path of the hook takes over a tenth more instructions than are recorded for it.
pub fn check_instructions() -> Result<()> {
    let subject = prepare(true, false)?;
    let counts = instructions::counts(&subject)?;
    let complaints = instructions::complaints(&counts, &instructions::read(&recorded_counts())?);
    if complaints.is_empty() {
        return Ok(());
    }
    bail!(
        "{}\nif that is as it should be: cargo xtask bench instructions --record",
        complaints.join("\n")
    );
}

fn in_guests(subject: &Subject) -> Result<Vec<Row>> {
    if let Some(missing) = guest::missing() {
        eprintln!("bench: skipped: guests: {missing}");
        return Ok(Vec::new());
    }
    let mut guest = Guest {
        timeout: Duration::from_mins(5),
        ..Guest::default()
    };
    guest.add(&subject.shim, GUEST_SHIM);
    guest.add(subject.programs.join("bench-moves"), GUEST_BENCH);
    for source in moves::guest::SOURCES {
        let environment = [
            ("LD_PRELOAD", GUEST_SHIM),
            ("MREMAP_SHIM_MODE", "emulate"),
            ("MREMAP_SHIM_VMA_SOURCE", source),
        ];
        let argv = std::iter::once(GUEST_BENCH).chain(moves::guest::ARGUMENTS);
        guest.command_with(argv, &environment);
    }
    let packed = guest.pack()?;
    let mut rows = Vec::new();
    // One after the other: they would measure each other.
    for series in GUESTS {
        let entry = Catalogue::read()?.select(&[series.to_owned()])?;
        let kernel = kernels::get(&entry)?.remove(0);
        let outcomes = packed.boot(&kernel, &mut |_| ())?;
        for (source, outcome) in moves::guest::SOURCES.iter().zip(outcomes) {
            let figures = subject::parse(&outcome.output)
                .with_context(|| format!("guest kernel {series}: {}", outcome.output))?;
            rows.push(moves::guest::row(series, source, &figures));
        }
    }
    Ok(rows)
}

/// Builds what is measured and what measures. The analyzer, which takes minutes, only for the suite that runs it.
fn prepare(is_quick: bool, needs_analyzer: bool) -> Result<Subject> {
    let mut command = repo::cargo();
    command.args(["build", "--release", "--message-format=json-render-diagnostics"]);
    command.args([
        "-p",
        "mremap-shim",
        "-p",
        "mremap-benches",
        "--lib",
        "--bins",
        "--examples",
    ]);
    if needs_analyzer {
        command.args(["-p", "mremap-analyzer"]);
    }
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo build: cannot be run")?;
    if !output.status.success() {
        bail!("cargo build --release of what is measured failed; see above");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let built = |name: &str| -> Result<PathBuf> {
        let messages = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let files = messages.flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
        let mut paths = files.filter_map(|file| file.as_str().map(PathBuf::from));
        paths
            .find(|path| path.file_name().is_some_and(|it| it == name))
            .with_context(|| format!("cargo build --release made no {name}"))
    };
    let bench = built("bench-moves")?;
    let programs = bench.parent().context("a file lies in a directory")?.to_owned();
    let scratch = programs.join("bench");
    fs::create_dir_all(&scratch).with_context(|| format!("{}: cannot be made", scratch.display()))?;
    Ok(Subject {
        shim: built("libmremap_shim.so")?,
        analyzer: programs.join("mremap-analyzer"),
        stub: built("libstub_mremap.so")?,
        programs,
        scratch,
        is_quick,
    })
}
