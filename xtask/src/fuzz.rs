//! `cargo xtask fuzz`: builds the fuzz targets with coverage by the stable compiler, and runs them.
//!
//! `cargo fuzz` adds the address sanitizer, which needs a nightly compiler. The code fuzzed here
//! has no `unsafe`.

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::repo;

/// A target, its corpus, and the length limit of its inputs.
struct Target {
    name: &'static str,
    corpus: &'static str,
    longest: u32,
}

/// A header and six chunks; longer traces reach no further code.
const TRACE: u32 = 40 << 10;

const TARGETS: [Target; 5] = [
    Target::new("load", "trace", TRACE),
    Target::new("decode", "trace", TRACE),
    Target::new("maps_line", "maps_line", 4096),
    Target::new("procmap_reply", "procmap_reply", 4096),
    Target::new("walk", "walk", 4096),
];

/// Which targets to run, and how long.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Targets to run [default: all]
    targets: Vec<String>,
    /// Run each target for this many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

impl Options {
    /// Builds each target, and runs its corpus and a few mutations of it.
    pub fn for_ci() -> Self {
        Self { targets: Vec::new(), seconds: 2 }
    }
}

/// Builds and runs the targets. Inputs found are kept in `target/fuzz/corpus` for the next run.
pub fn run(options: &Options) -> Result<ExitCode> {
    for name in &options.targets {
        if TARGETS.iter().all(|target| target.name != name) {
            let names = TARGETS.map(|target| target.name);
            bail!("{name}: no such target; the targets are {}", names.join(", "));
        }
    }
    repo::run(&mut build()).context("libFuzzer's runtime needs a C++ compiler")?;
    let is_wanted = |target: &&Target| {
        options.targets.is_empty() || options.targets.iter().any(|name| name == target.name)
    };
    for target in TARGETS.iter().filter(is_wanted) {
        println!("{}: {}", target.name, target.run(options.seconds)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn build() -> Command {
    let mut command = repo::cargo();
    command
        .args(["build", "--quiet", "--package", "mremap-fuzz", "--features", "libfuzzer", "--bins"])
        .env("RUSTC_WORKSPACE_WRAPPER", repo::root().join("fuzz/instrument"));
    command
}

fn directory() -> PathBuf {
    repo::root().join("target/fuzz")
}

fn make(directory: &Path) -> Result<()> {
    Ok(fs::create_dir_all(directory)?)
}

impl Target {
    const fn new(name: &'static str, corpus: &'static str, longest: u32) -> Self {
        Self { name, corpus, longest }
    }

    /// Runs the target and returns libFuzzer's last status line. A finding is an error with its
    /// output.
    fn run(&self, seconds: u32) -> Result<String> {
        let mut command = self.command(seconds)?;
        let output = command.output().with_context(|| format!("{}: cannot be run", self.name))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{}: {}\n{stderr}", self.name, output.status);
        }
        let last = stderr.lines().rfind(|line| line.contains("DONE"));
        Ok(last.unwrap_or("no input was run").trim().to_owned())
    }

    fn command(&self, seconds: u32) -> Result<Command> {
        let found = directory().join("corpus").join(self.name);
        let artifacts = directory().join("artifacts").join(self.name);
        make(&found)?;
        make(&artifacts)?;
        let mut command = Command::new(repo::root().join("target/debug").join(self.name));
        command
            .arg(found)
            .arg(repo::root().join("fuzz/corpus").join(self.corpus))
            .arg(format!("-max_len={}", self.longest))
            .arg(format!("-max_total_time={seconds}"))
            .arg("-timeout=10")
            .arg(format!("-artifact_prefix={}/", artifacts.display()));
        Ok(command)
    }
}
