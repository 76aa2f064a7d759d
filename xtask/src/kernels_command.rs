//! `cargo xtask kernels`: which guest kernels there are, fetched when they are not yet here, and which could be.

use std::process::ExitCode;

use anyhow::Result;

use crate::catalogue::{Catalogue, Entry};
use crate::kernels;

/// What to do with the kernels.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum Action {
    /// Get every kernel that is not here yet (the default).
    Fetch,
    /// Say which kernels are here, without the network.
    List,
    /// Print the pins of the newest package of every series, for tests/kernels.toml.
    Pin,
}

/// Does it; fails when a kernel cannot be had.
pub fn run(options: &Options) -> Result<ExitCode> {
    let entries = Catalogue::read()?.select(&[])?;
    match options.action.unwrap_or(Action::Fetch) {
        Action::Fetch => return Ok(fetch(&entries)),
        Action::List => list(&entries),
        Action::Pin => pin(&entries)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn fetch(entries: &[Entry]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (entry, kernel) in entries.iter().zip(kernels::get_each(entries)) {
        match kernel {
            Ok(kernel) => show(entry, &kernel.version),
            Err(error) => {
                show(entry, &format!("cannot be had: {error:#}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn list(entries: &[Entry]) {
    for entry in entries {
        let version = kernels::cached(entry).map(|kernel| kernel.version);
        let state = version
            .as_deref()
            .unwrap_or("not here: cargo xtask kernels fetch");
        show(entry, state);
        println!("       {}", entry.why);
    }
}

fn pin(entries: &[Entry]) -> Result<()> {
    for (entry, package) in kernels::newest(entries)? {
        println!("# {} from {}", entry.series, entry.suite);
        println!(
            "package = \"{}\"\nversion = \"{}\"",
            package.name, package.version
        );
        println!("sha256 = \"{}\"", package.sha256);
    }
    Ok(())
}

fn show(entry: &Entry, state: &str) {
    println!(
        "{:<6} {:<9} {state}",
        entry.series,
        if entry.native { "native" } else { "emulated" }
    );
}
