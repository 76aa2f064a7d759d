//! `cargo xtask test`: runs all tests, on this machine and then in guests. The last line is the
//! sum.

use fs_err as fs;
use std::collections::BTreeSet;
#[cfg(test)]
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use mremap_tests::artifacts::Artifacts;

use crate::arch::Arch;
use crate::catalogue::Catalogue;
use crate::guest;
use crate::kernels;
use crate::libtest::{self, Counts};
use crate::repo;
use crate::requirements::{self, Level};
use crate::test_vm;
use crate::tools;
use crate::userlands;

/// The ignored tests, which `--programs` adds and CI runs: large programs and long tests.
const PROGRAMS: [&str; 6] = ["test", "-p", "mremap-tests", "--no-fail-fast", "--", "--ignored"];

/// Which tests to run.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Options {
    /// Treat skipped tests as failures: guests and programs that are not installed.
    #[arg(long)]
    pub require_all: bool,
    /// Also run the long tests, for some minutes: databases, servers, compilers, a browser.
    #[arg(long)]
    pub programs: bool,
    /// Run these, every test in every guest, and the library in other userlands.
    #[arg(long)]
    pub full: bool,
    /// Only run the random torture test, for this many seconds.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["require_all", "programs", "full"])]
    pub torture: Option<u64>,
    #[command(flatten)]
    pub requirements: requirements::Options,
}

/// Runs the tests.
pub fn run(options: Options) -> Result<ExitCode> {
    if let Some(seconds) = options.torture {
        return torture(seconds);
    }
    let runs_programs = options.programs || options.full;
    let needs_all = runs_programs || options.require_all;
    let (level, readers) =
        if needs_all { (Level::All, "all-readers") } else { (Level::Test, "readers") };
    requirements::ensure(level, options.requirements)?;
    let list = tempfile::NamedTempFile::new().context("no temporary file")?;
    let readers = if options.requirements.no_install {
        None
    } else {
        tools::get(readers).inspect_err(|error| eprintln!("{error:#}")).ok()
    };
    let artifacts = Artifacts::prepare()?;
    let run = |arguments: &[&str]| {
        on_this_machine(arguments, &artifacts, list.path(), readers.as_deref())
    };
    let mut sum = run(&["test", "--workspace", "--no-fail-fast"])?;
    if runs_programs {
        sum += run(&PROGRAMS)?;
    }
    let mut skipped = skipped_tests(list.path())?;
    let (in_guests, skipped_guests) = in_guests(options.full)?;
    sum += in_guests;
    skipped.extend(skipped_guests);
    if options.full {
        match userlands::missing() {
            Some(missing) => skipped.push(format!("the library in other userlands: {missing}")),
            None => sum += userlands::test_all(&[])?,
        }
    }
    for line in &skipped {
        println!("skipped: {line}");
    }
    sum += cost_of_skipping(&skipped, options.require_all);
    println!("{} passed, {} failed", sum.passed, sum.failed);
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the torture test alone.
fn torture(seconds: u64) -> Result<ExitCode> {
    let mut command = repo::cargo();
    command
        .args(["test", "-p", "mremap-tests", "--test", "torture", "--", "--nocapture"])
        .env("MREMAP_TORTURE_SECONDS", seconds.to_string());
    repo::run(&mut command).map(|()| ExitCode::SUCCESS)
}

/// Counts skipped tests as failures if all tests are required.
fn cost_of_skipping(skipped: &[String], all_is_required: bool) -> Counts {
    Counts { passed: 0, failed: if all_is_required { skipped.len() } else { 0 } }
}

/// The distinct lines of skipped tests: several tests may lack the same program.
fn skipped_tests(list: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(list)?;
    let lines: BTreeSet<&str> = text.lines().collect();
    Ok(lines.into_iter().map(str::to_owned).collect())
}

/// Runs `cargo test` and passes its output on. Skipped tests append their reasons to `skipped`.
/// `readers` are the Python modules that read exports. The artifacts are given, since each file of
/// tests would take five seconds to find that they are current.
fn on_this_machine(
    arguments: &[&str],
    artifacts: &Artifacts,
    skipped: &Path,
    readers: Option<&Path>,
) -> Result<Counts> {
    let mut command = repo::cargo();
    command.args(arguments).stdout(Stdio::piped());
    command.env("MREMAP_SKIPPED", skipped).env("MREMAP_ARTIFACTS", &artifacts.root);
    if let Some(readers) = readers {
        command.env("PYTHON", readers.join("python3"));
    }
    let mut child = command.spawn().context("cargo test: cannot be run")?;
    let mut sum = Counts::default();
    for line in
        BufReader::new(child.stdout.take().context("cargo test has no stdout")?).split(b'\n')
    {
        let line = line.context("cargo test: unreadable output")?;
        // A failing test may print any bytes.
        let line = String::from_utf8_lossy(&line);
        if let Some(counts) = libtest::summary(&line) {
            sum += counts;
        }
        println!("{line}");
    }
    if !child.wait().context("cargo test: cannot be waited for")?.success() {
        // A test that does not build, or dies, prints no counts.
        sum.failed = sum.failed.max(1);
    }
    Ok(sum)
}

/// Runs the system tests in every available guest, some of them, unless `all` is set, in the first
/// and the last one only; returns a line for each guest that is not there.
fn in_guests(all: bool) -> Result<(Counts, Vec<String>)> {
    let catalogue = Catalogue::read()?;
    if let Some(missing) = guest::missing() {
        return Ok((Counts::default(), vec![all_guests_skipped(&missing)]));
    }
    let (mut kernels, mut skipped) = (Vec::new(), Vec::new());
    let entries = catalogue.of(Arch::Amd64);
    for (entry, kernel) in entries.iter().zip(kernels::get_each(&entries)) {
        match kernel {
            Ok(kernel) => kernels.push(kernel),
            Err(error) => {
                skipped.push(format!("the system tests on kernel {}: {error:#}", entry.series));
            }
        }
    }
    let run = if all { test_vm::all } else { test_vm::sample };
    Ok((run(&kernels, &catalogue.guest)?, skipped))
}

fn all_guests_skipped(missing: &str) -> String {
    format!("the system tests in all guest kernels: {missing}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_missing_package_without_qemu() {
        let missing =
            guest::missing_in(OsStr::new("/nowhere"), Arch::Amd64).expect("QEMU is missing");
        assert_eq!(
            all_guests_skipped(&missing),
            "the system tests in all guest kernels: qemu-system-x86_64 is not installed \
             (apt-get install qemu-system-x86)"
        );
    }

    #[test]
    fn counts_skipped_tests_as_failures_if_all_are_required() {
        let skipped = ["one".to_owned(), "two".to_owned()];
        assert_eq!(cost_of_skipping(&skipped, false), Counts::default());
        assert_eq!(cost_of_skipping(&skipped, true), Counts { passed: 0, failed: 2 });
    }

    #[test]
    fn lists_a_missing_program_once() {
        let list = tempfile::NamedTempFile::new().unwrap();
        fs::write(list.path(), "what needs b\nwhat needs a\nwhat needs b\n").unwrap();
        assert_eq!(skipped_tests(list.path()).unwrap(), ["what needs a", "what needs b"]);
    }
}
