//! `mremap-oracle`: compares the preload library with the running kernel, for `cargo xtask oracle`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use mremap_oracle::case::Features;
use mremap_oracle::compare::{self, Options};
use mremap_oracle::runner::{self, Runner};
use mremap_oracle::sandbox::Sandbox;
use mremap_oracle::scratch::Scratch;
use mremap_oracle::transcript;

/// Compare the preload library with the running kernel
#[derive(Debug, Parser)]
#[command(name = "mremap-oracle")]
enum Command {
    /// Run random cases natively and emulated
    Compare(Options),
    /// Print cases and their outcomes here, natively or under a preloaded library
    Transcript {
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, default_value_t = 200)]
        cases: u64,
    },
    /// Run the cases requested on standard input
    #[command(hide = true)]
    Runner {
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        features: u32,
        #[arg(long)]
        scratch: PathBuf,
        #[arg(long)]
        sandbox: Sandbox,
    },
}

fn main() -> ExitCode {
    let status = match Command::parse() {
        Command::Compare(options) => compare::run(&options),
        Command::Transcript { seed, cases } => write_transcript(seed, cases),
        Command::Runner { seed, features, scratch, sandbox } => {
            runner::run(&scratch, seed, Features(features), sandbox).map(|()| ExitCode::SUCCESS)
        }
    };
    status.unwrap_or_else(|error| {
        eprintln!("mremap-oracle: {error:#}");
        ExitCode::from(2)
    })
}

fn write_transcript(seed: u64, cases: u64) -> Result<ExitCode> {
    let scratch = Scratch::make()?;
    let mut runner = Runner::new(&scratch.0, Sandbox::None)?;
    let mut out = std::io::stdout().lock();
    for number in 0..cases {
        out.write_all(transcript::write(&mut runner, seed, number)?.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
