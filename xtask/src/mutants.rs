//! Tests the oracle: each patch of `oracle/mutants` breaks one rule in a copy of the library's
//! sources, and the oracle or an example must notice it within a minute.
//!
//! A patch's first line says what it breaks. `Finder:` says what must notice it: `oracle` with
//! further options of its own, or `example NAME`, a program that checks the rule itself.

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mremap_tests::artifacts::Artifacts;

use crate::repo;

/// Time limit of a finder, in seconds.
const SECONDS: u64 = 60;

/// What the copied workspace consists of.
const MEMBERS: [&str; 4] = ["plan", "trace", "settings", "shim"];

/// One way to break the library.
struct Mutant {
    patch: PathBuf,
    title: String,
    finder: Vec<String>,
}

/// Builds and tests every mutant; fails if one goes unnoticed or cannot be built.
pub fn run(seed: u64) -> Result<ExitCode> {
    let artifacts = Artifacts::prepare()?;
    let home = artifacts.root.with_file_name("mutants");
    let mutants = mutants()?;
    let mut unnoticed = 0;
    for mutant in &mutants {
        let shim = mutant.build(&home).with_context(|| mutant.patch.display().to_string())?;
        let start = Instant::now();
        let is_noticed = mutant.is_noticed(&artifacts, &shim, seed)?;
        let seconds = start.elapsed().as_secs_f64();
        let verdict = if is_noticed { "noticed" } else { "NOT NOTICED" };
        println!("{seconds:>6.1} s  {verdict}: {}", mutant.title);
        unnoticed += usize::from(!is_noticed);
    }
    println!("mutants: {} passed, {unnoticed} failed", mutants.len() - unnoticed);
    Ok(if unnoticed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the patches, sorted by name.
fn mutants() -> Result<Vec<Mutant>> {
    let patches = repo::files_below(&repo::root().join("oracle/mutants"))?;
    patches.into_iter().map(Mutant::read).collect()
}

impl Mutant {
    fn read(patch: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&patch)?;
        let finder = text.lines().find_map(|line| line.strip_prefix("Finder: "));
        let finder = finder.with_context(|| format!("{}: no Finder line", patch.display()))?;
        let finder = finder.split(' ').map(str::to_owned).collect();
        let title = text.lines().next().unwrap_or_default().to_owned();
        Ok(Self { patch, title, finder })
    }

    /// Builds the broken library from a copy of the sources, in a target directory of its own.
    fn build(&self, home: &Path) -> Result<PathBuf> {
        let sources = home.join("sources");
        let _ = fs::remove_dir_all(&sources);
        for folder in MEMBERS.iter().chain(&[".cargo"]) {
            for file in repo::files_below(&repo::root().join(folder))? {
                let to = sources.join(file.strip_prefix(repo::root())?);
                fs::create_dir_all(to.parent().unwrap_or(&sources))?;
                fs::copy(file, to)?;
            }
        }
        fs::copy(repo::root().join("Cargo.lock"), sources.join("Cargo.lock"))?;
        let mut manifest: toml::Table =
            fs::read_to_string(repo::root().join("Cargo.toml"))?.parse()?;
        manifest["workspace"]["members"] = MEMBERS.map(toml::Value::from).to_vec().into();
        fs::write(sources.join("Cargo.toml"), manifest.to_string())?;
        repo::run(self.apply(&[]).current_dir(&sources).env("GIT_CEILING_DIRECTORIES", home))?;
        let mut cargo = repo::cargo();
        cargo
            .current_dir(&sources)
            .args(["build", "--quiet", "--release", "--offline", "-p", "mremap-shim"])
            .arg("--target-dir")
            .arg(home.join("target"))
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        repo::capture(&mut cargo)?;
        Ok(home.join("target/release/libmremap_shim.so"))
    }

    fn apply(&self, options: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.arg("apply").args(options).arg(&self.patch);
        git
    }

    fn is_noticed(&self, artifacts: &Artifacts, shim: &Path, seed: u64) -> Result<bool> {
        // A signal must arrive at the right moment for an example to notice: one run in forty.
        let is_repeated = self.finder[0] == "example";
        let start = Instant::now();
        loop {
            if self.is_noticed_once(artifacts, shim, seed)? {
                return Ok(true);
            }
            if !is_repeated || start.elapsed().as_secs() >= SECONDS {
                return Ok(false);
            }
        }
    }

    fn is_noticed_once(&self, artifacts: &Artifacts, shim: &Path, seed: u64) -> Result<bool> {
        let mut command = match self.finder.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["oracle", ref options @ ..] => {
                let mut oracle = Command::new(artifacts.oracle());
                oracle.arg("compare").arg("--shim").arg(shim);
                oracle.arg("--named").arg(repo::root().join("oracle/named")).args(options);
                oracle.args(["--cases", "1000000", "--seed", &seed.to_string()]);
                oracle.args(["--seconds", &SECONDS.to_string()]);
                oracle
            }
            ["example", name] => {
                let mut example = Command::new(artifacts.example(name));
                example.env("LD_PRELOAD", shim).env("MREMAP_SHIM_MODE", "emulate");
                example
            }
            _ => bail!("{}: Finder is neither oracle nor example NAME", self.patch.display()),
        };
        let output = command.stdin(Stdio::null()).output().context("the finder cannot be run")?;
        // Both exit with 1 for an error found. An example may also crash in a broken process.
        match output.status.code() {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            None if self.finder[0] == "example" => Ok(true),
            _ => {
                let stderr = String::from_utf8_lossy(&output.stderr);
                bail!("the finder failed: {}\n{stderr}", output.status)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_applies() {
        let mutants = mutants().unwrap();
        assert!(!mutants.is_empty(), "there are patches");
        for mutant in mutants {
            repo::capture(mutant.apply(&["--check"]).current_dir(repo::root())).unwrap();
        }
    }
}
