//! `cargo xtask oracle`: compares the library, or the tracer, with the running kernel, case by
//! case. `--mutants` tests that the comparison notices a broken library.

use fs_err as fs;
use std::process::{Command, ExitCode};

use anyhow::Result;
use mremap_tests::artifacts::Artifacts;

use crate::{mutants, repo};

/// The methods to find VMAs.
const SOURCES: [&str; 4] = ["auto", "query", "maps", "bisect"];

/// The restrictions of the compared processes.
const SANDBOXES: [&str; 4] = ["none", "no-proc", "no-descriptors", "seccomp"];

/// From this number of cases on, the counts of the rules are printed.
const EVERY_RULE: u64 = 40_000;

/// Huge pages that the layouts of two pairs of runners need.
const HUGE_PAGES: u32 = 64;

/// Which cases to compare, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Number of random cases; from 40,000 on every rule must be met a hundred times.
    #[arg(long, default_value_t = 20_000)]
    pub cases: u64,
    /// Seed of the cases: the same seed and number give the same case.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Method to find VMAs: auto, query, maps, bisect, or all of them in turn.
    #[arg(long, default_value = "auto")]
    pub source: String,
    /// Restriction of the processes: none, no-proc, no-descriptors, seccomp, or all of them in
    /// turn.
    #[arg(long, default_value = "none")]
    pub sandbox: String,
    /// Emulate by the tracer of `run --reach all` instead of the library.
    #[arg(long)]
    pub tracer: bool,
    /// Pairs of processes at the same time; each pair keeps two CPUs busy.
    #[arg(long, default_value_t = 1)]
    pub jobs: usize,
    /// Break the library by each patch of oracle/mutants; each must be noticed within a minute.
    #[arg(long)]
    pub mutants: bool,
}

impl Options {
    /// The comparisons of CI: enough cases to meet every rule, then fewer cases by every method and
    /// under every restriction, and by the tracer.
    pub fn for_ci() -> [Self; 4] {
        let options = |cases, source: &str, sandbox: &str| Self {
            cases,
            seed: 1,
            source: source.to_owned(),
            sandbox: sandbox.to_owned(),
            tracer: false,
            jobs: 1,
            mutants: false,
        };
        [
            // The rarest rule is met by four cases in a thousand.
            options(40_000, "auto", "none"),
            options(1500, "all", "none"),
            options(1500, "auto", "all"),
            Self { tracer: true, ..options(1500, "auto", "all") },
        ]
    }
}

/// Compares, or tests the comparison.
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
            if options.tracer {
                command.arg("--tracer").arg(artifacts.analyzer());
            }
            if options.cases >= EVERY_RULE {
                command.arg("--rules");
            }
            failed |= repo::run(&mut command).is_err();
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The named value, or all of them.
fn each<'a>(name: &'a str, all: &'a [&'a str]) -> Vec<&'a str> {
    if name == "all" { all.to_vec() } else { vec![name] }
}

/// Reserves huge pages while it lives, if there are none and we are root. Without them no layout
/// has any.
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
