//! `cargo xtask bench`: builds what is measured, runs the chosen suites of `benches/`, boots
//! guests, and keeps the table below `benches/results/`.

use fs_err as fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mremap_benches::results::Results;
use mremap_benches::rounds::Series;
use mremap_benches::subject::{self, Subject};
use mremap_benches::suites::{
    calls, guests, instructions, moves, peers, reach, report, startup, trace,
};
use mremap_benches::table::Row;
use mremap_tests::artifacts::cargo_messages;

use crate::catalogue::Catalogue;
use crate::guest::{self, Guest};
use crate::kernels;
use crate::repo;
use crate::tools;

/// Guests to measure in: the oldest kernel, and one without `PROCMAP_QUERY`.
const GUESTS: [&str; 2] = ["5.10", "6.1"];
/// The library's path in a guest.
const GUEST_SHIM: &str = "/libmremap_shim.so";

/// Which suites to run, and how.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)] // a command line's switches
pub struct Options {
    /// Suites to run [default: all]
    #[arg(value_enum)]
    suites: Vec<Suite>,
    /// Run fewer rounds over a smaller trace, to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Print the results without keeping them.
    #[arg(long)]
    no_keep: bool,
    /// Write the counted instructions to benches/instructions.toml.
    #[arg(long)]
    record: bool,
    /// Only count instructions, and fail if a path grew by more than 10 %, as CI does.
    #[arg(long, conflicts_with_all = ["suites", "record"])]
    check: bool,
}

/// A group of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Suite {
    /// Instructions of the hook's paths.
    Instructions,
    /// Forwarded calls.
    Calls,
    /// Moves on this kernel.
    Moves,
    /// The least that each method to find VMAs costs.
    Floors,
    /// Moves in guests with older kernels.
    Guests,
    /// Start of a process.
    Startup,
    /// Size of a trace, and memory of a traced process.
    Trace,
    /// The analyzer's report over 100 million calls.
    Report,
    /// Calls under the tracer of `run --reach all`.
    Reach,
    /// Other tools.
    Peers,
}

/// Measures, prints the table and keeps it. The table shows missed goals; they are no failure.
pub fn run(options: &Options) -> Result<ExitCode> {
    use clap::ValueEnum as _;
    if options.check {
        check_instructions()?;
        return Ok(ExitCode::SUCCESS);
    }
    let suites = if options.suites.is_empty() { Suite::value_variants() } else { &options.suites };
    let of_analyzer = [Suite::Trace, Suite::Report, Suite::Reach, Suite::Peers];
    let analyzes = of_analyzer.iter().any(|it| suites.contains(it));
    let mut subject = prepare(options.quick, analyzes)?;
    if suites.contains(&Suite::Peers) {
        match tools::get("readers") {
            Ok(bin) => subject.python = bin.join("python3"),
            Err(error) => eprintln!("bench: DuckDB cannot be installed: {error:#}"),
        }
    }
    let mut results = Results::begin(options.quick)?;
    let mut status = ExitCode::SUCCESS;
    for suite in suites {
        let begun = Instant::now();
        match rows(*suite, &subject, options) {
            Ok(rows) => {
                eprint!("{}", mremap_benches::table::render(&rows, &[]));
                results.rows.extend(rows);
            }
            // The other suites still run.
            Err(error) => {
                eprintln!("bench: {suite:?}: {error:#}");
                status = ExitCode::FAILURE;
            }
        }
        eprintln!("bench: {suite:?} took {:.0} s", begun.elapsed().as_secs_f64());
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
        Suite::Reach => reach::rows(subject),
        Suite::Peers => {
            let (rows, missing) = peers::rows(subject);
            for line in missing {
                eprintln!("bench: no figure: {line}");
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

/// Fails if a path of the hook takes over 10 % more instructions than recorded.
pub fn check_instructions() -> Result<()> {
    let subject = prepare(true, false)?;
    let counts = instructions::counts(&subject)?;
    let complaints = instructions::complaints(&counts, &instructions::read(&recorded_counts())?);
    if complaints.is_empty() {
        return Ok(());
    }
    bail!(
        "{}\nif this is intended: cargo xtask bench instructions --record",
        complaints.join("\n")
    );
}

fn in_guests(subject: &Subject) -> Result<Vec<Row>> {
    let mut rows = guests::rows("here", &runs_here(subject)?)?;
    if let Some(missing) = guest::missing() {
        eprintln!("bench: no figure: guests: {missing}");
        return Ok(rows);
    }
    let packed = pack(subject)?;
    // One after the other, so that they do not disturb each other.
    for series in GUESTS {
        match in_guest(series, &packed) {
            Ok(found) => rows.extend(found),
            Err(error) => eprintln!("bench: no figure: guest {series}: {error:#}"),
        }
    }
    Ok(rows)
}

fn runs_here(subject: &Subject) -> Result<Vec<Vec<Series>>> {
    let emulating = |source| subject.shim().set("MODE", "emulate").set("VMA_SOURCE", source);
    let runs = guests::runs();
    let mut each = runs.iter();
    each.try_fold(Vec::new(), |mut printed, run| {
        printed.push(subject.run(run.program, &run.arguments, &emulating(run.source))?);
        Ok(printed)
    })
}

fn pack(subject: &Subject) -> Result<guest::Packed> {
    let mut guest = Guest { timeout: Duration::from_mins(5), ..Guest::default() };
    guest.add(&subject.shim, GUEST_SHIM);
    for program in ["bench-moves", "bench-probes"] {
        guest.add(subject.programs.join(program), format!("/{program}"));
    }
    for run in guests::runs() {
        let environment = [
            ("LD_PRELOAD", GUEST_SHIM),
            ("MREMAP_SHIM_MODE", "emulate"),
            ("MREMAP_SHIM_VMA_SOURCE", run.source),
        ];
        let argv = std::iter::once(format!("/{}", run.program)).chain(run.arguments);
        guest.command_with(argv, &environment);
    }
    guest.pack()
}

fn in_guest(series: &str, packed: &guest::Packed) -> Result<Vec<Row>> {
    let entry = Catalogue::read()?.select(&[series.to_owned()])?;
    let kernel = kernels::get(&entry)?.remove(0);
    let outcomes = packed.boot(&kernel, &mut |_| ())?;
    let parsed = outcomes
        .iter()
        .map(|outcome| subject::parse(&outcome.output).with_context(|| outcome.output.clone()));
    guests::rows(series, &parsed.collect::<Result<Vec<_>>>()?)
}

/// Builds the library and the measuring programs. The analyzer takes minutes, so it is built only
/// if a suite runs it.
fn prepare(is_quick: bool, needs_analyzer: bool) -> Result<Subject> {
    let mut command = repo::cargo();
    command.args(["build", "--release"]);
    command.args(["-p", "mremap-shim", "-p", "mremap-benches", "--lib", "--bins", "--examples"]);
    if needs_analyzer {
        command.args(["-p", "mremap-analyzer"]);
    }
    let messages = cargo_messages(&mut command)?;
    let built = |name: &str| -> Result<PathBuf> {
        let files = messages.iter().filter_map(|message| message["filenames"].as_array()).flatten();
        files
            .filter_map(|file| file.as_str().map(PathBuf::from))
            .find(|path| path.file_name().is_some_and(|it| it == name))
            .with_context(|| format!("cargo build --release produced no {name}"))
    };
    let bench = built("bench-moves")?;
    let programs = bench.parent().context("a file has a directory")?.to_owned();
    let scratch = programs.join("bench");
    fs::create_dir_all(&scratch)?;
    Ok(Subject {
        shim: built("libmremap_shim.so")?,
        analyzer: programs.join("mremap-analyzer"),
        stub: built("libstub_mremap.so")?,
        python: PathBuf::from("python3"),
        programs,
        scratch,
        is_quick,
    })
}
