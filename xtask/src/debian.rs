//! Minimal Debian systems, made by debootstrap from the mirror of this machine's apt and kept in
//! the kernel cache. Tests write only into an overlay, or into a folder of their own.

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{apt, repo};

/// How far a system is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The required packages are unpacked, but not configured: enough to run a program by `chroot`.
    Unpacked,
    /// dpkg and apt work.
    Configured,
}

/// The root of a minimal Debian.
#[derive(Debug)]
pub struct Debian {
    /// Its directory.
    pub root: PathBuf,
}

impl Debian {
    /// Returns the system of a suite. Makes it unless it exists; other processes wait for that.
    /// `include` names further packages, which are the same at every call of a stage.
    pub fn get(suite: &str, stage: Stage, include: &[&str]) -> Result<Self> {
        let home = repo::kernel_cache().join("userlands");
        let name = match stage {
            Stage::Unpacked => suite.to_owned(),
            Stage::Configured => format!("{suite}-configured"),
        };
        fs::create_dir_all(&home)?;
        let _lock = repo::lock(&home.join(format!(".{name}.lock")))?;
        let root = home.join(&name);
        if !root.is_dir() {
            let unfinished = home.join(format!(".{name}.unfinished"));
            make(suite, stage, include, &unfinished)?;
            fs::rename(&unfinished, &root)?;
        }
        Ok(Self { root })
    }

    /// Runs a shell script in an overlay of the system as root, with files of this machine under
    /// `/given`, and returns its output. The script's changes are discarded.
    pub fn run(&self, script: &str, given: &Path) -> Result<String> {
        let scratch = tempfile::tempdir().context("no temporary directory")?;
        let setup = "mount -t tmpfs tmpfs \"$1\"; mkdir \"$1/upper\" \"$1/work\" \"$1/root\"; \
                     mount -t overlay -o \"lowerdir=$2,upperdir=$1/upper,workdir=$1/work\" overlay \"$1/root\"; \
                     cd \"$1/root\"; mount -t proc proc proc; mount -o bind /dev dev; \
                     mkdir given; mount -o bind \"$3\" given; exec chroot . /bin/sh -euxc \"$4\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", setup, "sh"])
            .args([scratch.path(), &self.root, given])
            .arg(script)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8");
        repo::capture(&mut command)
    }

    /// Writes the system as a tar archive, without documentation and caches.
    pub fn archive(&self, to: &Path) -> Result<()> {
        let mut tar = Command::new("tar");
        for left_out in [
            "./dev/*",
            "./usr/share/doc/*",
            "./usr/share/man/*",
            "./usr/share/locale/*",
            "./var/cache/*",
            "./var/lib/apt/lists/*",
        ] {
            tar.arg(format!("--exclude={left_out}"));
        }
        tar.arg("-C").arg(&self.root).arg("-cf").args([to, Path::new(".")]);
        repo::run(&mut tar)?;
        if fs::metadata(to)?.len() > 300 << 20 {
            bail!("{}: too large for a guest's memory", to.display());
        }
        Ok(())
    }
}

fn make(suite: &str, stage: Stage, include: &[&str], root: &Path) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    eprintln!("debootstrap: fetching Debian {suite}");
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.arg("--variant=minbase").arg(format!("--keyring={}", apt::KEYRING));
    if stage == Stage::Unpacked {
        debootstrap.arg("--foreign");
    }
    if !include.is_empty() {
        debootstrap.arg(format!("--include={}", include.join(",")));
    }
    debootstrap.arg(suite).arg(root).arg(apt::mirror(suite)?);
    repo::capture(&mut debootstrap)
        .context("debootstrap: needs root (and apt-get install debootstrap)")?;
    let packages = root.join("var/cache/apt/archives");
    if stage == Stage::Unpacked {
        // The first stage fetches all packages, and unpacks only the required ones.
        for name in include {
            let deb = find_package(&packages, name)?;
            repo::capture(Command::new("dpkg-deb").arg("-x").arg(deb).arg(root))?;
        }
    }
    fs::remove_dir_all(&packages).with_context(|| format!("{}", packages.display()))
}

fn find_package(directory: &Path, name: &str) -> Result<PathBuf> {
    let prefix = format!("{name}_");
    repo::files_below(directory)?
        .into_iter()
        .find(|path| path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(&prefix)))
        .with_context(|| format!("debootstrap has not fetched {name}"))
}
