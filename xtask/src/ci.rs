//! `cargo xtask ci`: every check that a change must pass, the cheap ones first. A failure does not
//! stop it.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::bench;
use crate::dist;
use crate::documents;
use crate::fuzz;
use crate::oracle;
use crate::pictures;
use crate::repo;
use crate::test;
use crate::tools::DENY;

/// Runs the checks and the tests, and lists the failed ones at the end.
pub fn run() -> Result<ExitCode> {
    let mut failed = Vec::new();
    for (name, mut command) in checks() {
        println!("== {name}");
        if let Err(error) = repo::run(&mut command) {
            println!("{error:#}");
            failed.push(name);
        }
    }
    println!("== instructions");
    if let Err(error) = bench::check_instructions() {
        println!("{error:#}");
        failed.push("instructions");
    }
    println!("== tests");
    let tests = test::run(test::Options { require_all: true, programs: true, torture: None })?;
    println!("== oracle");
    for options in oracle::Options::for_ci() {
        if oracle::run(&options)? != ExitCode::SUCCESS {
            failed.push("oracle");
        }
    }
    for (name, run) in last_steps() {
        println!("== {name}");
        match run() {
            Ok(status) if status == ExitCode::SUCCESS => {}
            Ok(_) => failed.push(name),
            Err(error) => {
                println!("{error:#}");
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        return Ok(tests);
    }
    eprintln!("failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

type Step = fn() -> Result<ExitCode>;

fn last_steps() -> [(&'static str, Step); 5] {
    [
        ("fuzz targets", || fuzz::run(&fuzz::Options::for_ci())),
        ("dependencies", dependencies),
        ("documents", documents::run),
        ("pictures", || pictures::run(&pictures::Options::for_ci())),
        ("packages", || dist::run(&dist::Options::for_ci())),
    ]
}

/// Checks licences, sources and duplicates. The database of advisories is not reachable everywhere.
fn dependencies() -> Result<ExitCode> {
    let mut deny = repo::cargo();
    deny.env("PATH", DENY.path()?).args(["deny", "check", "licenses", "bans", "sources"]);
    repo::run(&mut deny).map(|()| ExitCode::SUCCESS)
}

fn checks() -> [(&'static str, Command); 3] {
    let cargo = |arguments: &[&str]| {
        let mut command = repo::cargo();
        command.args(arguments);
        command
    };
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-Dwarnings");
    [
        ("format", cargo(&["fmt", "--all", "--check"])),
        ("lints", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
        ("documentation", doc),
    ]
}
