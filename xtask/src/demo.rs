//! `cargo xtask demo`: runs the examples under the library on this kernel, shows the report and a
//! picture, then runs one example on an old kernel without the library and with it.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use mremap_tests::artifacts::Artifacts;

use crate::guest::{self, Guest};
use crate::{kernels, repo};

/// The example that is drawn, and runs on the old kernel.
const DRAWN: &str = "neighbour_under_gap";
const OLD_KERNEL: &str = "6.1";

/// Which old kernel to use.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Series of the old kernel [default: 6.1 if QEMU is installed]
    #[arg(long)]
    vm: Option<String>,
}

/// Runs the demo.
pub fn run(options: &Options) -> Result<ExitCode> {
    let artifacts = Artifacts::prepare()?;
    on_this_kernel(&artifacts)?;
    let qemu_is_here = Command::new("qemu-system-x86_64").arg("--version").output().is_ok();
    match &options.vm {
        Some(series) => on_old_kernel(&artifacts, series)?,
        None if qemu_is_here => on_old_kernel(&artifacts, OLD_KERNEL)?,
        None => {
            println!(
                "\nno old kernel shown: install qemu-system-x86 and busybox-static, then run this again"
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn on_this_kernel(artifacts: &Artifacts) -> Result<()> {
    println!(
        "== The examples under the shim, on this kernel (it emulates even where the kernel has the feature)\n"
    );
    let traces = artifacts.root.with_file_name("demo-traces");
    let _ = std::fs::remove_dir_all(&traces);
    for example in artifacts.examples() {
        let mut run = Command::new(artifacts.analyzer());
        run.args(["run", "--mode", "emulate", "--trace"])
            .arg(&traces)
            .arg("--")
            .arg(artifacts.example(&example));
        let output =
            run.output().with_context(|| format!("cannot run {example} under the shim"))?;
        print!("{}", String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            bail!("{example} failed under the shim: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    println!("\n== mremap-analyzer report {}\n", traces.display());
    repo::run(Command::new(artifacts.analyzer()).arg("report").arg(&traces))?;
    let drawn = std::fs::read_dir(&traces)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().contains(DRAWN))
        .context("the drawn example left no trace")?;
    println!("\n== mremap-analyzer show {} --event 1\n", drawn.display());
    repo::run(Command::new(artifacts.analyzer()).arg("show").arg(&drawn).args(["--event", "1"]))
}

fn on_old_kernel(artifacts: &Artifacts, series: &str) -> Result<()> {
    let example = format!("/artifacts/examples/{DRAWN}");
    let mut guest = Guest::default();
    guest.add(&artifacts.root, "/artifacts");
    guest.command([example.as_str()]);
    guest.command_with([example.as_str()], &[("LD_PRELOAD", "/artifacts/libmremap_shim.so")]);
    let outcomes = guest::run(&kernels::get_one(series)?, &guest)?;
    for (how, outcome) in
        ["without the shim", "with LD_PRELOAD=libmremap_shim.so"].iter().zip(outcomes)
    {
        println!(
            "\n== {DRAWN} on Linux {series}, {how}: exit status {} after {:.1} s\n\n{}",
            outcome.status,
            outcome.seconds,
            outcome.output.trim_end()
        );
    }
    Ok(())
}
