//! `cargo xtask selftests`: the kernel's own tests of `mremap`, plain and under the library, in
//! every guest.
//!
//! Nothing of the tests is in this repository: they are built from Debian's source package, which
//! `tests/kernels.toml` pins. [`results`] parses their output and compares it with
//! `tests/selftests.txt`.

mod build;
mod results;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use mremap_tests::artifacts::Artifacts;

use self::results::{Recorded, parse};
use crate::arch::Arch;
use crate::catalogue::Catalogue;
use crate::guest::{self, CommandOutcome, Guest};
use crate::kernels;

/// Time limit of a guest.
const TIMEOUT: Duration = Duration::from_mins(10);

/// The library's path in a guest.
const LIBRARY: &str = "/libmremap_shim.so";

/// The series that CI runs, unless it runs all.
const OF_CI: &str = "6.1";

/// Which kernels.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Series in tests/kernels.toml, for example 6.1 [default: all for x86-64]
    kernel: Vec<String>,
    /// Write the results to tests/selftests.txt instead of comparing them.
    #[arg(long)]
    record: bool,
}

impl Options {
    /// The options of CI.
    pub fn for_ci(full: bool) -> Self {
        Self { kernel: if full { Vec::new() } else { vec![OF_CI.to_owned()] }, record: false }
    }
}

/// Runs the tests on the chosen kernels, prints the table and compares it with the recorded one.
pub fn run(options: &Options) -> Result<ExitCode> {
    let catalogue = Catalogue::read()?;
    let entries = catalogue.select_of(Arch::Amd64, &options.kernel)?;
    if let Some(foreign) = entries.iter().find(|entry| entry.arch != Arch::Amd64) {
        bail!("kernel {}: the selftests are built for x86-64 only", foreign.series);
    }
    if let Some(missing) = guest::missing() {
        bail!("no guests here: {missing}");
    }
    let tests = build::build(&catalogue.selftests)?;
    let kernels = kernels::get(&entries)?;
    println!("the tests of {}\n{}", tests.version, results::heading());
    let runs = guest::run_each(&kernels, &guest(&tests)?, |_, _| ())?;
    let mut recorded = Recorded::read()?;
    let mut is_as_recorded = true;
    for (kernel, run) in kernels.iter().zip(runs) {
        let outcomes = run.result?;
        if let Some(log) = outcomes.iter().find_map(|outcome| outcome.kernel_log.as_ref()) {
            bail!("kernel {}: issued a warning:\n{log}", kernel.series);
        }
        let found = show(&kernel.series, &outcomes);
        print!("{found}");
        if options.record {
            recorded.set(&kernel.series, found);
        } else if recorded.of(&kernel.series) != found {
            is_as_recorded = false;
            eprintln!(
                "kernel {}: differs from tests/selftests.txt, which has\n{}",
                kernel.series,
                recorded.of(&kernel.series)
            );
        }
    }
    if options.record {
        recorded.write()?;
    }
    Ok(if is_as_recorded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A guest that runs each test alone, then with the library.
fn guest(tests: &build::Tests) -> Result<Guest> {
    let mut guest = Guest { timeout: TIMEOUT, ..Guest::default() };
    guest.add(Artifacts::prepare_for_guests(&[])?.shim(), LIBRARY);
    // Some cases map twice the guest's memory, and touch little of it.
    guest.command(["sh", "-c", "echo 1 > /proc/sys/vm/overcommit_memory"]);
    for name in build::TESTS {
        let path = format!("/selftests/{name}");
        guest.add(tests.folder.path().join(name), &path);
        guest.command([path.as_str()]);
        guest.command_with([path.as_str()], &[("LD_PRELOAD", LIBRARY)]);
    }
    Ok(guest)
}

/// The results of one kernel as text.
fn show(kernel: &str, outcomes: &[CommandOutcome]) -> String {
    let tests = build::TESTS.iter().zip(outcomes[1..].chunks(2));
    tests
        .map(|(test, pair)| {
            results::show(kernel, test, &parse(&pair[0].output), &parse(&pair[1].output))
        })
        .collect()
}
