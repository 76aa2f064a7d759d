//! Tests the library with the loader and libc of other Debian releases, by `chroot` into userlands
//! that debootstrap unpacked. A userland with a kernel in the catalogue is tested in a guest, too.

use fs_err as fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use fs_err::os::unix::fs::symlink;
use mremap_tests::artifacts::Artifacts;
use mremap_tests::preload::traces_in;
use mremap_trace::Outcome;

use crate::catalogue::{Catalogue, Userland};
use crate::debian::{Debian, Stage};
use crate::guest::{self, Guest};
use crate::kernels;
use crate::libtest::Counts;
use crate::musl;
use crate::repo;

/// The directory of the tested files in a userland.
const HOME: &str = "/mremap";

/// The dynamic loader's path, which the ABI fixes.
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

/// A userland's libraries.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Packages that a program is compiled against.
const HEADERS: [&str; 2] = ["libc6-dev", "linux-libc-dev"];

/// The example that runs in a guest; it fails if the kernel lacks the multi-VMA move.
const EXAMPLE: &str = "neighbour_under_gap";

/// Runs `cargo xtask test-userlands`.
pub fn run(names: &[String]) -> Result<ExitCode> {
    if let Some(missing) = missing() {
        bail!("no userlands here: {missing}");
    }
    let counts = test_all(names)?;
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What this machine lacks to test userlands, or `None`.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("debootstrap and chroot need root".to_owned());
    }
    let needed = [("debootstrap", "debootstrap"), ("chroot", "coreutils"), ("cc", "gcc")];
    needed
        .iter()
        .find(|(program, _)| repo::which(program).is_none())
        .map(|(program, package)| format!("{program} is not installed (apt-get install {package})"))
}

/// Tests the userlands of the catalogue in parallel, then musl, and prints a line for each. Without
/// names all are tested.
pub fn test_all(names: &[String]) -> Result<Counts> {
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|it| it == name);
    let mut userlands = Catalogue::read()?.userlands;
    userlands.retain(|userland| is_wanted(&userland.suite));
    if userlands.is_empty() && !is_wanted("musl") {
        bail!("no such userland: {}; see tests/kernels.toml, or name musl", names.join(", "));
    }
    let artifacts = &Artifacts::prepare()?;
    let results: Vec<Result<String>> = thread::scope(|scope| {
        let test = |userland| scope.spawn(move || test(userland, artifacts));
        let workers: Vec<_> = userlands.iter().map(test).collect();
        workers.into_iter().map(|worker| worker.join().expect("the test does not panic")).collect()
    });
    let mut sum = Counts::default();
    for (Userland { suite, why, .. }, result) in userlands.iter().zip(results) {
        sum += count(suite, why, result);
    }
    if is_wanted("musl") {
        sum += count("musl", "what Alpine has", musl::test(artifacts));
    }
    Ok(sum)
}

/// Prints the line of a userland.
fn count(name: &str, why: &str, result: Result<String>) -> Counts {
    match result {
        Ok(summary) => {
            println!("userland {name} ({why}): {summary}");
            Counts { passed: 1, failed: 0 }
        }
        Err(error) => {
            println!("userland {name} ({why}): FAILED: {error:#}");
            Counts { passed: 0, failed: 1 }
        }
    }
}

/// Runs the examples in a userland, and on its kernel; returns a summary.
fn test(userland: &Userland, artifacts: &Artifacts) -> Result<String> {
    let root = Debian::get(&userland.suite, Stage::Unpacked, &HEADERS)?.root;
    make_relative(&root, LOADER)?;
    let examples = install(&root, artifacts)?;
    let moved = run_here(&root, &examples)?;
    let summary = format!("{} examples, {moved} moves emulated", examples.len());
    let Some(series) = &userland.kernel else {
        return Ok(summary);
    };
    run_on_kernel(&root, series)?;
    Ok(format!("{summary}; on Linux {series} {EXAMPLE} fails alone and succeeds with the library"))
}

/// Makes an absolute link relative. The linker runs outside of the chroot, where an absolute link
/// leads out of the userland.
fn make_relative(root: &Path, link: &str) -> Result<()> {
    let path = root.join(link);
    let target = fs::read_link(&path).with_context(|| format!("{}: not a link", path.display()))?;
    let Ok(inside) = target.strip_prefix("/") else {
        return Ok(());
    };
    // `lib64` is itself a link into `usr`, so the root is two levels up.
    let target = Path::new("../..").join(inside);
    fs::remove_file(&path)?;
    Ok(symlink(target, &path)?)
}

/// Copies the library, and compiles the examples against the userland's libc; returns their names.
fn install(root: &Path, artifacts: &Artifacts) -> Result<Vec<String>> {
    let home = root.join(&HOME[1..]);
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::create_dir_all(home.join("traces"))?;
    fs::copy(artifacts.shim(), home.join("libmremap_shim.so")).context("the library")?;
    let mut examples = Vec::new();
    for entry in fs::read_dir(repo::root().join("examples"))?.flatten() {
        let source = entry.path();
        let (Some(name), Some("c")) =
            (source.file_stem(), source.extension().and_then(|it| it.to_str()))
        else {
            continue;
        };
        let name = name.to_string_lossy().into_owned();
        compile(root, &source, &home.join(&name))?;
        examples.push(name);
    }
    Ok(examples)
}

/// Compiles with this machine's compiler and the userland's headers, start files and libraries.
fn compile(root: &Path, source: &Path, program: &Path) -> Result<()> {
    let mut command = Command::new("cc");
    command.arg(format!("--sysroot={}", root.display()));
    command.arg(format!("-B{}", root.join(LIBRARIES).display()));
    command.args(["-std=gnu11", "-O2", "-o"]).arg(program).arg(source);
    repo::capture(&mut command).map(drop)
}

/// Runs the examples and the userland's perl; returns the number of emulated moves.
fn run_here(root: &Path, examples: &[String]) -> Result<usize> {
    let run = |program: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(root).arg("/usr/bin/env");
        command.arg(format!("LD_PRELOAD={HOME}/libmremap_shim.so"));
        command.arg(format!("MREMAP_SHIM_TRACE={HOME}/traces"));
        let output = command
            .arg("MREMAP_SHIM_MODE=emulate")
            .args(program)
            .output()
            .context("chroot: cannot be run")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success() && stderr.is_empty(),
            "{program:?}: {}\n{stderr}",
            output.status
        );
        Ok(())
    };
    run(&["/usr/bin/perl", "-e", "exit 0"])?;
    for example in examples {
        run(&[&format!("{HOME}/{example}")])?;
    }
    let traces = traces_in(&root.join(&HOME[1..]).join("traces"));
    ensure!(
        traces.len() == examples.len() + 1,
        "{} of {} programs left a trace",
        traces.len(),
        examples.len() + 1
    );
    let is_emulated = |call: &mremap_trace::Call| matches!(call.outcome, Outcome::Emulated);
    let emulated =
        traces.iter().map(|trace| trace.calls().iter().filter(|call| is_emulated(call)).count());
    let of_each: Vec<usize> = emulated.collect();
    ensure!(
        of_each.iter().filter(|&&count| count > 0).count() == examples.len(),
        "emulated moves by program: {of_each:?}"
    );
    Ok(of_each.iter().sum())
}

/// Runs the example with the userland's loader and libc on an old kernel.
fn run_on_kernel(root: &Path, series: &str) -> Result<()> {
    if let Some(missing) = guest::missing() {
        bail!("no guests here: {missing}");
    }
    let kernel = kernels::get_one(series)?;
    let mut guest = Guest::default();
    let home = root.join(&HOME[1..]);
    for (file, there) in [
        (root.join(LOADER), LOADER),
        (root.join(LIBRARIES).join("libc.so.6"), "lib/x86_64-linux-gnu/libc.so.6"),
        (home.join("libmremap_shim.so"), "mremap/libmremap_shim.so"),
        (home.join(EXAMPLE), "mremap/example"),
    ] {
        guest.add(file, format!("/userland/{there}"));
    }
    let argv = ["chroot", "/userland", "/mremap/example"];
    guest.command(argv);
    guest.command_with(argv, &[("LD_PRELOAD", "/mremap/libmremap_shim.so")]);
    let outcomes = guest::run(&kernel, &guest)?;
    let statuses: Vec<i32> = outcomes.iter().map(|outcome| outcome.status).collect();
    ensure!(statuses == [1, 0], "on Linux {series}, alone and with the library: {outcomes:#?}");
    Ok(())
}
