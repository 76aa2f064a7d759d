//! Reads and checks `tests/kernels.toml`. [`crate::kernels`] fetches the kernels that it lists.

use fs_err as fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::arch::Arch;
use crate::repo;

/// One kernel of the catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name on the command line, such as `6.12`.
    pub series: String,
    /// The processor.
    #[serde(default)]
    pub arch: Arch,
    /// The Debian suite of the package.
    pub suite: String,
    /// The package of the image, or of the source.
    pub package: String,
    /// The package's version; empty in an entry without a pin.
    #[serde(default)]
    pub version: String,
    /// The hash of the `.deb`; empty in an entry without a pin.
    #[serde(default)]
    pub sha256: String,
    /// The configuration below tests/kernels, for a kernel that is built from source.
    #[serde(default)]
    pub config: Option<String>,
    /// Parameters for its command line.
    #[serde(default)]
    pub parameters: String,
    /// Whether the kernel has the multi-VMA move.
    pub native: bool,
    /// Why the kernel is tested.
    pub why: String,
}

/// Files of this machine that every test guest contains, besides the tests.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestExtras {
    /// Programs, looked up in `PATH`.
    #[serde(default)]
    pub programs: Vec<String>,
    /// Directories, copied with everything in them.
    #[serde(default)]
    pub directories: Vec<String>,
    /// Files of tests/tests, without `.rs`, that do not run in guests.
    #[serde(default)]
    pub host_only: Vec<String>,
    /// Those that `cargo xtask test` runs on the first and the last kernel only.
    #[serde(default)]
    pub sampled: Vec<String>,
}

/// A distribution whose loader and libc the library is tested with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Userland {
    /// The Debian suite.
    pub suite: String,
    /// The series of the kernel that the userland is booted on, too.
    #[serde(default)]
    pub kernel: Option<String>,
    /// Why it is tested.
    pub why: String,
}

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The kernels, oldest first.
    #[serde(rename = "kernel")]
    pub entries: Vec<Entry>,
    /// The source that the kernel's own tests are built from.
    pub selftests: Entry,
    /// The userlands.
    #[serde(rename = "userland", default)]
    pub userlands: Vec<Userland>,
    /// What the test guests contain besides the tests.
    #[serde(default)]
    pub guest: GuestExtras,
}

impl Catalogue {
    /// Reads the repository's catalogue.
    pub fn read() -> Result<Self> {
        let path = repo::root().join("tests/kernels.toml");
        let text = fs::read_to_string(&path)?;
        let catalogue: Self = toml::from_str(&text)
            .with_context(|| format!("{}: not a kernel catalogue", path.display()))?;
        let guest = &catalogue.guest;
        for name in guest.host_only.iter().chain(&guest.sampled) {
            if !repo::root().join("tests/tests").join(name).with_extension("rs").is_file() {
                bail!("{}: [guest] names {name}, which is not in tests/tests", path.display());
            }
        }
        Ok(catalogue)
    }

    /// The kernels of one processor.
    pub fn of(&self, arch: Arch) -> Vec<Entry> {
        let entries = self.entries.iter().filter(|entry| entry.arch == arch);
        entries.cloned().collect()
    }

    /// The entries of these series in the catalogue's order; without series all of one processor.
    pub fn select_of(&self, arch: Arch, series: &[String]) -> Result<Vec<Entry>> {
        if series.is_empty() {
            return Ok(self.of(arch));
        }
        self.select(series)
    }

    /// The entries of these series in the catalogue's order; without series all of them.
    pub fn select(&self, series: &[String]) -> Result<Vec<Entry>> {
        let known = self.entries.iter().map(|entry| entry.series.as_str()).collect::<Vec<_>>();
        if let Some(unknown) = series.iter().find(|wanted| !known.contains(&wanted.as_str())) {
            bail!("kernel {unknown}: not in tests/kernels.toml, which has {}", known.join(", "));
        }
        let wanted = |entry: &&Entry| series.is_empty() || series.contains(&entry.series);
        Ok(self.entries.iter().filter(wanted).cloned().collect())
    }
}
