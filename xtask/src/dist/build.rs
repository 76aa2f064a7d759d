//! Builds the programs for glibc 2.17 and newer, without paths and times of this machine.

use fs_err as fs;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::Release;
use crate::repo;
use crate::tools;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The oldest glibc that library and analyzer run with: `(major, minor)`.
const OLDEST_GLIBC: Glibc = (2, 17);
/// The oldest glibc of the example programs, which need `memfd_create`.
const OLDEST_GLIBC_OF_EXAMPLES: Glibc = (2, 27);

type Glibc = (u32, u32);

/// The built files.
#[derive(Debug)]
pub struct Built {
    /// The preload library.
    pub shim: PathBuf,
    /// What `attach` loads into programs linked with musl.
    pub shim_for_musl: PathBuf,
    /// The analyzer.
    pub analyzer: PathBuf,
    /// The program that compares a kernel with Linux 6.17, linked statically.
    pub conformance: PathBuf,
    /// The example programs in C.
    pub examples: Vec<PathBuf>,
}

/// Builds a source tree; `target` is cargo's target folder. With `quick` the analyzer is optimised
/// less, which takes a third of the time.
pub fn build(release: &Release, source: &Path, target: &Path, quick: bool) -> Result<Built> {
    let profile = if quick { "quick" } else { "release" };
    let cargo = |subcommand: &str, profile: &str, triple: &str, package: &str, flags: &[&str]| {
        let mut command = repo::cargo();
        command.current_dir(source).env("PATH", tools::path("zig")?);
        command
            .env("CARGO_TARGET_DIR", target)
            .env("SOURCE_DATE_EPOCH", &release.time)
            .env_remove("RUSTFLAGS");
        command.args([subcommand, "--profile", profile, "--locked", "--target", triple]);
        command.args(["-p", package]);
        let mut rustflags = remapped(source);
        rustflags.extend(flags.iter().map(|&flag| flag.to_owned()));
        command
            .arg("--config")
            .arg(format!("build.rustflags = {rustflags:?}"))
            .args(["--config", &format!("profile.{profile}.strip = true")]);
        repo::step(&format!("building {package} for {triple}"), || repo::run(&mut command))
    };
    // The library uses no newer symbol, and needs GNU ld, which drops std. The analyzer needs a
    // linker that knows old versions of glibc.
    for library in ["mremap-shim", "mremap-shim-attach-musl"] {
        cargo("build", "release", TARGET, library, &[])?;
    }
    let (major, minor) = OLDEST_GLIBC;
    cargo("zigbuild", profile, &format!("{TARGET}.{major}.{minor}"), "mremap-analyzer", &[])?;
    // zig links glibc only dynamically.
    cargo("build", "release", TARGET, "mremap-conformance", &["-Ctarget-feature=+crt-static"])?;
    let product = |profile: &str, name: &str| target.join(TARGET).join(profile).join(name);
    let built = Built {
        shim: product("release", "libmremap_shim.so"),
        shim_for_musl: product("release", "libmremap_shim_attach_musl.so"),
        analyzer: product(profile, "mremap-analyzer"),
        conformance: product("release", "mremap-conformance"),
        examples: examples(source, target)?,
    };
    // Cargo does not strip packages that have a profile of their own.
    repo::run(Command::new("strip").args([&built.shim, &built.shim_for_musl, &built.analyzer]))?;
    for file in [&built.shim, &built.shim_for_musl, &built.analyzer] {
        check_glibc(file, OLDEST_GLIBC)?;
    }
    check_static(&built.conformance)?;
    for example in &built.examples {
        check_glibc(example, OLDEST_GLIBC_OF_EXAMPLES)?;
    }
    Ok(built)
}

/// Flags that replace this machine's folders by fixed names.
fn remapped(source: &Path) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let folders = [(home.as_path(), "/cargo"), (source, "/mremap-shim")];
    folders
        .iter()
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect()
}

/// Builds the program that copies the library out of its image.
pub fn copier(source: &Path, target: &Path) -> Result<PathBuf> {
    let output = target.join("mremap-shim-copy");
    let source_file = source.join("packaging/copy-library.c");
    let mut zig = zig_cc("x86_64-linux-musl", source)?;
    repo::run(zig.args(["-static", "-o"]).args([&output, &source_file]))?;
    check_static(&output)?;
    Ok(output)
}

/// zig's C compiler for a target.
fn zig_cc(target: &str, source: &Path) -> Result<Command> {
    let mut command = Command::new(tools::get("zig")?.join("python-zig"));
    // Stripped, since the line tables of zig's start files contain its folder.
    command.args(["cc", "-target", target, "-std=gnu11", "-O2", "-s"]).arg(mapped(source));
    Ok(command)
}

fn examples(source: &Path, target: &Path) -> Result<Vec<PathBuf>> {
    let into = target.join("examples");
    fs::create_dir_all(&into)?;
    let sources = fs::read_dir(source.join("examples"))?.flatten().map(|entry| entry.path());
    let mut sources: Vec<PathBuf> =
        sources.filter(|path| path.extension().is_some_and(|it| it == "c")).collect();
    sources.sort();
    let (major, minor) = OLDEST_GLIBC_OF_EXAMPLES;
    let compile = |path: PathBuf| {
        let output = into.join(path.file_stem().context("a file has a name")?);
        let mut command = zig_cc(&format!("x86_64-linux-gnu.{major}.{minor}"), source)?;
        command.args(["-fPIE", "-pie", "-pthread", "-o"]).args([&output, &path]);
        repo::run(&mut command)?;
        Ok(output)
    };
    sources.into_iter().map(compile).collect()
}

fn mapped(source: &Path) -> OsString {
    let mut flag = OsString::from("-ffile-prefix-map=");
    flag.push(source);
    flag.push("=/mremap-shim");
    flag
}

/// Fails if a file needs a glibc newer than `oldest`.
fn check_glibc(file: &Path, oldest: Glibc) -> Result<()> {
    let symbols = repo::capture(Command::new("objdump").arg("-T").arg(file))?;
    let newest = newest_glibc(&symbols);
    ensure!(
        newest.is_some(),
        "{}: needs no version of glibc, so objdump's output was not understood",
        file.display()
    );
    if let Some((major, minor)) = newest.filter(|it| *it > oldest) {
        bail!("{}: needs GLIBC_{major}.{minor}", file.display());
    }
    Ok(())
}

/// Fails if a file needs a loader or a library.
fn check_static(file: &Path) -> Result<()> {
    let headers = repo::capture(Command::new("objdump").arg("-p").arg(file))?;
    let is_dynamic = ["NEEDED", "INTERP"].iter().any(|word| headers.contains(word));
    ensure!(!is_dynamic, "{}: is not static", file.display());
    Ok(())
}

/// The version of this machine's glibc, which static programs contain.
pub fn glibc_version() -> Result<String> {
    let text = repo::capture(Command::new("ldd").arg("--version"))?;
    let version = text.lines().next().and_then(|line| line.split(['(', ')']).nth(1));
    Ok(version.context("ldd --version: no version in parentheses")?.to_owned())
}

/// The newest version of glibc in a list of dynamic symbols.
fn newest_glibc(symbols: &str) -> Option<Glibc> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let mut numbers = rest[..end].split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    versions.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_versions_of_glibc_by_number() {
        let symbols = "DF *UND* 0 (GLIBC_2.2.5) read\nDF *UND* 0 (GLIBC_2.17) clock_gettime\nDF *UND* 0 (GLIBC_2.9) pipe2\n";
        assert_eq!(newest_glibc(symbols), Some((2, 17)));
        assert_eq!(newest_glibc("DF .text 0 Base mremap\n"), None);
    }
}
