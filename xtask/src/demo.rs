//! `cargo xtask demo`: an unmodified example program, first alone and then under the shim.

use std::process::ExitCode;

use anyhow::{Context, Result};
use mremap_tests::artifacts::Artifacts;

use crate::guest::{self, Guest};
use crate::kernels;

/// Where to show it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The guest kernel, for example 6.1.
    #[arg(long, default_value = "6.12")]
    vm: String,
    /// The example program; the first one when none is named.
    #[arg(long)]
    example: Option<String>,
}

/// Shows it.
pub fn run(options: &Options) -> Result<ExitCode> {
    let artifacts = Artifacts::prepare()?;
    let example = options
        .example
        .clone()
        .or_else(|| artifacts.examples().into_iter().next());
    let example = format!(
        "/artifacts/examples/{}",
        example.context("there is no example program")?
    );
    let mut guest = Guest::default();
    guest.add(&artifacts.root, "/artifacts");
    guest.command([example.as_str()]);
    guest.command_with(
        [example.as_str()],
        &[("LD_PRELOAD", "/artifacts/libmremap_shim.so")],
    );
    for outcome in guest::run(&kernels::get_one(&options.vm)?, &guest)? {
        println!(
            "status {} after {:.2} s\n{}",
            outcome.status, outcome.seconds, outcome.output
        );
    }
    Ok(ExitCode::SUCCESS)
}
