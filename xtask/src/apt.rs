//! A private apt for one Debian suite, with sources, lists and cache of its own. It needs no root
//! and leaves the machine's apt state alone.
//!
//! The mirror's address is taken from the machine's apt configuration, and the suite's signature is
//! checked with the machine's Debian keyring.

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::arch::Arch;
use crate::repo;

/// The keys that Debian's archives are signed with.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One version of one package in the suite's signed index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The hash of its `.deb`.
    pub sha256: String,
}

/// The private apt of one suite.
#[derive(Debug)]
pub struct Apt {
    suite: String,
    arch: Arch,
    home: PathBuf,
}

impl Apt {
    /// Creates the directory and fetches the suite's index.
    pub fn update(suite: &str, arch: Arch, home: PathBuf) -> Result<Self> {
        Self::fetch(suite, arch, home, "deb\nTargets: Packages")
    }

    /// As [`Apt::update`], for [`Apt::source`] alone.
    pub fn update_sources(suite: &str, home: PathBuf) -> Result<Self> {
        Self::fetch(suite, Arch::Amd64, home, "deb-src\nTargets: Sources")
    }

    fn fetch(suite: &str, arch: Arch, home: PathBuf, types: &str) -> Result<Self> {
        if !Path::new(KEYRING).exists() {
            bail!("{KEYRING}: missing; install the package debian-archive-keyring");
        }
        for directory in ["lists/partial", "cache/archives/partial"] {
            let path = home.join(directory);
            fs::create_dir_all(&path)?;
        }
        let source = format!(
            "Types: {types}\nURIs: {}\nSuites: {suite}\nComponents: main\nArchitectures: {}\n\
             Signed-By: {KEYRING}\n",
            mirror(suite)?,
            arch.name()
        );
        write(&home.join("suite.sources"), &source)?;
        write(&home.join("status"), "")?;
        let apt = Self { suite: suite.to_owned(), arch, home };
        // Retried once, since a mirror may change while its index is read.
        let update = || {
            repo::capture(apt.command("apt-get").args([
                "-qq",
                "-o",
                "Acquire::Retries=3",
                "update",
            ]))
        };
        update()
            .or_else(|_| update())
            .with_context(|| format!("suite {suite}: its index cannot be fetched"))?;
        Ok(apt)
    }

    /// Every version of the kernel packages whose names `is_wanted` accepts.
    pub fn find(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<Package>> {
        let names = repo::capture(self.command("apt-cache").args(["pkgnames", "linux-"]))?;
        let names: Vec<&str> = names.lines().filter(|name| is_wanted(name)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let stanzas = repo::capture(self.command("apt-cache").arg("show").args(names))?;
        Ok(stanzas.split("\n\n").filter_map(parse_stanza).collect())
    }

    /// Every version of one package.
    pub fn named(&self, name: &str) -> Result<Vec<Package>> {
        let stanzas = repo::capture(self.command("apt-cache").args(["show", name]))?;
        Ok(stanzas.split("\n\n").filter_map(parse_stanza).collect())
    }

    /// A package and its dependencies, except those whose names start with one of `left_out`.
    pub fn closure(&self, root: &str, left_out: &[&str]) -> Result<Vec<String>> {
        let mut names = vec![root.to_owned()];
        let mut next = 0;
        while let Some(name) = names.get(next) {
            let text =
                repo::capture(self.command("apt-cache").args(["depends", "--important", name]))?;
            for name in dependencies(&text) {
                if !left_out.iter().any(|it| name.starts_with(it))
                    && !names.iter().any(|it| it == name)
                {
                    names.push(name.to_owned());
                }
            }
            next += 1;
        }
        Ok(names)
    }

    /// Downloads a package into a directory and returns its path. apt checks its hash.
    pub fn download(&self, package: &Package, into: &Path) -> Result<PathBuf> {
        let mut command = self.command("apt-get");
        // Downloads run in parallel, and apt's cache of its lists does not support that.
        command.arg("-o").arg(format!("Dir::Cache={}", into.display()));
        command.args(["-qq", "-o", "Acquire::Retries=3", "download"]).current_dir(into);
        repo::capture(command.arg(format!("{}={}", package.name, package.version))).with_context(
            || {
                format!(
                    "{} {}: cannot be downloaded from {}",
                    package.name, package.version, self.suite
                )
            },
        )?;
        let files = fs::read_dir(into)?.flatten().map(|entry| entry.path());
        let deb = files.into_iter().find(|path| path.extension().is_some_and(|it| it == "deb"));
        deb.with_context(|| format!("{}: apt-get download left no .deb", package.name))
    }

    /// Unpacks the newest source of a package into a directory, without Debian's changes. Returns
    /// the source's directory.
    pub fn source(&self, name: &str, into: &Path) -> Result<PathBuf> {
        let mut command = self.command("apt-get");
        command.args(["-qq", "-o", "Acquire::Retries=3", "source", "--download-only", name]);
        repo::capture(command.current_dir(into))
            .with_context(|| format!("{name}: its source cannot be fetched from {}", self.suite))?;
        let is_original = |path: &PathBuf| {
            let name = path.to_string_lossy();
            name.contains(".orig.tar.") && !name.ends_with(".asc")
        };
        let files = fs::read_dir(into)?.flatten().map(|entry| entry.path());
        let archive = files
            .into_iter()
            .filter(is_original)
            .find(|path| path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(name)))
            .with_context(|| format!("{name}: its source has no archive"))?;
        let to = into.join(format!("{name}-source"));
        fs::create_dir_all(&to)?;
        let mut tar = Command::new("tar");
        repo::capture(tar.args(["--strip-components=1", "-xf"]).arg(archive).arg("-C").arg(&to))?;
        Ok(to)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let home = self.home.display();
        let mut set = |option: &str, value: &str| {
            command.arg("-o").arg(format!("{option}={value}"));
        };
        set("Dir::Etc::sourcelist", &format!("{home}/suite.sources"));
        set("Dir::Etc::sourceparts", "/dev/null");
        set("Dir::Etc::preferences", "/dev/null");
        set("Dir::Etc::preferencesparts", "/dev/null");
        set("Dir::State", &format!("{home}"));
        set("Dir::State::lists", &format!("{home}/lists"));
        set("Dir::State::status", &format!("{home}/status"));
        set("Dir::Cache", &format!("{home}/cache"));
        set("Acquire::Languages", "none");
        set("APT::Architecture", self.arch.name());
        set("APT::Architectures", self.arch.name());
        // Otherwise apt, run by root, requires that its own user owns the directory.
        set("APT::Sandbox::User", "root");
        command.env("LC_ALL", "C");
        command
    }
}

/// Whether this machine has apt and dpkg.
pub fn is_there() -> bool {
    repo::which("apt-get").is_some() && repo::which("dpkg-deb").is_some()
}

/// The newest of some packages, by dpkg's order of versions.
pub fn newest(packages: Vec<Package>) -> Option<Package> {
    packages.into_iter().reduce(|best, next| if is_newer(&next, &best) { next } else { best })
}

fn is_newer(this: &Package, than: &Package) -> bool {
    let arguments = ["--compare-versions", &this.version, "gt", &than.version];
    Command::new("dpkg").args(arguments).status().is_ok_and(|status| status.success())
}

/// The address of the archive that holds a suite, from the machine's apt configuration. Security
/// suites have an archive of their own.
pub fn mirror(suite: &str) -> Result<String> {
    let mut command = Command::new("apt-get");
    command.args([
        "indextargets",
        "--no-release-info",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
    ]);
    let targets = repo::capture(command.arg("Created-By: Packages"))?;
    find_mirror(&targets, suite).with_context(|| {
        let kind = if is_security(suite) {
            "security archive"
        } else {
            "Debian archive"
        };
        format!("suite {suite}: apt on this machine names no {kind}; add one under /etc/apt/sources.list.d")
    })
}

fn find_mirror(targets: &str, suite: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (uri, release, component) = (words.next()?, words.next()?, words.next()?);
        // Third-party repositories rarely use a plain suite name; Debian's main archive does.
        let fits =
            if is_security(suite) { is_security(release) } else { !release.contains(['-', '/']) };
        (fits && component == "main").then(|| uri.to_owned())
    })
}

fn is_security(suite: &str) -> bool {
    suite.ends_with("-security")
}

/// The real packages in the output of `apt-cache depends`. All alternatives are included: one would
/// do, and the others are harmless.
fn dependencies(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter_map(|line| line.rsplit_once("Depends: "));
    lines.map(|(_, name)| name.trim()).filter(|name| !name.starts_with('<'))
}

fn parse_stanza(stanza: &str) -> Option<Package> {
    let field = |name: &str| {
        let mut lines = stanza.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
    };
    Some(Package { name: field("Package")?, version: field("Version")?, sha256: field("SHA256")? })
}

fn write(path: &Path, text: &str) -> Result<()> {
    Ok(fs::write(path, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "https://vendor.example/apt/ tool-bookworm main\n\
                           http://mirror.example/debian/ bookworm main\n\
                           http://mirror.example/debian/ bookworm-updates main\n\
                           http://mirror.example/debian-security/ bookworm-security main\n";

    #[test]
    fn finds_the_mirror_of_main_and_security_suites() {
        let find = |suite| find_mirror(TARGETS, suite).unwrap();
        assert_eq!(find("trixie-backports"), "http://mirror.example/debian/");
        assert_eq!(find("bullseye-security"), "http://mirror.example/debian-security/");
        assert_eq!(find_mirror("", "trixie"), None);
    }

    #[test]
    fn skips_virtual_packages() {
        let text = "rustc\n  Depends: libc6\n |Depends: gcc\n  PreDepends: it\n  Depends: <c-compiler>\n    clang\n";
        assert_eq!(dependencies(text).collect::<Vec<_>>(), ["libc6", "gcc", "it"]);
    }

    #[test]
    fn parses_name_version_and_hash_of_a_stanza() {
        let stanza = "Package: linux-x\nSource: linux (1)\nVersion: 6.1~rc1-1\nSHA256: ab\nDescription: Linux: it\n";
        let package = parse_stanza(stanza).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("linux-x", "6.1~rc1-1"));
        assert_eq!(package.sha256, "ab");
        assert_eq!(parse_stanza("Package: linux-y\n"), None);
    }
}
