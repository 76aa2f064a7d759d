//! What the commands need of the machine: `requirements.toml`, checked before long work begins.
//! Missing Debian packages are installed where that is allowed.

use fs_err as fs;
use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::repo;

/// The list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    system: Vec<System>,
    /// Sets of packages from PyPI.
    pub python: Vec<Python>,
}

/// A system package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct System {
    level: Level,
    has: String,
    apt: String,
    #[serde(default)]
    dnf: String,
    #[serde(default)]
    apk: String,
    why: String,
}

/// Packages from PyPI that are installed together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Python {
    /// Name of the set.
    pub name: String,
    /// The packages, with versions.
    pub packages: Vec<String>,
    /// The platform of wheels that cannot run here by themselves: they are unpacked, not installed.
    #[serde(default)]
    pub platform: String,
    /// What they are for.
    pub why: String,
}

/// How much is needed. Each level includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// `cargo xtask demo`.
    Demo,
    /// `cargo xtask test`.
    Test,
    /// `cargo xtask test --programs` and `cargo xtask ci`.
    All,
}

/// Whether to install what is missing.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[group(id = "install")] // every struct of options has the same name
pub struct Options {
    /// Install missing system packages without asking.
    #[arg(long, conflicts_with = "no_install")]
    pub yes: bool,
    /// Install nothing: run with what is there, and list what is skipped.
    #[arg(long)]
    pub no_install: bool,
}

/// The parsed list.
pub static REQUIREMENTS: LazyLock<Requirements> = LazyLock::new(|| {
    toml::from_str(include_str!("../requirements.toml")).expect("requirements.toml is valid")
});

/// Prints what a level lacks, and installs it if that is possible and allowed. What is still
/// missing is left to the command, which skips what needs it.
pub fn ensure(level: Level, options: Options) -> Result<()> {
    let needed = REQUIREMENTS.system.iter().filter(|it| it.level <= level);
    let missing: Vec<&System> = needed.filter(|it| !is_there(&it.has)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("missing on this machine:");
    for System { apt, why, .. } in &missing {
        println!("  {apt:<26} {why}");
    }
    let names = |name: fn(&System) -> &str| -> Vec<String> {
        let names = missing.iter().flat_map(|it| name(it).split_whitespace());
        names.map(str::to_owned).collect()
    };
    if repo::which("apt-get").is_none() {
        if repo::which("dnf").is_some() {
            println!("to install: dnf install {}", names(|it| &it.dnf).join(" "));
        } else if repo::which("apk").is_some() {
            println!("to install: apk add {}", names(|it| &it.apk).join(" "));
        }
        return Ok(());
    }
    let packages: Vec<String> = names(|it| &it.apt).into_iter().map(resolve).collect();
    let command = format!("apt-get install {}", packages.join(" "));
    if !is_allowed(options) {
        println!("not installed; to install: {command}");
        return Ok(());
    }
    install(&packages).with_context(|| format!("{command} failed; --no-install runs without"))
}

/// Whether a program is in `PATH`, or a file exists whose path may have one `*`.
fn is_there(has: &str) -> bool {
    if !has.contains('/') {
        return repo::which(has).is_some();
    }
    let path = has.replace("LIBRARIES", &format!("/usr/lib/{}-linux-gnu", env::consts::ARCH));
    let Some((before, after)) = path.split_once('*') else { return Path::new(&path).exists() };
    let (folder, prefix) = before.rsplit_once('/').unwrap_or_default();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| {
        name.starts_with(prefix) && Path::new(&format!("{folder}/{name}{}", rest(after))).exists()
    })
}

/// The part of a pattern after the component with the `*`.
fn rest(after: &str) -> &str {
    after.find('/').map_or("", |at| &after[at..])
}

/// Python's tests are in a package with the version of `python3` in its name.
fn resolve(package: String) -> String {
    if !package.contains("3.N") {
        return package;
    }
    let text = repo::capture(Command::new("apt-cache").args(["depends", "python3"]));
    let version = text.unwrap_or_default().lines().find_map(|line| {
        let name = line.trim().strip_prefix("Depends: python")?;
        name.strip_prefix("3.")?.parse::<u32>().is_ok().then(|| name.to_owned())
    });
    package.replace("3.N", version.as_deref().unwrap_or("3"))
}

/// Whether to install: not without root or sudo, and on a terminal only if the user agrees.
fn is_allowed(options: Options) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if options.no_install || !(is_root || repo::which("sudo").is_some()) {
        return false;
    }
    if options.yes || env::var_os("CI").is_some() {
        return true;
    }
    if !io::stdin().is_terminal() {
        return is_root;
    }
    print!("install them by apt-get? [Y/n] ");
    io::stdout().flush().ok();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok()
        && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes")
}

fn install(packages: &[String]) -> Result<()> {
    let start = Instant::now();
    let apt = |arguments: &[&str]| {
        let mut command = if rustix::process::geteuid().is_root() {
            Command::new("env")
        } else {
            let mut sudo = Command::new("sudo");
            sudo.arg("env");
            sudo
        };
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]).args(arguments);
        repo::capture(&mut command)
    };
    println!("installing {} packages", packages.len());
    apt(&["update"])?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages.iter().map(String::as_str));
    apt(&arguments)?;
    println!("installed in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_and_files_with_a_wildcard() {
        assert!(is_there("sh"));
        assert!(!is_there("no-such-program"));
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("python3.11")).unwrap();
        fs::write(folder.path().join("python3.11/it"), "").unwrap();
        let pattern = |end: &str| format!("{}/python3*/{end}", folder.path().display());
        assert!(is_there(&pattern("it")));
        assert!(!is_there(&pattern("other")));
    }

    #[test]
    fn every_requirement_has_a_reason() {
        assert!(REQUIREMENTS.system.iter().all(|it| !it.why.is_empty() && !it.apt.is_empty()));
        assert!(REQUIREMENTS.python.iter().all(|it| !it.why.is_empty()));
    }
}
