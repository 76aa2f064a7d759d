//! `cargo xtask vm`: runs one program of this machine in a guest and returns its exit status.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::catalogue::Catalogue;
use crate::guest::{Guest, GuestCommand};
use crate::kernels;

/// The program and the guest.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Series of the kernel, for example 6.1
    version: String,
    /// Copy a file or directory into the guest, to the same path or to GUEST
    #[arg(long, value_name = "HOST[=GUEST]")]
    with: Vec<String>,
    /// Set an environment variable of the program
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Kill the guest after this many seconds
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// The program and its arguments; busybox provides what this machine does not have
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

/// Runs the program and returns its exit status.
pub fn run(options: &Options) -> Result<ExitCode> {
    let entry = Catalogue::read()?.select(std::slice::from_ref(&options.version))?;
    let kernel = kernels::get(&entry)?.remove(0);
    let mut guest = Guest { timeout: Duration::from_secs(options.timeout), ..Guest::default() };
    for with in &options.with {
        let (host, there) = with.split_once('=').unwrap_or((with, with));
        guest.add(std::path::absolute(host)?, std::path::absolute(there)?);
    }
    let mut argv = options.command.clone();
    // A program that this machine lacks may be busybox's, or among the copied files.
    if let Ok(path) = guest.add_program(&argv[0]) {
        argv[0] = path.to_string_lossy().into_owned();
    }
    guest.commands.push(GuestCommand { argv, env: options.env.clone() });
    let mut write = |text: &[u8]| {
        let mut out = io::stdout().lock();
        out.write_all(text).and_then(|()| out.flush()).ok();
    };
    let outcome =
        guest.pack()?.boot(&kernel, &mut write)?.pop().context("one command, one outcome")?;
    if let Some(log) = outcome.kernel_log {
        anyhow::bail!("the kernel issued a warning:\n{log}");
    }
    Ok(ExitCode::from(u8::try_from(outcome.status).unwrap_or(255)))
}

fn variable(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}
