//! Checks the crates to publish: cargo packs and builds them as it would publish them, and installs
//! the analyzer.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::repo;

/// The crates to publish. All others say `publish = false`.
const PUBLISHED: [&str; 5] =
    ["mremap-plan", "mremap-trace", "mremap-settings", "mremap-tracer", "mremap-analyzer"];

/// Runs the checks; nothing is uploaded. With `quick` the packed crates are not built, which takes
/// all dependencies once more.
pub fn check(quick: bool) -> Result<()> {
    // In a folder that is new: elsewhere cargo builds against a crate that was packed before, as
    // long as the version is the same.
    let target = tempfile::tempdir().context("no temporary directory")?;
    let mut publish = repo::cargo();
    publish.env("CARGO_TARGET_DIR", target.path()).args([
        "publish",
        "--dry-run",
        "--locked",
        "--allow-dirty",
    ]);
    publish.args(PUBLISHED.iter().flat_map(|name| ["--package", name]));
    if quick {
        publish.arg("--no-verify");
    }
    repo::run(&mut publish).context("the crates cannot be published")?;

    let root = tempfile::tempdir().context("no temporary directory")?;
    let mut install = repo::cargo();
    install.args(["install", "--debug", "--locked", "--path", "analyzer", "--root"]);
    repo::run(install.arg(root.path())).context("the analyzer cannot be installed")?;
    let analyzer = root.path().join("bin/mremap-analyzer");
    for (arguments, expected) in [
        (["completions", "bash"], " -o default mremap-analyzer"),
        (["man", "report"], ".TH mremap-analyzer-report 1"),
    ] {
        let text = repo::capture(Command::new(&analyzer).args(arguments))?;
        ensure!(text.contains(expected), "{arguments:?} of the installed analyzer: {text}");
    }
    println!("crates: packed{} and installed", if quick { "" } else { ", built" });
    Ok(())
}
