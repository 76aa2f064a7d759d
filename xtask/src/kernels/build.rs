//! Builds a kernel that Debian does not package, from Debian's source package and a minimal
//! configuration below tests/kernels.

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};

use super::source;
use crate::arch::Arch;
use crate::catalogue::Entry;
use crate::repo;

/// Returns the configuration to build a kernel with, or `None` if it is fetched.
pub fn configuration(entry: &Entry) -> Option<PathBuf> {
    Some(repo::root().join("tests/kernels").join(entry.config.as_ref()?))
}

/// Builds the image in `scratch` from the unpacked source package.
pub fn image(entry: &Entry, config: &Path, content: &Path, scratch: &Path) -> Result<PathBuf> {
    let compiler = Compiler::of(entry.arch)?;
    eprintln!("kernel {}: building from source, some minutes", entry.series);
    let (source, output) = (scratch.join("source"), scratch.join("output"));
    source::unpack(&entry.package, content, &[], &source)?;
    let make = |target: &str| {
        let mut make = compiler.make();
        make.arg("-C").arg(&source).arg(format!("O={}", output.display()));
        repo::capture(make.env("KCONFIG_ALLCONFIG", config).arg(target))
    };
    make("allnoconfig")?;
    check_configuration(&fs::read_to_string(config)?, &fs::read_to_string(output.join(".config"))?)
        .with_context(|| format!("{}: does not fit {}", config.display(), entry.package))?;
    make("Image")?;
    Ok(output.join("arch").join(compiler.arch).join("boot/Image"))
}

/// The kernel makefile's names for the processor and its compiler.
struct Compiler {
    arch: &'static str,
    prefix: &'static str,
}

impl Compiler {
    fn of(arch: Arch) -> Result<Self> {
        ensure!(arch == Arch::Arm64, "only kernels for 64-bit Arm are built");
        let compiler = Self { arch: "arm64", prefix: "aarch64-linux-gnu-" };
        let gcc = format!("{}gcc", compiler.prefix);
        let needed = ["make", "flex", "bison", "bc", &gcc];
        let missing: Vec<&str> =
            needed.into_iter().filter(|it| repo::which(it).is_none()).collect();
        ensure!(
            missing.is_empty(),
            "a kernel is built with {}, not installed here (apt-get install make flex bison bc gcc-aarch64-linux-gnu)",
            missing.join(", ")
        );
        Ok(compiler)
    }

    fn make(&self) -> Command {
        let jobs = thread::available_parallelism().map_or(1, Into::into);
        let mut make = Command::new("nice");
        make.args(["make", "-s", &format!("-j{jobs}")])
            .arg(format!("ARCH={}", self.arch))
            .arg(format!("CROSS_COMPILE={}", self.prefix));
        make
    }
}

/// Fails if the makefile dropped an option: it does so silently, if it does not know the option or
/// its dependencies are unmet.
fn check_configuration(wanted: &str, got: &str) -> Result<()> {
    let is_there = |line: &&str| got.lines().any(|it| it == *line);
    let wanted = wanted.lines().filter(|line| line.starts_with("CONFIG_"));
    let dropped: Vec<&str> = wanted.filter(|line| !is_there(line)).collect();
    ensure!(dropped.is_empty(), "dropped: {}", dropped.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_dropped_option() {
        let wanted = "# why\nCONFIG_A=y\nCONFIG_B=y\n";
        let kept = "CONFIG_B=y\n# CONFIG_C is not set\nCONFIG_A=y\n";
        assert!(check_configuration(wanted, kept).is_ok());
        let error = check_configuration(wanted, "CONFIG_A=y\n# CONFIG_B is not set\n").unwrap_err();
        assert_eq!(error.to_string(), "dropped: CONFIG_B=y");
    }
}
