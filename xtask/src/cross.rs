//! Builds for 64-bit Arm without rustup: with the compiler and the standard library of a newer
//! Debian release, unpacked below the target folder, and GCC's cross linker.
//!
//! The compiler is started by its own release's loader, with that release's libraries.

use fs_err as fs;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::apt::{self, Apt};
use crate::arch::Arch;
use crate::repo;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const C_COMPILER: &str = "aarch64-linux-gnu-gcc";
/// The oldest Debian release whose compiler is new enough.
const COMPILER_SUITE: &str = "forky";
/// Prefixes of the compiler's dependencies that are not needed: they serve linking.
const LEFT_OUT: [&str; 6] = ["gcc", "cpp", "binutils", "libc6-dev", "libc-dev", "linux-libc-dev"];
/// Packages for the guests, from the release of the cross linker.
const IN_GUESTS: [&str; 4] = ["libc6", "libgcc-s1", "busybox-static", "coreutils"];

/// The tools to build for Arm, and a system root to run in.
#[derive(Debug)]
pub struct Cross {
    /// Environment of cargo and of the C compiler.
    pub environment: Vec<(String, OsString)>,
    /// A root with the C library, busybox and coreutils for Arm.
    pub sysroot: PathBuf,
}

impl Cross {
    /// Fetches what is missing.
    pub fn get() -> Result<Self> {
        ensure!(
            repo::which(C_COMPILER).is_some(),
            "{C_COMPILER} is not installed (apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross)"
        );
        let sysroot = home().join("sysroot");
        once(&sysroot, |root| {
            let apt = Apt::update(&own_suite()?, Arch::Arm64, home().join("apt-sysroot"))?;
            unpack(&apt, &IN_GUESTS.map(str::to_owned), root)
        })?;
        let linker = format!("CARGO_TARGET_{}_LINKER", TARGET.to_uppercase().replace('-', "_"));
        let mut environment = for_compiler()?;
        environment.extend([
            (linker, C_COMPILER.into()),
            ("CC".to_owned(), C_COMPILER.into()),
            // LTO would include Debian's standard library, which takes minutes.
            ("CARGO_PROFILE_RELEASE_LTO".to_owned(), "off".into()),
            // Build scripts run on this machine, so their C code is compiled for it.
            ("HOST_CC".to_owned(), "cc".into()),
        ]);
        Ok(Self { environment, sysroot })
    }
}

/// Type-checks the library and the tracer for Arm, whose own code no other build compiles.
pub fn check() -> Result<ExitCode> {
    let mut cargo = repo::cargo();
    cargo.args(["check", "--quiet", "--locked", "-p", "mremap-shim", "-p", "mremap-tracer"]);
    repo::run(cargo.envs(for_compiler()?)).map(|()| ExitCode::SUCCESS)
}

fn home() -> PathBuf {
    repo::root().join("target/cross")
}

/// Fetches the compiler and returns the variables that make cargo use it.
fn for_compiler() -> Result<Vec<(String, OsString)>> {
    let rust = home().join("rust");
    once(&rust, |root| {
        let apt = Apt::update(COMPILER_SUITE, Arch::Amd64, home().join("apt-compiler"))?;
        unpack(&apt, &apt.closure("rustc", &LEFT_OUT)?, root)?;
        let apt = Apt::update(COMPILER_SUITE, Arch::Arm64, home().join("apt-library"))?;
        unpack(&apt, &["libstd-rust-dev".to_owned()], root)
    })?;
    let compiler = wrapper(&home(), &rust)?;
    let target = repo::root().join("target/arm64");
    Ok(vec![
        ("RUSTC".to_owned(), compiler.into_os_string()),
        ("CARGO_BUILD_TARGET".to_owned(), TARGET.into()),
        ("CARGO_TARGET_DIR".to_owned(), target.into()),
    ])
}

/// Fills a folder once. An interrupted attempt is repeated.
fn once(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let fresh = folder.with_extension("fresh");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    fill(&fresh)?;
    Ok(fs::rename(&fresh, folder)?)
}

fn unpack(apt: &Apt, names: &[String], root: &Path) -> Result<()> {
    for name in names {
        let package =
            apt::newest(apt.named(name)?).with_context(|| format!("{name}: no such package"))?;
        eprintln!("cross: fetching {} {}", package.name, package.version);
        let scratch = tempfile::tempdir().context("no temporary directory")?;
        let deb = apt.download(&package, scratch.path())?;
        repo::capture(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(root))?;
    }
    Ok(())
}

/// This machine's release, which the cross linker's C library belongs to.
fn own_suite() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("/etc/os-release: cannot be read")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("/etc/os-release: no VERSION_CODENAME")?.trim_matches('"').to_owned())
}

fn wrapper(home: &Path, rust: &Path) -> Result<PathBuf> {
    let path = home.join("rustc");
    let libraries = rust.join("usr/lib/x86_64-linux-gnu");
    let text = format!(
        "#!/bin/sh\nexec '{libraries}/ld-linux-x86-64.so.2' --library-path '{libraries}' \\\n\
         \x20   '{rust}/usr/bin/rustc' --sysroot '{rust}/usr' \"$@\"\n",
        libraries = libraries.display(),
        rust = rust.display()
    );
    // Cargo rebuilds everything if this file is newer.
    if fs::read_to_string(&path).is_ok_and(|it| it == text) {
        return Ok(path);
    }
    fs::write(&path, text)?;
    fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
