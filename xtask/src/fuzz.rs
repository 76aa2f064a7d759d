//! `cargo xtask fuzz`: the fuzz targets of `fuzz/` and `plan/fuzz/`, instrumented by the stable compiler.
//!
//! `cargo fuzz` looks for errors of memory besides, which takes a nightly compiler: here there is no `unsafe` code in which
//! there could be any.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::repo;

/// libFuzzer's coverage: counters of edges, and what is compared with what.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg=fuzzing";

/// A target: where its kept inputs are, and how long an input may be.
struct Target {
    name: &'static str,
    kept: &'static str,
    longest: u32,
}

/// Six chunks behind a header: nothing new happens beyond.
const TRACE: u32 = 40 << 10;

const TARGETS: [Target; 5] = [
    Target::new("load", "hostile/corpus", TRACE),
    Target::new("decode", "hostile/corpus", TRACE),
    Target::new("maps_line", "plan/fuzz/seeds/maps_line", 4096),
    Target::new("procmap_reply", "plan/fuzz/seeds/procmap_reply", 4096),
    Target::new("walk", "plan/fuzz/seeds/walk", 4096),
];

/// Which targets, for how long.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only these; all of them when none is named.
    targets: Vec<String>,
    /// Seconds for each.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

impl Options {
    /// Enough to see that each target builds, and holds on what is kept and near it.
    pub fn for_ci() -> Self {
        Self { targets: Vec::new(), seconds: 2 }
    }
}

/// Builds and runs the targets. New inputs stay in `target/fuzz/corpus`, and the next run begins with them.
pub fn run(options: &Options) -> Result<ExitCode> {
    for name in &options.targets {
        if TARGETS.iter().all(|target| target.name != name) {
            let names = TARGETS.map(|target| target.name);
            bail!("{name}: no such target; there are {}", names.join(", "));
        }
    }
    let host = host()?;
    for workspace in ["fuzz", "plan/fuzz"] {
        repo::run(&mut build(workspace, &host))
            .context("a C++ compiler builds libFuzzer's runtime")?;
    }
    let is_wanted = |target: &&Target| {
        options.targets.is_empty() || options.targets.iter().any(|name| name == target.name)
    };
    for target in TARGETS.iter().filter(is_wanted) {
        println!("{}: {}", target.name, target.run(&host, options.seconds)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn build(workspace: &str, host: &str) -> Command {
    let mut command = repo::cargo();
    // With a target of their own, build scripts and macros are not instrumented.
    command
        .args(["build", "--quiet", "--bins", "--target", host])
        .arg("--target-dir")
        .arg(directory())
        .current_dir(repo::root().join(workspace))
        .env("RUSTFLAGS", INSTRUMENTED);
    command
}

/// The compiler's own platform.
fn host() -> Result<String> {
    let version = repo::capture(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

fn directory() -> PathBuf {
    repo::root().join("target/fuzz")
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("{}: cannot be made", directory.display()))
}

impl Target {
    const fn new(name: &'static str, kept: &'static str, longest: u32) -> Self {
        Self { name, kept, longest }
    }

    /// Runs it; libFuzzer's last line of how far it came, or all that it said where it has found something.
    fn run(&self, host: &str, seconds: u32) -> Result<String> {
        let mut command = self.command(host, seconds)?;
        let output = command.output().with_context(|| format!("{}: cannot be run", self.name))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{}: {}\n{said}", self.name, output.status);
        }
        let last = said.lines().rfind(|line| line.contains("DONE"));
        Ok(last.unwrap_or("nothing was tried").trim().to_owned())
    }

    fn command(&self, host: &str, seconds: u32) -> Result<Command> {
        let found = directory().join("corpus").join(self.name);
        let broken = directory().join("artifacts").join(self.name);
        make(&found)?;
        make(&broken)?;
        let mut command = Command::new(directory().join(host).join("debug").join(self.name));
        command
            .arg(found)
            .arg(repo::root().join(self.kept))
            .arg(format!("-max_len={}", self.longest))
            .arg(format!("-max_total_time={seconds}"))
            .arg("-timeout=10")
            .arg(format!("-artifact_prefix={}/", broken.display()));
        Ok(command)
    }
}
