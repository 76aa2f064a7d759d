//! `mremap-analyzer`: launches programs under the shim and reads what it recorded.
//!
//! The data's way: [`load`] reads records, [`model`] makes events of them, [`symbols`] names their callers
//! ([`named`] is an event with all its names), [`stats`] counts them, [`findings`] judges them, and
//! [`report`], [`events`], [`show`] (drawn by [`picture`]), [`diff`], [`html`], [`export`] and [`live`] put
//! them before people and programs. [`run`] makes the records come about, after
//! [`program`] has told whether a program can be reached, which [`doctor`] explains. [`cli`] is the one definition of
//! all commands, [`commands`] what each of them does.

mod cli;
mod commands;
mod diff;
mod doctor;
mod events;
mod export;
mod findings;
mod html;
mod live;
mod load;
mod model;
mod named;
mod picture;
mod program;
mod report;
mod run;
mod show;
mod stats;
mod symbols;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

/// Nothing readable, or damage in what was read.
const TROUBLE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(
            ["warn", "info", "debug"][usize::from(cli.verbose.min(2))],
        )
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal::is_coloured_on(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
    match commands::run(cli.command) {
        Ok(status) => status,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mremap-analyzer: {error:#}");
            let obstacle = error.downcast_ref::<program::Obstacle>();
            ExitCode::from(obstacle.map_or(TROUBLE, |obstacle| obstacle.status))
        }
    }
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
