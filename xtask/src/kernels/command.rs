//! `cargo xtask kernels`: fetches, lists and pins the guest kernels.

use std::process::ExitCode;

use anyhow::Result;

use crate::catalogue::{Catalogue, Entry};
use crate::kernels;

/// The action; without one, fetch.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    kernels: Kernels,
}

/// Which kernels.
#[derive(Debug, Clone, Default, clap::Args)]
struct Kernels {
    /// Series in tests/kernels.toml, for example 6.1 [default: all]
    series: Vec<String>,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Action {
    /// Fetch missing kernels (the default); kernels built from source only if named.
    Fetch(Kernels),
    /// List the kernels and which of them are in the cache; offline.
    List(Kernels),
    /// Print the lines of tests/kernels.toml that pin the newest packages.
    Pin(Kernels),
}

/// Runs the action; fails if a kernel cannot be fetched.
pub fn run(options: &Options) -> Result<ExitCode> {
    let catalogue = Catalogue::read()?;
    let select = |kernels: &Kernels| catalogue.select(&kernels.series);
    let to_fetch = |kernels: &Kernels| -> Result<Vec<Entry>> {
        let mut entries = select(kernels)?;
        // Building takes minutes and compilers, so only on request.
        entries.retain(|entry| entry.config.is_none() || !kernels.series.is_empty());
        Ok(entries)
    };
    match &options.action {
        None => return Ok(fetch(&to_fetch(&options.kernels)?)),
        Some(Action::Fetch(kernels)) => return Ok(fetch(&to_fetch(kernels)?)),
        Some(Action::List(kernels)) => list(&select(kernels)?),
        Some(Action::Pin(kernels)) => pin(&select(kernels)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn fetch(entries: &[Entry]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (entry, kernel) in entries.iter().zip(kernels::get_each(entries)) {
        match kernel {
            Ok(kernel) => show(entry, &kernel.version),
            Err(error) => {
                show(entry, &format!("failed: {error:#}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn list(entries: &[Entry]) {
    for entry in entries {
        let state = match kernels::cached(entry) {
            Some(kernel) => kernel.version,
            None => format!("missing: cargo xtask kernels fetch {}", entry.series),
        };
        show(entry, &state);
        println!("{:<14} {}", "", entry.why);
    }
}

fn pin(entries: &[Entry]) -> Result<()> {
    for (entry, package) in kernels::newest(entries)? {
        println!("# {} from {}\n{}", entry.series, entry.suite, kernels::pin_lines(&package));
    }
    Ok(())
}

fn show(entry: &Entry, state: &str) {
    println!(
        "{:<14} {:<9} {state}",
        entry.series,
        if entry.native { "native" } else { "emulated" }
    );
}
