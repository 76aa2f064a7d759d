//! `cargo xtask demo`: runs an example on an old kernel without the library and with it, then the
//! example and an installed program on this kernel, and shows the report, a picture and the page.

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use mremap_tests::artifacts::Artifacts;

use crate::guest::{self, CommandOutcome, Guest};
use crate::requirements::{self, Level};
use crate::{kernels, repo};

/// The example that runs on the old kernel, and is drawn.
const EXAMPLE: &str = "neighbour_under_gap";
/// Resizes a mapping, which Python does by mremap.
const PYTHON: &str =
    "import mmap; m = mmap.mmap(-1, 4096); [m.resize(4096 << n) for n in range(12)]";

/// How to run the demo.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Series of the old kernel.
    #[arg(long, default_value = "6.1")]
    vm: String,
    #[command(flatten)]
    requirements: requirements::Options,
}

/// Runs the demo.
pub fn run(options: &Options) -> Result<ExitCode> {
    requirements::ensure(Level::Demo, options.requirements)?;
    let artifacts =
        repo::step("building the library and the analyzer", Artifacts::prepare_for_demo)?;
    match guest::missing() {
        None => print!("\n{}", on_old_kernel(&artifacts, &options.vm)?),
        Some(missing) => println!("\nskipped: an old kernel: {missing}"),
    }
    let traces = artifacts.root.with_file_name("demo-traces");
    let _ = fs::remove_dir_all(&traces);
    on_this_kernel(&artifacts, &traces)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the example on an old kernel, without the library and with it. Returns what a terminal
/// would show.
pub fn on_old_kernel(artifacts: &Artifacts, series: &str) -> Result<String> {
    let example = format!("/artifacts/examples/{EXAMPLE}");
    let mut guest = Guest::default();
    guest.add(artifacts.example(EXAMPLE), &example).add(artifacts.shim(), "/libmremap_shim.so");
    guest.command([example.as_str()]);
    guest.command_with([example.as_str()], &[("LD_PRELOAD", "/libmremap_shim.so")]);
    let boot = || guest::run(&kernels::get_one(series)?, &guest);
    let outcomes = repo::step(&format!("booting Linux {series} in QEMU"), boot)?;
    let titles = [EXAMPLE.to_owned(), format!("LD_PRELOAD=libmremap_shim.so {EXAMPLE}")];
    let session = |(title, outcome): (&String, CommandOutcome)| {
        let (output, status) = (outcome.output.trim_end(), outcome.status);
        format!("Linux {series}$ {title}\n{output}\nexit status {status}\n")
    };
    Ok(titles.iter().zip(outcomes).map(session).collect::<Vec<_>>().join("\n"))
}

fn on_this_kernel(artifacts: &Artifacts, traces: &Path) -> Result<()> {
    let analyzer = artifacts.analyzer();
    let run = |program: &Path, arguments: &[&str]| -> Result<()> {
        let mut run = Command::new(&analyzer);
        run.args(["run", "--mode", "emulate", "--trace"]).arg(traces).arg("--").arg(program);
        let output = run.args(arguments).output().context("mremap-analyzer: cannot be run")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}\n{stderr}", program.display(), output.status);
        Ok(())
    };
    let show = |arguments: &[&str], trace: &Path| {
        println!("\n$ mremap-analyzer {} {}\n", arguments.join(" "), trace.display());
        repo::run(Command::new(&analyzer).args(arguments).arg(trace))
    };
    run(&artifacts.example(EXAMPLE), &[])?;
    // Without Python: a program that calls mremap and that Debian always has.
    match repo::which("/usr/bin/python3").or_else(|| repo::which("python3")) {
        Some(python) => run(&python, &["-S", "-c", PYTHON])?,
        None => run(Path::new("apt-cache"), &["stats"])?,
    }
    show(&["report"], traces)?;
    let is_of_example = |path: &PathBuf| path.to_string_lossy().contains(EXAMPLE);
    let example = repo::files_below(traces)?.into_iter().find(is_of_example);
    show(&["show", "--event", "1"], &example.context("the example left no trace")?)?;
    let page = artifacts.root.with_file_name("demo.html");
    repo::run(Command::new(&analyzer).arg("html").arg("-o").arg(&page).arg(traces))?;
    println!(
        "\nthe same as a page: {}\n\ntry next:\n  {analyzer} run -- PROGRAM\n  {analyzer} doctor PROGRAM\n  {analyzer} top",
        page.display(),
        analyzer = analyzer.display()
    );
    Ok(())
}
