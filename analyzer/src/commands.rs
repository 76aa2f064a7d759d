//! What each command does, from its arguments to its exit status.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::cli::{Cli, Command, Traced};
use crate::load::{self, Index, Traces};
use crate::model::Filter;
use crate::stats::{Overview, pick_sites};
use crate::symbols::Symbols;
use crate::{TROUBLE, diff, doctor, events, export, findings, html, live, report, run, show};

/// Carries a command out.
///
/// # Errors
/// What stopped it; everything readable has been shown by then.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(options) => run::run(&options),
        Command::Doctor(options) => doctor::run(&options, &mut std::io::stdout()),
        Command::SelfTest { machine, realloc } => {
            doctor::self_test(machine, realloc, &mut std::io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Report {
            traced,
            json,
            top,
            sort,
        } => on_traces(&traced.traces, |traces, out| {
            let symbols = Symbols::new(traced.symbols.clone());
            let overview = Overview::of(traces, &mut traced.filter(), &symbols);
            let options = report::Options { json, top, sort };
            report::write(traces, &overview, &symbols, &options, out)?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Events {
            traced,
            json,
            follow: true,
        } => follow(&traced, json),
        Command::Top { traced, interval } => {
            let symbols = Symbols::new(traced.symbols.clone());
            let interval = Duration::from_nanos(interval).max(Duration::from_millis(20));
            live::top(&traced.traces, &mut traced.filter(), &symbols, interval)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Events { traced, json, .. } => on_traces(&traced.traces, |traces, out| {
            let symbols = Symbols::new(traced.symbols.clone());
            let (filter, index) = prepare(traces, &traced, &symbols);
            let written = events::write(traces, &index, &filter, &symbols, json, out)?;
            let nothing_found = written == 0 && filter.is_set();
            Ok(ExitCode::from(u8::from(nothing_found)))
        }),
        Command::Show {
            trace,
            event,
            width,
            ascii,
            svg,
            symbols,
        } => on_traces(&[trace], |traces, out| {
            let index = Index::build(traces);
            let options = show::Options { width, ascii, svg };
            show::write(traces, &index, event, &Symbols::new(symbols), &options, out)?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Check { traced, json, top } => on_traces(&traced.traces, |traces, out| {
            let symbols = Symbols::new(traced.symbols.clone());
            let (filter, index) = prepare(traces, &traced, &symbols);
            let observer = findings::observe(traces, &index, &filter)?;
            let verdict = findings::write(traces, &observer, &symbols, (json, top), out)?;
            Ok(ExitCode::from(verdict.status()))
        }),
        Command::Diff {
            before,
            after,
            json,
            top,
            filter,
            symbols,
        } => {
            let count = |traces: &mut Traces| {
                Overview::of(traces, &mut filter.clone(), &Symbols::new(symbols.clone()))
            };
            on_traces(&[before], |former, out| {
                let before = count(former);
                on_traces(&[after], |later, _| {
                    let differ = diff::write(&before, &count(later), json, top, out)?;
                    Ok(ExitCode::from(u8::from(differ)))
                })
            })
        }
        Command::Export {
            format,
            output,
            weight,
            traced,
        } => {
            let target = export::Target::open(format, weight, output.as_deref())?;
            on_traces(&traced.traces, |traces, _| {
                let symbols = Symbols::new(traced.symbols.clone());
                let (filter, index) = prepare(traces, &traced, &symbols);
                export::write(traces, &index, &filter, &symbols, target)?;
                Ok(ExitCode::SUCCESS)
            })
        }
        Command::Html { output, traced } => page(output.as_deref(), &traced),
        Command::Man { command } => man(command.as_deref()),
        Command::Completions { shell } => {
            // Into memory first: the generator panics when it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "mremap-analyzer", &mut script);
            std::io::stdout().write_all(&script)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn follow(traced: &Traced, json: bool) -> Result<ExitCode> {
    let symbols = Symbols::new(traced.symbols.clone());
    let mut out = BufWriter::new(std::io::stdout());
    live::follow(&traced.traces, &mut traced.filter(), &symbols, json, &mut out)?;
    Ok(ExitCode::SUCCESS)
}

fn page(output: Option<&Path>, traced: &Traced) -> Result<ExitCode> {
    let mut target = export::stream(output)?;
    on_traces(&traced.traces, |traces, _| {
        let symbols = Symbols::new(traced.symbols.clone());
        let overview = Overview::of(traces, &mut traced.filter(), &symbols);
        let (filter, index) = prepare(traces, traced, &symbols);
        html::write(traces, &index, &overview, &filter, &symbols, &mut target)?;
        target.flush()?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Filter and index for who reads events in order.
fn prepare(traces: &mut Traces, traced: &Traced, symbols: &Symbols) -> (Filter, Index) {
    let mut filter = traced.filter();
    filter.start = traces.start();
    if filter.site.is_some() {
        pick_sites(traces, &mut filter, symbols);
    }
    (filter, Index::build(traces))
}

/// Everything readable is shown, then what was damaged is named.
fn on_traces(
    paths: &[PathBuf],
    write: impl FnOnce(&mut Traces, &mut dyn Write) -> Result<ExitCode>,
) -> Result<ExitCode> {
    let mut traces = load::open(&load::find(paths)?)?;
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
    flushed?;
    Ok(if damage.is_empty() {
        status
    } else {
        ExitCode::from(TROUBLE)
    })
}

fn man(name: Option<&str>) -> Result<ExitCode> {
    let mut command = Cli::command();
    command.build();
    let command = match name {
        None => command,
        Some(name) => command
            .find_subcommand(name)
            .cloned()
            .with_context(|| format!("no command {name}; `mremap-analyzer --help` lists them"))?,
    };
    clap_mangen::Man::new(command).render(&mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}
