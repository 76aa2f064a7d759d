//! `mremap-analyzer`: launches programs under the shim and reads what it recorded.
//!
//! The data's way: [`load`] reads records, [`model`] makes events of them, [`report`], [`events`] and
//! [`show`] put them before people. [`launch`] makes the records come about, after
//! [`program`] has told whether it can; [`signals`] keeps Ctrl-C the program's own.

mod cli;
mod events;
mod launch;
mod load;
mod model;
mod picture;
mod program;
mod report;
mod report_json;
mod show;
mod signals;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::load::Loaded;

/// Nothing readable, or damage in what was read.
const TROUBLE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(["warn", "info", "debug"][usize::from(cli.verbose.min(2))])
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(cli.command) {
        Ok(status) => status,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mremap-analyzer: {error:#}");
            ExitCode::from(TROUBLE)
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(options) => launch::run(&options),
        Command::Report { traces, json } => on_traces(&traces, |loaded, out| {
            report::write(loaded, json, out).map(|()| ExitCode::SUCCESS)
        }),
        Command::Events { traces, json, filter } => on_traces(&traces, |loaded, out| {
            let written = events::write(loaded, &filter, json, out)?;
            let nothing_found = written == 0 && filter.is_set();
            Ok(ExitCode::from(u8::from(nothing_found)))
        }),
        Command::Show {
            trace,
            event,
            width,
            ascii,
        } => on_traces(&[trace], |loaded, out| {
            show::write(loaded, event, width, ascii, out).map(|()| ExitCode::SUCCESS)
        }),
    }
}

/// Everything readable is shown, then what was damaged is named.
fn on_traces(
    traces: &[PathBuf],
    write: impl FnOnce(&Loaded, &mut dyn Write) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let loaded = load::load(traces)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = if loaded.processes.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        write(&loaded, &mut out)
    };
    let flushed = out.flush();
    for damage in &loaded.damage {
        eprintln!("mremap-analyzer: {damage}");
    }
    let status = written?;
    flushed?;
    Ok(if loaded.damage.is_empty() {
        status
    } else {
        ExitCode::from(TROUBLE)
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
            || cause
                .downcast_ref::<serde_json::Error>()
                .is_some_and(|json| json.io_error_kind() == Some(std::io::ErrorKind::BrokenPipe))
    })
}
