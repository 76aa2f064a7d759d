//! Older distributions: the preload library loaded in userlands that debootstrap has made, by their own loader and libc; the
//! one that names a kernel on that kernel, too.
//!
//! A userland is made once, by debootstrap's first stage: the required packages, unpacked. It is never booted, so none of
//! them is configured.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use mremap_tests::artifacts::Artifacts;
use mremap_tests::preload::traces_in;
use mremap_trace::Outcome;

use crate::apt;
use crate::catalogue::{Catalogue, Userland};
use crate::guest::{self, Guest};
use crate::kernels;
use crate::libtest::Counts;
use crate::repo;

/// Where a userland has what is tested.
const PLACE: &str = "/mremap";

/// The dynamic loader's place, which the ABI fixes.
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

/// The libraries of a userland.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Packages with what a program is compiled against.
const HEADERS: [&str; 2] = ["libc6-dev", "linux-libc-dev"];

/// The example that needs the feature, and says so where it is missing.
const EXAMPLE: &str = "neighbour_under_gap";

/// `cargo xtask test-userlands`.
pub fn run() -> Result<ExitCode> {
    if let Some(missing) = missing() {
        bail!("no userlands here: {missing}");
    }
    let counts = test_all()?;
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What this machine lacks for userlands, and how to get it.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("debootstrap and chroot are root's; run this as root".to_owned());
    }
    let needed = [("debootstrap", "debootstrap"), ("chroot", "coreutils"), ("cc", "gcc")];
    needed
        .iter()
        .find(|(program, _)| repo::which(program).is_none())
        .map(|(program, package)| format!("{program} is not installed (apt-get install {package})"))
}

/// Tests in every userland of the catalogue, which are made side by side; says what came of each.
pub fn test_all() -> Result<Counts> {
    let userlands = Catalogue::read()?.userlands;
    let artifacts = &Artifacts::prepare()?;
    let results: Vec<Result<String>> = thread::scope(|scope| {
        let test = |userland| scope.spawn(move || test(userland, artifacts));
        let workers: Vec<_> = userlands.iter().map(test).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a test of a userland does not panic"))
            .collect()
    });
    let mut sum = Counts::default();
    for (Userland { suite, why, .. }, result) in userlands.iter().zip(results) {
        match result {
            Ok(said) => {
                println!("userland {suite} ({why}): {said}");
                sum.passed += 1;
            }
            Err(error) => {
                println!("userland {suite} ({why}): FAILED: {error:#}");
                sum.failed += 1;
            }
        }
    }
    Ok(sum)
}

/// Runs the examples in a userland, and on its kernel; returns a line about it.
fn test(userland: &Userland, artifacts: &Artifacts) -> Result<String> {
    let root = get(&userland.suite)?;
    let examples = furnish(&root, artifacts)?;
    let moved = run_here(&root, &examples)?;
    let said = format!("{} examples, {moved} moves emulated", examples.len());
    let Some(series) = &userland.kernel else {
        return Ok(said);
    };
    run_on_kernel(&root, series)?;
    Ok(format!("{said}; on Linux {series} {EXAMPLE} fails alone and moves with the library"))
}

/// The root of a userland, made when it is not there yet.
fn get(suite: &str) -> Result<PathBuf> {
    let home = repo::kernel_cache().join("userlands");
    fs::create_dir_all(&home).with_context(|| format!("{}: cannot be created", home.display()))?;
    let lock = home.join(format!(".{suite}.lock"));
    let lock =
        File::create(&lock).with_context(|| format!("{}: cannot be written", lock.display()))?;
    lock.lock().context("the lock of the userlands")?;
    let root = home.join(suite);
    if !root.is_dir() {
        let unfinished = home.join(format!(".{suite}.unfinished"));
        make(suite, &unfinished)?;
        fs::rename(&unfinished, &root)
            .with_context(|| format!("{}: cannot be renamed", root.display()))?;
    }
    Ok(root)
}

fn make(suite: &str, root: &Path) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)
            .with_context(|| format!("{}: cannot be removed", root.display()))?;
    }
    eprintln!("userland {suite}: fetching its packages");
    let mut command = Command::new("debootstrap");
    command.args(["--foreign", "--variant=minbase"]);
    command.arg(format!("--include={}", HEADERS.join(",")));
    command.arg(format!("--keyring={}", apt::KEYRING));
    command.arg(suite).arg(root).arg(apt::mirror(suite)?);
    repo::capture(&mut command)?;
    let packages = root.join("var/cache/apt/archives");
    for name in HEADERS {
        repo::capture(
            Command::new("dpkg-deb").arg("-x").arg(find_package(&packages, name)?).arg(root),
        )?;
    }
    fs::remove_dir_all(&packages).context("the packages of the userland")?;
    make_relative(root, LOADER)
}

fn find_package(directory: &Path, name: &str) -> Result<PathBuf> {
    let prefix = format!("{name}_");
    let entries =
        fs::read_dir(directory).with_context(|| format!("{}: unreadable", directory.display()))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    files
        .find(|path| path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(&prefix)))
        .with_context(|| format!("debootstrap has fetched no {name}"))
}

/// An absolute link leads out of the userland for everybody who is not in it, such as the linker.
fn make_relative(root: &Path, link: &str) -> Result<()> {
    let path = root.join(link);
    let target = fs::read_link(&path).with_context(|| format!("{}: not a link", path.display()))?;
    let Ok(inside) = target.strip_prefix("/") else {
        return Ok(());
    };
    // The directory of the link is one itself, into `usr`.
    let target = Path::new("../..").join(inside);
    fs::remove_file(&path)?;
    symlink(target, &path).with_context(|| format!("{}: cannot be written", path.display()))
}

/// Puts the library and the examples there, these compiled against the userland's libc; returns their names.
fn furnish(root: &Path, artifacts: &Artifacts) -> Result<Vec<String>> {
    let place = root.join(&PLACE[1..]);
    if place.exists() {
        fs::remove_dir_all(&place)
            .with_context(|| format!("{}: cannot be removed", place.display()))?;
    }
    fs::create_dir_all(place.join("traces"))?;
    fs::copy(artifacts.shim(), place.join("libmremap_shim.so")).context("the library")?;
    let mut examples = Vec::new();
    for entry in fs::read_dir(repo::root().join("examples"))?.flatten() {
        let source = entry.path();
        let (Some(name), Some("c")) =
            (source.file_stem(), source.extension().and_then(|it| it.to_str()))
        else {
            continue;
        };
        let name = name.to_string_lossy().into_owned();
        compile(root, &source, &place.join(&name))?;
        examples.push(name);
    }
    Ok(examples)
}

/// With this machine's compiler, and the userland's headers, start files and libraries.
fn compile(root: &Path, source: &Path, program: &Path) -> Result<()> {
    let mut command = Command::new("cc");
    command.arg(format!("--sysroot={}", root.display()));
    command.arg(format!("-B{}", root.join(LIBRARIES).display()));
    command.args(["-std=gnu11", "-O2", "-o"]).arg(program).arg(source);
    repo::capture(&mut command).map(drop)
}

/// Runs the examples and a program that the userland brought; returns how many moves were emulated.
fn run_here(root: &Path, examples: &[String]) -> Result<usize> {
    let run = |program: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(root).arg("/usr/bin/env");
        command.arg(format!("LD_PRELOAD={PLACE}/libmremap_shim.so"));
        command.arg(format!("MREMAP_SHIM_TRACE={PLACE}/traces"));
        let output = command
            .arg("MREMAP_SHIM_MODE=emulate")
            .args(program)
            .output()
            .context("chroot: cannot be run")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success() && said.is_empty(),
            "{program:?}: {}\n{said}",
            output.status
        );
        Ok(())
    };
    run(&["/usr/bin/perl", "-e", "exit 0"])?;
    for example in examples {
        run(&[&format!("{PLACE}/{example}")])?;
    }
    let traces = traces_in(&root.join(&PLACE[1..]).join("traces"));
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
        "moves that were emulated, by program: {of_each:?}"
    );
    Ok(of_each.iter().sum())
}

/// The userland's loader, libc and example on an old kernel.
fn run_on_kernel(root: &Path, series: &str) -> Result<()> {
    if let Some(missing) = guest::missing() {
        bail!("no guests here: {missing}");
    }
    let kernel = kernels::get_one(series)?;
    let mut guest = Guest::default();
    let place = root.join(&PLACE[1..]);
    for (file, there) in [
        (root.join(LOADER), LOADER),
        (root.join(LIBRARIES).join("libc.so.6"), "lib/x86_64-linux-gnu/libc.so.6"),
        (place.join("libmremap_shim.so"), "mremap/libmremap_shim.so"),
        (place.join(EXAMPLE), "mremap/example"),
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
