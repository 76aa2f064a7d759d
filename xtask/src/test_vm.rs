//! `cargo xtask test-vm`: runs the system tests' executables in guests and prints a table of the
//! results.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use mremap_tests::artifacts::{Artifacts, cargo_messages};
use serde_json::Value;

use crate::arch::Arch;
use crate::catalogue::{Catalogue, GuestExtras};
use crate::cross::Cross;
use crate::guest::{self, Guest, GuestRun};
use crate::kernels::{self, Kernel};
use crate::libtest::{self, Counts};
use crate::repo;

/// Time limit of a guest.
const GUEST_TIMEOUT: Duration = Duration::from_mins(10);
/// Time limit of a guest with another processor, whose emulation is slower.
const FOREIGN_GUEST_TIMEOUT: Duration = Duration::from_mins(20);

/// The directory of the tested programs in a guest.
const ARTIFACTS: &str = "/artifacts";

/// Tests of the analyzer, which is not built for other processors.
const OF_THE_ANALYZER: [&str; 1] = ["doctor_command"];

/// Which kernels and tests to run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Series in tests/kernels.toml, for example 6.1 [default: all]
    version: Vec<String>,
    /// Processor of the guests if no series is named; for arm64 everything is cross-built first.
    #[arg(long, value_enum, default_value_t)]
    arch: Arch,
    /// Only run tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Kill a guest after this many seconds [default: 600, for arm64 1200]
    #[arg(long)]
    timeout: Option<u64>,
}

/// Runs the tests on the chosen kernels.
pub fn run(options: &Options) -> Result<ExitCode> {
    let catalogue = Catalogue::read()?;
    let kernels = kernels::get(&catalogue.select_of(options.arch, &options.version)?)?;
    if let Some(missing) = guest::missing() {
        bail!("no guests here: {missing}");
    }
    let arch = kernels.first().map_or(options.arch, |kernel| kernel.arch);
    if kernels.iter().any(|kernel| kernel.arch != arch) {
        bail!("the series have different processors; name those of one processor");
    }
    let (cross, limit) = match arch {
        Arch::Amd64 => (None, GUEST_TIMEOUT),
        Arch::Arm64 => (Some(Cross::get()?), FOREIGN_GUEST_TIMEOUT),
    };
    let timeout = options.timeout.map_or(limit, Duration::from_secs);
    let counts = matrix(
        &kernels,
        &executables(cross.as_ref(), &catalogue.guest)?,
        cross.as_ref(),
        &catalogue.guest,
        options.filter.as_deref(),
        timeout,
    )?;
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs all system tests under every kernel; prints failures and the table, returns the sum.
pub fn all(kernels: &[Kernel], extras: &GuestExtras) -> Result<Counts> {
    matrix(kernels, &executables(None, extras)?, None, extras, None, GUEST_TIMEOUT)
}

/// Runs the system tests under every kernel, those that `extras` calls sampled under the first and
/// the last one only; prints failures and tables, returns the sum.
pub fn sample(kernels: &[Kernel], extras: &GuestExtras) -> Result<Counts> {
    let is_sampled = |executable: &PathBuf| extras.sampled.contains(&name(executable));
    let (sampled, others): (Vec<_>, Vec<_>) =
        executables(None, extras)?.into_iter().partition(is_sampled);
    let ends: Vec<Kernel> = match kernels {
        [first, .., last] => vec![first.clone(), last.clone()],
        few => few.to_vec(),
    };
    let mut sum = matrix(kernels, &others, None, extras, None, GUEST_TIMEOUT)?;
    sum += matrix(&ends, &sampled, None, extras, None, GUEST_TIMEOUT)?;
    Ok(sum)
}

/// Runs these tests under every kernel; prints failures and the table, returns the sum.
fn matrix(
    kernels: &[Kernel],
    executables: &[PathBuf],
    cross: Option<&Cross>,
    extras: &GuestExtras,
    filter: Option<&str>,
    timeout: Duration,
) -> Result<Counts> {
    if executables.is_empty() {
        return Ok(Counts::default());
    }
    let guest = test_guest(executables, cross, extras, filter, timeout)?;
    let runs = guest::run_each(kernels, &guest, |kernel, run| {
        show_failures(kernel, run, executables);
    })?;
    println!("\n{:<8} {:>7} {:>7} {:>8}   longest", "kernel", "passed", "failed", "seconds");
    let mut sum = Counts::default();
    for (kernel, run) in kernels.iter().zip(&runs) {
        let counts = counts(run);
        println!(
            "{:<8} {:>7} {:>7} {:>8.1}   {}",
            kernel.series,
            counts.passed,
            counts.failed,
            run.seconds,
            longest(run, executables)
        );
        sum += counts;
    }
    Ok(sum)
}

/// The tests that took longest, with their seconds.
fn longest(run: &GuestRun, executables: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    let Ok(outcomes) = &run.result else { return String::new() };
    let mut times: Vec<(f64, String)> = executables
        .iter()
        .zip(outcomes)
        .map(|(executable, outcome)| (libtest::seconds(&outcome.output), name(executable)))
        .collect();
    times.sort_by(|one, other| other.0.total_cmp(&one.0));
    let shown = times.iter().take(SHOWN).map(|(seconds, name)| format!("{name} {seconds:.0}"));
    shown.collect::<Vec<_>>().join(", ")
}

fn test_guest(
    executables: &[PathBuf],
    cross: Option<&Cross>,
    extras: &GuestExtras,
    filter: Option<&str>,
    time: Duration,
) -> Result<Guest> {
    let mut guest = Guest { timeout: time, ..Guest::default() };
    let artifacts = match cross {
        None => Artifacts::prepare()?,
        Some(cross) => Artifacts::prepare_for_guests(&cross.environment)?,
    };
    guest.add(&artifacts.root, ARTIFACTS);
    if let Some(Cross { sysroot, .. }) = cross {
        guest.arch = Arch::Arm64;
        guest.add(sysroot.join("lib"), "/lib").add(sysroot.join("bin"), "/bin");
        guest.busybox = Some(sysroot.join("bin/busybox"));
    } else {
        for program in &extras.programs {
            guest.add_program(program)?;
        }
    }
    for directory in &extras.directories {
        guest.add(directory, directory);
    }
    for executable in executables {
        let place = format!("/tests/{}", name(executable));
        guest.add(executable, &place);
        let argv =
            [place.as_str(), "--color", "never", "--test-threads", "2"].into_iter().chain(filter);
        guest.command_with(argv, &[("MREMAP_ARTIFACTS", ARTIFACTS), ("RUST_BACKTRACE", "1")]);
    }
    Ok(guest)
}

/// Builds the system tests and returns the executables of those that run in guests.
fn executables(cross: Option<&Cross>, extras: &GuestExtras) -> Result<Vec<PathBuf>> {
    let mut command = repo::cargo();
    command.args(["test", "--quiet", "-p", "mremap-tests", "--no-run"]);
    // What is built for development is three times as slow on an emulated processor.
    if cross.is_none() {
        command.arg("--profile=quick");
    }
    command.envs(cross.into_iter().flat_map(|it| it.environment.iter().cloned()));
    let messages = cargo_messages(&mut command)?;
    let is_test = |message: &Value| message["target"]["kind"] == serde_json::json!(["test"]);
    let executable = |message: Value| message["executable"].as_str().map(PathBuf::from);
    let mut executables: Vec<PathBuf> =
        messages.into_iter().filter(is_test).filter_map(executable).collect();
    executables.retain(|executable| {
        let name = name(executable);
        let is_foreign = cross.is_some() && OF_THE_ANALYZER.contains(&name.as_str());
        !is_foreign && !extras.host_only.contains(&name)
    });
    executables.sort();
    Ok(executables)
}

fn counts(run: &GuestRun) -> Counts {
    let Ok(outcomes) = &run.result else {
        return Counts { passed: 0, failed: 1 };
    };
    let mut sum = Counts::default();
    for outcome in outcomes {
        sum += libtest::counts(&outcome.output, outcome.is_success());
    }
    sum
}

fn show_failures(kernel: &Kernel, run: &GuestRun, executables: &[PathBuf]) {
    let outcomes = match &run.result {
        Ok(outcomes) => outcomes,
        Err(error) => return println!("\n{error:#}"),
    };
    for (executable, outcome) in
        executables.iter().zip(outcomes).filter(|(_, outcome)| !outcome.is_success())
    {
        let (name, status) = (name(executable), outcome.status);
        println!(
            "\nkernel {}: {name} failed (status {status})\n{}",
            kernel.series,
            outcome.output.trim_end()
        );
        if let Some(log) = &outcome.kernel_log {
            println!("--- the kernel's log:\n{}", log.trim_end());
        }
    }
}

/// The test's name, without cargo's hash.
fn name(executable: &Path) -> String {
    let name = executable.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.rsplit_once('-').map_or(name.clone(), |(stem, _)| stem.to_owned())
}
