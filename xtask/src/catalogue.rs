//! `tests/kernels.toml`, read and checked. Says which kernels there should be; getting them is [`crate::kernels`].

use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::arch::Arch;
use crate::repo;

/// One kernel of the catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `6.12`: what the user types.
    pub series: String,
    /// The processor it is for.
    #[serde(default)]
    pub arch: Arch,
    /// The Debian suite that has it.
    pub suite: String,
    /// The binary package with the image, or with the source.
    pub package: String,
    /// The package's version; empty in an entry that is not pinned yet.
    #[serde(default)]
    pub version: String,
    /// The hash of the `.deb`, likewise.
    #[serde(default)]
    pub sha256: String,
    /// Built here of the source, with this file of tests/kernels as its configuration.
    #[serde(default)]
    pub config: Option<String>,
    /// Whether the kernel moves several VMAs at once by itself.
    pub native: bool,
    /// Why the kernel is in the list.
    pub why: String,
}

/// Programs of this machine that every test guest has, beside the tests themselves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestExtras {
    /// Names looked up in `PATH`.
    #[serde(default)]
    pub programs: Vec<String>,
    /// Directories, copied whole.
    #[serde(default)]
    pub directories: Vec<String>,
    /// Files of tests/tests, without `.rs`, that guests leave out.
    #[serde(default)]
    pub host_only: Vec<String>,
}

/// A distribution whose loader and libc the library must get along with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Userland {
    /// The Debian suite.
    pub suite: String,
    /// The series of the kernel to try it on as well.
    #[serde(default)]
    pub kernel: Option<String>,
    /// Why it is in the list.
    pub why: String,
}

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Every kernel, oldest first.
    #[serde(rename = "kernel")]
    pub entries: Vec<Entry>,
    /// Userlands of older and newer distributions.
    #[serde(rename = "userland", default)]
    pub userlands: Vec<Userland>,
    /// What else the test guests contain.
    #[serde(default)]
    pub guest: GuestExtras,
}

impl Catalogue {
    /// Reads the catalogue of this repository.
    pub fn read() -> Result<Self> {
        let path = repo::root().join("tests/kernels.toml");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{}: cannot be read", path.display()))?;
        let catalogue: Self = toml::from_str(&text)
            .with_context(|| format!("{}: not a kernel catalogue", path.display()))?;
        for name in &catalogue.guest.host_only {
            if !repo::root().join("tests/tests").join(name).with_extension("rs").is_file() {
                bail!("{}: host_only names {name}, which is not in tests/tests", path.display());
            }
        }
        Ok(catalogue)
    }

    /// The kernels for one processor.
    pub fn of(&self, arch: Arch) -> Vec<Entry> {
        let entries = self.entries.iter().filter(|entry| entry.arch == arch);
        entries.cloned().collect()
    }

    /// The entries with these series, in the catalogue's order; all those of a processor when none is named.
    pub fn select_of(&self, arch: Arch, series: &[String]) -> Result<Vec<Entry>> {
        if series.is_empty() {
            return Ok(self.of(arch));
        }
        self.select(series)
    }

    /// The entries with these series, in the catalogue's order; all of them when none is named.
    pub fn select(&self, series: &[String]) -> Result<Vec<Entry>> {
        let known = self.entries.iter().map(|entry| entry.series.as_str()).collect::<Vec<_>>();
        if let Some(unknown) = series.iter().find(|wanted| !known.contains(&wanted.as_str())) {
            bail!("kernel {unknown}: not in tests/kernels.toml, which has {}", known.join(", "));
        }
        let wanted = |entry: &&Entry| series.is_empty() || series.contains(&entry.series);
        Ok(self.entries.iter().filter(wanted).cloned().collect())
    }
}
