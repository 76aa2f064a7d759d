//! `cargo xtask oracle`: the shim against the kernel that runs here, case by case; `--mutants` breaks the shim on
//! purpose and sees whether that is noticed.

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::Result;
use mremap_tests::artifacts::Artifacts;

use crate::{mutants, repo};

/// What every way of finding VMAs gets of the cases.
const SOURCES: [&str; 4] = ["auto", "query", "maps", "bisect"];

/// What every way may lack.
const SANDBOXES: [&str; 4] = ["none", "no-proc", "no-descriptors", "seccomp"];

/// From so many cases on the counts of the rules are shown.
const EVERY_RULE: u64 = 40_000;

/// How many huge pages the layouts of two pairs of runners need.
const HUGE_PAGES: u32 = 64;

/// What to compare.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How many random cases; from 40,000 on every rule must have been met a hundred times.
    #[arg(long, default_value_t = 20_000)]
    pub cases: u64,
    /// Names the cases: the same seed and number are the same case.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the shim finds VMAs: auto, query, maps, bisect, or all of them in turn.
    #[arg(long, default_value = "auto")]
    pub source: String,
    /// What the processes lack: none, no-proc, no-descriptors, seccomp, or all of them in turn.
    #[arg(long, default_value = "none")]
    pub sandbox: String,
    /// Pairs of processes at once; each pair keeps two processors busy.
    #[arg(long, default_value_t = 1)]
    pub jobs: usize,
    /// Breaks the shim on purpose, in several ways; each must be noticed within a minute.
    #[arg(long)]
    pub mutants: bool,
}

impl Options {
    /// What every change must pass: enough cases for every rule to count, then the same cases, fewer of them, by
    /// every way of finding VMAs and with everything missing that may be.
    pub fn for_ci() -> [Self; 3] {
        let options = |cases, source: &str, sandbox: &str| Self {
            cases,
            seed: 1,
            source: source.to_owned(),
            sandbox: sandbox.to_owned(),
            jobs: 1,
            mutants: false,
        };
        [
            // The rarest rule comes up four times in a thousand cases.
            options(40_000, "auto", "none"),
            options(1500, "all", "none"),
            options(1500, "auto", "all"),
        ]
    }
}

/// Compares, or tests that comparing works.
pub fn run(options: &Options) -> Result<ExitCode> {
    let _huge_pages = HugePages::reserve();
    if options.mutants {
        return mutants::run(options.seed);
    }
    let artifacts = Artifacts::prepare()?;
    let mut failed = false;
    for source in each(&options.source, &SOURCES) {
        for sandbox in each(&options.sandbox, &SANDBOXES) {
            let mut command = Command::new(artifacts.oracle());
            command.arg("compare").arg("--shim").arg(artifacts.shim());
            command.arg("--named").arg(repo::root().join("oracle/named"));
            command.args(["--source", source, "--sandbox", sandbox]);
            command.args(["--cases", &options.cases.to_string()]);
            command.args(["--seed", &options.seed.to_string()]);
            command.args(["--jobs", &options.jobs.to_string()]);
            if options.cases >= EVERY_RULE {
                command.arg("--rules");
            }
            failed |= repo::run(&mut command).is_err();
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The one that is named, or all.
fn each<'a>(name: &'a str, all: &'a [&'a str]) -> Vec<&'a str> {
    if name == "all" { all.to_vec() } else { vec![name] }
}

/// Huge pages reserved for as long as this lives, where there were none and root may have some: without them no
/// layout has any.
struct HugePages;

impl HugePages {
    const FILE: &str = "/proc/sys/vm/nr_hugepages";

    fn reserve() -> Option<Self> {
        let has_none = fs::read_to_string(Self::FILE).is_ok_and(|text| text.trim() == "0");
        (has_none && fs::write(Self::FILE, HUGE_PAGES.to_string()).is_ok()).then_some(Self)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = fs::write(Self::FILE, "0");
    }
}
