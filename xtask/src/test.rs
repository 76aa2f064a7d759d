//! `cargo xtask test`: every test there is, on this machine and then in the guests. The last line is the sum.

use std::collections::BTreeSet;
#[cfg(test)]
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::catalogue::Catalogue;
use crate::guest;
use crate::kernels;
use crate::libtest::{self, Counts};
use crate::repo;
use crate::test_vm;
use crate::userlands;

/// The system tests of large programs, which `--programs` adds. They are ignored else, like the long ones of the rest.
const PROGRAMS: [&str; 6] = ["test", "-p", "mremap-tests", "--no-fail-fast", "--", "--ignored"];

/// How much is asked for.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Options {
    /// What cannot be run here (guests, tests of programs that are not installed) is a failure.
    #[arg(long)]
    pub require_all: bool,
    /// The large programs and the long tests too, some minutes more: databases, servers, compilers, a browser.
    #[arg(long)]
    pub programs: bool,
    /// Nothing but random torture on this machine, for so many seconds.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["require_all", "programs"])]
    pub torture: Option<u64>,
}

/// Runs the tests.
pub fn run(options: Options) -> Result<ExitCode> {
    if let Some(seconds) = options.torture {
        return torture(seconds);
    }
    let list = tempfile::NamedTempFile::new().context("no temporary file")?;
    let mut sum = on_this_machine(&["test", "--workspace", "--no-fail-fast"], list.path())?;
    if options.programs {
        sum += on_this_machine(&PROGRAMS, list.path())?;
    }
    let mut skipped = skipped_tests(list.path())?;
    let (in_guests, skipped_guests) = in_guests()?;
    sum += in_guests;
    skipped.extend(skipped_guests);
    if options.programs {
        match userlands::missing() {
            Some(missing) => skipped.push(format!("the library in other userlands: {missing}")),
            None => sum += userlands::test_all()?,
        }
    }
    for line in &skipped {
        println!("skipped: {line}");
    }
    sum += cost_of_skipping(&skipped, options.require_all);
    println!("{} passed, {} failed", sum.passed, sum.failed);
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One system test alone, and as long as is asked for.
fn torture(seconds: u64) -> Result<ExitCode> {
    let mut command = repo::cargo();
    command
        .args(["test", "-p", "mremap-tests", "--test", "torture", "--", "--nocapture"])
        .env("MREMAP_TORTURE_SECONDS", seconds.to_string());
    repo::run(&mut command).map(|()| ExitCode::SUCCESS)
}

/// What was skipped, as counts: nothing, or a failure each.
fn cost_of_skipping(skipped: &[String], all_is_required: bool) -> Counts {
    Counts { passed: 0, failed: if all_is_required { skipped.len() } else { 0 } }
}

/// The lines that skipped tests have left, each once: several tests may lack the same program.
fn skipped_tests(list: &Path) -> Result<Vec<String>> {
    let text =
        fs::read_to_string(list).with_context(|| format!("{}: cannot be read", list.display()))?;
    let lines: BTreeSet<&str> = text.lines().collect();
    Ok(lines.into_iter().map(str::to_owned).collect())
}

/// `cargo test`, whose output the user sees as it comes; `skipped` takes the lines of tests that lack something.
fn on_this_machine(arguments: &[&str], skipped: &Path) -> Result<Counts> {
    let mut command = repo::cargo();
    command.args(arguments).env("MREMAP_SKIPPED", skipped).stdout(Stdio::piped());
    let mut child = command.spawn().context("cargo test: cannot be run")?;
    let mut sum = Counts::default();
    for line in
        BufReader::new(child.stdout.take().context("cargo test has no stdout")?).split(b'\n')
    {
        let line = line.context("cargo test: unreadable output")?;
        // A failing test may print anything.
        let line = String::from_utf8_lossy(&line);
        if let Some(counts) = libtest::summary(&line) {
            sum += counts;
        }
        println!("{line}");
    }
    if !child.wait().context("cargo test: cannot be waited for")?.success() {
        // What does not build, or dies, has no line of counts.
        sum.failed = sum.failed.max(1);
    }
    Ok(sum)
}

/// The system tests in every guest that can be had; a line for each that cannot.
fn in_guests() -> Result<(Counts, Vec<String>)> {
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
                skipped.push(format!("the system tests on kernel {}: {error:#}", entry.series))
            }
        }
    }
    Ok((test_vm::matrix(&kernels, None, &catalogue.guest, None, test_vm::GUEST_TIMEOUT)?, skipped))
}

fn all_guests_skipped(missing: &str) -> String {
    format!("the system tests in all guest kernels: {missing}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_qemu_the_line_says_what_is_skipped_and_how_to_get_it() {
        let missing =
            guest::missing_in(OsStr::new("/nowhere"), Arch::Amd64).expect("nothing is there");
        assert_eq!(
            all_guests_skipped(&missing),
            "the system tests in all guest kernels: qemu-system-x86_64 is not installed \
             (apt-get install qemu-system-x86)"
        );
    }

    #[test]
    fn what_is_skipped_is_a_failure_where_all_is_required() {
        let skipped = ["one".to_owned(), "two".to_owned()];
        assert_eq!(cost_of_skipping(&skipped, false), Counts::default());
        assert_eq!(cost_of_skipping(&skipped, true), Counts { passed: 0, failed: 2 });
    }

    #[test]
    fn a_program_that_several_tests_lack_is_named_once() {
        let list = tempfile::NamedTempFile::new().unwrap();
        fs::write(list.path(), "what needs b\nwhat needs a\nwhat needs b\n").unwrap();
        assert_eq!(skipped_tests(list.path()).unwrap(), ["what needs a", "what needs b"]);
    }
}
