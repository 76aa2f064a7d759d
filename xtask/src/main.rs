//! The project's commands. Each one is a function of a module of its own; CI calls nothing else.

mod apt;
mod arch;
mod bench;
mod catalogue;
mod ci;
mod cross;
mod debian;
mod demo;
mod dist;
mod documents;
mod fuzz;
mod guest;
mod kernels;
mod libtest;
mod mutants;
mod oracle;
mod pictures;
mod repo;
mod test;
mod test_vm;
mod tools;
mod userlands;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// The project's commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// All tests: on this machine, then in every guest kernel.
    Test(test::Options),
    /// The system tests in guest kernels.
    TestVm(test_vm::Options),
    /// The library compiled for 64-bit Arm, no more.
    CheckArm,
    /// The library in userlands of other Debian releases.
    TestUserlands,
    /// One program in one guest kernel.
    Vm(vm::Options),
    /// The guest kernels: list, fetch, find newer ones.
    Kernels(kernels::command::Options),
    /// What everything costs: one table, kept under benches/results.
    Bench(bench::Options),
    /// The shim at work on an unmodified program.
    Demo(demo::Options),
    /// The shim against the kernel that runs here, on random layouts and requests.
    Oracle(oracle::Options),
    /// The fuzz targets, each for some time.
    Fuzz(fuzz::Options),
    /// Every command that the documents show.
    Docs,
    /// The README's pictures.
    Pictures(pictures::Options),
    /// What is given to others: a tarball, a Debian package, a bill of materials, checksums.
    Dist(dist::Options),
    /// Everything that a change must pass.
    Ci,
}

fn main() -> ExitCode {
    run(Command::parse()).unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Test(options) => test::run(options),
        Command::TestVm(options) => test_vm::run(&options),
        Command::CheckArm => cross::check(),
        Command::TestUserlands => userlands::run(),
        Command::Vm(options) => vm::run(&options),
        Command::Kernels(options) => kernels::command::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Oracle(options) => oracle::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Docs => documents::run(),
        Command::Pictures(options) => pictures::run(&options),
        Command::Dist(options) => dist::run(&options),
        Command::Ci => ci::run(),
    }
}
