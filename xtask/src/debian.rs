//! Debian releases to try things in: a minimal system of each, made once with debootstrap from the mirror that this
//! machine's apt is set up for, and never written to again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{apt, repo};

/// A minimal Debian.
#[derive(Debug)]
pub struct Debian {
    /// Its root.
    pub root: PathBuf,
}

impl Debian {
    /// The system of a suite, installed unless it is there.
    pub fn get(suite: &str) -> Result<Self> {
        let home = repo::root().join("target/debian");
        let root = home.join(suite);
        if !root.exists() {
            fs::create_dir_all(&home)
                .with_context(|| format!("{}: cannot be created", home.display()))?;
            // Renamed when it is whole.
            let fresh = home.join(format!("{suite}.fresh"));
            if fresh.exists() {
                fs::remove_dir_all(&fresh)?;
            }
            let mut debootstrap = Command::new("debootstrap");
            debootstrap.args(["--variant=minbase", suite]).arg(&fresh).arg(apt::mirror(suite)?);
            repo::capture(&mut debootstrap)
                .context("debootstrap: needs root, and `apt-get install debootstrap`")?;
            fs::rename(&fresh, &root)?;
        }
        Ok(Self { root })
    }

    /// Runs a shell script in it, as root, with files of this machine under `/given`. What the script changes is gone
    /// afterwards. Returns what it printed.
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

    /// The system as one archive, without what only takes room.
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
