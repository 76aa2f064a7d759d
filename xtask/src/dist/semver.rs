//! Compares the crates that other programs use with the last release: a change that breaks those
//! programs needs a version that says so.

use std::process::Command;

use anyhow::{Context, Result};

use crate::repo;

/// The crates whose public items are an interface. The others are programs, or their parts.
const INTERFACES: [&str; 2] = ["mremap-plan", "mremap-trace"];

/// The program that compares, from crates.io: PyPI has none.
const CHECKER: &str = "cargo-semver-checks@0.51.0";

/// Runs the comparison with the release of the newest tag before this commit, if there is one.
pub fn check() -> Result<()> {
    let tags = ["tag", "--merged", "HEAD", "--list", "v*", "--sort", "-version:refname"];
    let tags = repo::capture(Command::new("git").args(tags).current_dir(repo::root()))?;
    let Some(last) = tags.lines().next() else {
        println!("interfaces: no version is released yet, so there is none to compare with");
        return Ok(());
    };
    let home = repo::root().join("target/tools/semver");
    let mut install = repo::cargo();
    install.args(["install", "--quiet", "--locked", CHECKER, "--root"]).arg(&home);
    repo::run(&mut install).with_context(|| format!("{CHECKER} cannot be installed"))?;
    let mut compare = Command::new(home.join("bin/cargo-semver-checks"));
    compare.current_dir(repo::root()).args(["semver-checks", "--baseline-rev", last]);
    compare.args(INTERFACES.iter().flat_map(|name| ["--package", name]));
    repo::run(&mut compare).with_context(|| {
        format!("an interface of {last} was broken: set a version in Cargo.toml that says so")
    })
}
