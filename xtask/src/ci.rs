//! `cargo xtask ci`: every check that a change must pass, the cheap ones first. A failure does not
//! stop the others. With `--full`, what a release must pass, too.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::requirements::{self, Level};
use crate::{
    bench, commits, dist, documents, fuzz, oracle, pictures, repo, selftests, test, tools,
};

/// How to run the checks.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Also run what takes long and rarely fails, before a release: other userlands, every test in
    /// every guest, the kernel's selftests on all kernels, packages as they are released and their
    /// second build.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    requirements: requirements::Options,
}

const LINTS_OF_DEMO: [&str; 7] = [
    "clippy",
    "--package=mremap-analyzer",
    "--bins",
    "--no-default-features",
    "--",
    "-D",
    "warnings",
];

type Step<'a> = (&'a str, Box<dyn Fn() -> Result<ExitCode> + 'a>);

/// Runs all steps, and lists the failed ones at the end.
pub fn run(options: &Options) -> Result<ExitCode> {
    requirements::ensure(Level::All, options.requirements)?;
    let mut failed = Vec::new();
    for (name, step) in steps(options) {
        let status = repo::step(name, || match step() {
            Ok(status) => status == ExitCode::SUCCESS,
            Err(error) => {
                println!("{error:#}");
                false
            }
        });
        if !status {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn steps(options: &Options) -> Vec<Step<'_>> {
    let cargo = |arguments: &'static [&str]| {
        Box::new(move || finish(repo::cargo().args(arguments))) as Box<dyn Fn() -> _>
    };
    let full = options.full;
    let tests = test::Options {
        require_all: true,
        programs: true,
        full,
        torture: None,
        requirements: options.requirements,
    };
    let mut steps: Vec<Step<'_>> = vec![
        ("commits", Box::new(|| commits::run(&commits::Options::default()))),
        ("format", cargo(&["fmt", "--all", "--check"])),
        ("lints", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
        ("lints of the demo's analyzer", cargo(&LINTS_OF_DEMO)),
        ("documentation", Box::new(documentation)),
        ("instructions", Box::new(|| bench::check_instructions().map(|()| ExitCode::SUCCESS))),
        ("tests", Box::new(move || test::run(tests))),
    ];
    let selftests = move || selftests::run(&selftests::Options::for_ci(full));
    steps.push(("the kernel's selftests", Box::new(selftests)));
    for options in oracle::Options::for_ci() {
        steps.push(("oracle", Box::new(move || oracle::run(&options))));
    }
    steps.extend([
        ("fuzz targets", Box::new(|| fuzz::run(&fuzz::Options::for_ci())) as Box<dyn Fn() -> _>),
        ("dependencies", Box::new(dependencies)),
        ("documents", Box::new(documents::run)),
        ("pictures", Box::new(|| pictures::run(&pictures::Options::for_ci()))),
        ("release", Box::new(move || dist::release::run(&dist::release::Options::for_ci(full)))),
    ]);
    steps
}

fn finish(command: &mut Command) -> Result<ExitCode> {
    repo::run(command).map(|()| ExitCode::SUCCESS)
}

fn documentation() -> Result<ExitCode> {
    let mut doc = repo::cargo();
    finish(doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-Dwarnings"))
}

/// Checks licences, sources and duplicates. The database of advisories is not reachable everywhere.
fn dependencies() -> Result<ExitCode> {
    let mut deny = repo::cargo();
    deny.env("PATH", tools::path("deny")?);
    finish(deny.args(["deny", "check", "licenses", "bans", "sources"]))
}
