//! `mremap-oracle`: compares the shim with the kernel it runs on. `cargo xtask oracle` builds both and calls it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use mremap_oracle::case::Features;
use mremap_oracle::compare::{self, Options};
use mremap_oracle::runner;

/// Compares the shim with the kernel it runs on.
#[derive(Debug, Parser)]
#[command(name = "mremap-oracle")]
enum Command {
    /// Random cases, natively and emulated.
    Compare(Options),
    /// Carries out cases that are asked for on standard input.
    #[command(hide = true)]
    Runner {
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        features: u32,
        #[arg(long)]
        scratch: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Compare(options) => compare::run(&options),
        Command::Runner {
            seed,
            features,
            scratch,
        } => run_runner(seed, features, &scratch),
    };
    done.unwrap_or_else(|error| {
        eprintln!("mremap-oracle: {error:#}");
        ExitCode::from(2)
    })
}

fn run_runner(seed: u64, features: u32, scratch: &std::path::Path) -> Result<ExitCode> {
    runner::run(scratch, seed, Features(features))?;
    Ok(ExitCode::SUCCESS)
}
