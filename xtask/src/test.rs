//! `cargo xtask test`: every test there is, on this machine and then in the guests. The last line is the sum.

use std::io::{BufRead as _, BufReader};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::catalogue::Catalogue;
use crate::guest;
use crate::kernels;
use crate::libtest::{self, Counts};
use crate::repo;
use crate::test_vm;

/// How long a guest may take.
const GUEST_TIMEOUT: Duration = Duration::from_mins(15);

/// How much is asked for.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Options {
    /// Guests that cannot be run are a failure.
    #[arg(long)]
    pub require_guests: bool,
}

/// Runs the tests.
pub fn run(options: Options) -> Result<ExitCode> {
    let mut sum = on_this_machine()?;
    let (in_guests, skipped) = in_guests()?;
    sum += in_guests;
    for line in &skipped {
        println!("skipped: {line}");
        if options.require_guests {
            sum.failed += 1;
        }
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    Ok(if sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `cargo test`, whose output the user sees as it comes.
fn on_this_machine() -> Result<Counts> {
    let mut command = repo::cargo();
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cargo test: cannot be run")?;
    let mut sum = Counts::default();
    for line in BufReader::new(child.stdout.take().context("cargo test has no stdout")?).split(b'\n') {
        let line = line.context("cargo test: unreadable output")?;
        // A failing test may print anything.
        let line = String::from_utf8_lossy(&line);
        if let Some(counts) = libtest::summary(&line) {
            sum += counts;
        }
        println!("{line}");
    }
    if !child
        .wait()
        .context("cargo test: cannot be waited for")?
        .success()
    {
        // What does not build, or dies, has no line of counts.
        sum.failed = sum.failed.max(1);
    }
    Ok(sum)
}

/// The system tests in every guest that can be had; a line for each that cannot.
fn in_guests() -> Result<(Counts, Vec<String>)> {
    let catalogue = Catalogue::read()?;
    if let Some(missing) = guest::missing() {
        return Ok((
            Counts::default(),
            vec![format!("the system tests in all guest kernels: {missing}")],
        ));
    }
    let (mut kernels, mut skipped) = (Vec::new(), Vec::new());
    for (entry, kernel) in catalogue
        .entries
        .iter()
        .zip(kernels::get_each(&catalogue.entries))
    {
        match kernel {
            Ok(kernel) => kernels.push(kernel),
            Err(error) => skipped.push(format!("the system tests on kernel {}: {error:#}", entry.series)),
        }
    }
    Ok((
        test_vm::matrix(&kernels, &catalogue.guest, None, GUEST_TIMEOUT)?,
        skipped,
    ))
}
