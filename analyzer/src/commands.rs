//! Runs each command: from its arguments to its exit status.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::CommandFactory;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, Traced};
use crate::load::{self, Index, Traces};
use crate::model::{Filter, names};
use crate::program::Obstacle;
use crate::stats::{Overview, pick_sites};
use crate::symbols::{SymbolOptions, Symbols};
use crate::{
    diff, doctor, events, export, findings, html, live, pack, report, run, show, terminal,
};

/// Exit status for damaged or unreadable traces, wrong commands, and output that cannot be written.
const TROUBLE: u8 = 2;
/// The file that `html` writes by default.
const PAGE: &str = "mremap.html";

/// Runs a command. Errors go to stderr; returns the exit status.
pub fn execute(cli: Cli) -> ExitCode {
    terminal::set_color(cli.color);
    log_to_stderr(cli.verbose);
    match dispatch(cli.command) {
        Ok(status) => status,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mremap-analyzer: {}", names::with_errno_names(&format!("{error:#}")));
            ExitCode::from(status_of(&error))
        }
    }
}

fn status_of(error: &anyhow::Error) -> u8 {
    if error.is::<run::CannotRecord>() {
        return run::CannotRecord::STATUS;
    }
    error.downcast_ref::<Obstacle>().map_or(TROUBLE, |obstacle| obstacle.status)
}

fn log_to_stderr(verbose: u8) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(["warn", "info", "debug"][usize::from(verbose.min(2))]));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal::is_coloured_on(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json =
            cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(BrokenPipe)
    })
}

/// Runs a command; returns its exit status.
///
/// # Errors
/// Whatever stopped the command. What was readable has been shown by then.
fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(options) => run::run(&options),
        #[cfg(target_arch = "x86_64")]
        Command::Attach(options) => run::attach(&options),
        #[cfg(target_arch = "x86_64")]
        Command::Detach(options) => run::detach(&options),
        Command::Doctor(options) => doctor::run(&options, &mut std::io::stdout()),
        Command::SelfTest { machine, realloc } => self_test(machine, realloc),
        Command::Report { traced, json, top, sort } => {
            report(&traced, &report::Options { json, top, sort })
        }
        Command::Events { traced, json, follow: true } => follow(&traced, json),
        Command::Events { traced, json, .. } => events(&traced, json),
        Command::Top { traced, interval } => top(&traced, Duration::from_nanos(interval)),
        Command::Show { traces, event, width, ascii, svg, symbols } => {
            show(&traces, event, &show::Options { width, ascii, svg }, symbols)
        }
        Command::Check { traced, json, top } => check(&traced, (json, top)),
        Command::Diff { before, after, a, b, json, top, tolerance, folded, filter, symbols } => {
            let sides = [before.map_or(a, |path| vec![path]), after.map_or(b, |path| vec![path])];
            let options = diff::Options { json, top, tolerance };
            diff(&sides, &options, folded, &filter, &symbols)
        }
        Command::Export { format, output, weight, traced } => {
            export(&traced, format, weight, output.as_deref())
        }
        Command::Pack { traces, output, redact, symbols } => {
            pack(&traces, &output, redact, symbols)
        }
        Command::Html { output, traced } => page(output.as_deref(), &traced),
        Command::Man { command } => man(command.as_deref()),
        Command::Completions { shell } => completions(shell),
    }
}

fn self_test(machine: bool, realloc: bool) -> Result<ExitCode> {
    doctor::self_test(machine, realloc, &mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn report(traced: &Traced, options: &report::Options) -> Result<ExitCode> {
    on_traces(&traced.traces, |traces, out| {
        let symbols = Symbols::new(traced.symbols.clone());
        let overview = Overview::of(traces, &mut traced.filter(), &symbols);
        report::write(traces, &overview, &symbols, options, out)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn events(traced: &Traced, json: bool) -> Result<ExitCode> {
    on_traces(&traced.traces, |traces, out| {
        let symbols = Symbols::new(traced.symbols.clone());
        let (filter, index) = prepare(traces, traced, &symbols);
        let written = events::write(traces, &index, &filter, &symbols, json, out)?;
        let nothing_found = written == 0 && filter.is_set();
        Ok(ExitCode::from(u8::from(nothing_found)))
    })
}

fn follow(traced: &Traced, json: bool) -> Result<ExitCode> {
    let symbols = Symbols::new(traced.symbols.clone());
    let mut out = BufWriter::new(std::io::stdout());
    live::follow(&traced.traces, &mut traced.filter(), &symbols, json, &mut out)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(feature = "top"))]
fn top(_: &Traced, _: Duration) -> Result<ExitCode> {
    anyhow::bail!("top: not in this build; build with --features top, or use `events --follow`")
}

#[cfg(feature = "top")]
fn top(traced: &Traced, interval: Duration) -> Result<ExitCode> {
    let symbols = Symbols::new(traced.symbols.clone());
    let interval = interval.max(Duration::from_millis(20));
    live::top(&traced.traces, &mut traced.filter(), &symbols, interval)?;
    Ok(ExitCode::SUCCESS)
}

fn show(
    traces: &[PathBuf],
    event: u64,
    options: &show::Options,
    symbols: SymbolOptions,
) -> Result<ExitCode> {
    on_traces(traces, |traces, out| {
        let index = Index::build(traces);
        show::write(traces, &index, event, &Symbols::new(symbols), options, out)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn check(traced: &Traced, how: (bool, usize)) -> Result<ExitCode> {
    on_traces(&traced.traces, |traces, out| {
        let symbols = Symbols::new(traced.symbols.clone());
        let (filter, index) = prepare(traces, traced, &symbols);
        let observer = findings::observe(traces, &index, &filter)?;
        findings::write((traces, &index), &observer, &symbols, how, out)
            .or_else(ignore_broken_pipe)?;
        Ok(ExitCode::from(findings::Verdict::of(&observer).status()))
    })
}

fn diff(
    sides: &[Vec<PathBuf>; 2],
    options: &diff::Options,
    folded: Option<export::Weight>,
    filter: &Filter,
    symbols: &SymbolOptions,
) -> Result<ExitCode> {
    let mut damaged = false;
    let mut overviews = [Vec::new(), Vec::new()];
    let mut weights = [Vec::new(), Vec::new()];
    for (side, paths) in sides.iter().enumerate() {
        for path in paths {
            let status = on_traces(std::slice::from_ref(path), |traces, _| {
                let symbols = Symbols::new(symbols.clone());
                let mut filter = filter.clone();
                if let Some(weight) = folded {
                    let index = prepare_with(traces, &mut filter, &symbols);
                    weights[side].push(export::stacks(traces, &index, &filter, &symbols, weight)?);
                } else {
                    overviews[side].push(Overview::of(traces, &mut filter, &symbols));
                }
                Ok(ExitCode::SUCCESS)
            })?;
            damaged |= status != ExitCode::SUCCESS;
        }
    }
    let mut out = BufWriter::new(std::io::stdout());
    let differ = if folded.is_some() {
        diff::write_folded(&weights, &mut out).or_else(ignore_broken_pipe)?;
        false
    } else {
        let comparison = diff::Comparison::of(&overviews[0], &overviews[1], options);
        let written = comparison.write(options, &mut out).and_then(|()| Ok(out.flush()?));
        written.or_else(ignore_broken_pipe)?;
        comparison.differ()
    };
    out.flush().map_err(anyhow::Error::from).or_else(ignore_broken_pipe)?;
    Ok(if damaged { ExitCode::from(TROUBLE) } else { ExitCode::from(u8::from(differ)) })
}

/// A verdict is the same whether or not its reader is gone.
fn ignore_broken_pipe(error: anyhow::Error) -> Result<()> {
    if is_broken_pipe(&error) { Ok(()) } else { Err(error) }
}

fn export(
    traced: &Traced,
    format: export::Format,
    weight: export::Weight,
    output: Option<&Path>,
) -> Result<ExitCode> {
    let inputs = load::find(&traced.traces);
    let target = export::Target::open(format, weight, output, &inputs)?;
    on_traces(&traced.traces, |traces, _| {
        traces.leave_out(|process| target.objection(process));
        let symbols = Symbols::new(traced.symbols.clone());
        let (filter, index) = prepare(traces, traced, &symbols);
        export::write(traces, &index, &filter, &symbols, target)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn page(output: Option<&Path>, traced: &Traced) -> Result<ExitCode> {
    let inputs = load::find(&traced.traces);
    let file = output.unwrap_or(Path::new(PAGE));
    let mut target = export::Output::open(Some(file).filter(|file| *file != "-"), &inputs)?;
    on_traces(&traced.traces, |traces, out| {
        let symbols = Symbols::new(traced.symbols.clone());
        let overview = Overview::of(traces, &mut traced.filter(), &symbols);
        let (filter, index) = prepare(traces, traced, &symbols);
        html::write(traces, &index, &overview, &filter, &symbols, &mut target)?;
        target.commit()?;
        if output.is_none() {
            writeln!(out, "{PAGE}")?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn pack(paths: &[PathBuf], file: &Path, redact: bool, options: SymbolOptions) -> Result<ExitCode> {
    let output = export::Output::open(Some(file), &load::find(paths))?;
    on_traces(paths, |traces, _| {
        let index = Index::build(traces);
        pack::write(traces, &index, &Symbols::new(options), redact, output)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Completes the filter and builds the index, for commands that read events in order.
fn prepare(traces: &mut Traces, traced: &Traced, symbols: &Symbols) -> (Filter, Index) {
    let mut filter = traced.filter();
    let index = prepare_with(traces, &mut filter, symbols);
    (filter, index)
}

fn prepare_with(traces: &mut Traces, filter: &mut Filter, symbols: &Symbols) -> Index {
    filter.start = traces.start();
    if filter.site.is_some() {
        pick_sites(traces, filter, symbols);
    }
    Index::build(traces)
}

/// Opens traces for a command, and reports their damage after its output.
fn on_traces(
    paths: &[PathBuf],
    write: impl FnOnce(&mut Traces, &mut dyn Write) -> Result<ExitCode>,
) -> Result<ExitCode> {
    let mut traces = load::open(&load::find(paths));
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout());
    let written = if traces.processes.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        write(&mut traces, &mut out)
    };
    let flushed = out.flush();
    let damage = traces.damage();
    for damage in &damage {
        eprintln!("mremap-analyzer: {damage}");
    }
    let status = written?;
    flushed.map_err(anyhow::Error::from).or_else(ignore_broken_pipe)?;
    Ok(if damage.is_empty() { status } else { ExitCode::from(TROUBLE) })
}

fn man(name: Option<&str>) -> Result<ExitCode> {
    let mut command = Cli::command();
    command.build();
    let command = match name {
        None => command,
        Some(name) => command.find_subcommand(name).cloned().with_context(|| {
            format!("{name}: no such command; `mremap-analyzer --help` lists them")
        })?,
    };
    clap_mangen::Man::new(command).render(&mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode> {
    // Generated in memory, because the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mremap-analyzer", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
