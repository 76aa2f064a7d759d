//! The project's commands: one module each. CI runs `cargo xtask ci`, which calls the others.

mod apt;
mod arch;
mod bench;
mod catalogue;
mod ci;
mod commits;
mod cross;
mod debian;
mod demo;
mod dist;
mod documents;
mod fuzz;
mod guest;
mod kernels;
mod libtest;
mod musl;
mod mutants;
mod oracle;
mod pictures;
mod repo;
mod requirements;
mod selftests;
mod test;
mod test_vm;
mod tools;
mod userlands;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Build, test, measure and package mremap-shim
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Run all tests: on this machine, then in every guest kernel
    Test(test::Options),
    /// Run the system tests in guest kernels
    TestVm(test_vm::Options),
    /// Compile the library for 64-bit Arm, without linking or running it
    CheckArm,
    /// Run the library in userlands of other Debian releases
    TestUserlands {
        /// Suites of tests/kernels.toml, or musl [default: all]
        name: Vec<String>,
    },
    /// Run one program in one guest kernel
    Vm(vm::Options),
    /// Run the kernel's own tests of mremap in guest kernels, plain and under the library
    Selftests(selftests::Options),
    /// List, fetch or pin the guest kernels
    Kernels(kernels::command::Options),
    /// Measure what calls, moves, traces and reports cost
    Bench(bench::Options),
    /// Show the library at work on unmodified programs
    Demo(demo::Options),
    /// Compare the library with the running kernel on random layouts and requests
    Oracle(oracle::Options),
    /// Run the fuzz targets
    Fuzz(fuzz::Options),
    /// Run every command that the documents show
    Docs,
    /// Draw the README's pictures
    Pictures(pictures::Options),
    /// Build the packages: tarball, .deb, .rpm, image, bill of materials, checksums
    Dist(dist::Options),
    /// Build, check and tag a release
    Release(dist::release::Options),
    /// Build for this machine and install below a prefix
    Install(dist::Prefix),
    /// Check the messages of the commits that a branch adds
    Commits(commits::Options),
    /// Run every check that a change must pass
    Ci(ci::Options),
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
        Command::TestUserlands { name } => userlands::run(&name),
        Command::Vm(options) => vm::run(&options),
        Command::Selftests(options) => selftests::run(&options),
        Command::Kernels(options) => kernels::command::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Oracle(options) => oracle::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Docs => documents::run(),
        Command::Pictures(options) => pictures::run(&options),
        Command::Dist(options) => dist::run(&options),
        Command::Release(options) => dist::release::run(&options),
        Command::Install(options) => dist::install(&options),
        Command::Commits(options) => commits::run(&options),
        Command::Ci(options) => ci::run(&options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_command_line_is_consistent() {
        Command::command().debug_assert();
    }
}
