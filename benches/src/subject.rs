//! Runs the measured programs, with the preload library or without, and reads their figures.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::rounds::Series;

/// What is measured, and how thoroughly.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The preload library.
    pub shim: PathBuf,
    /// The analyzer.
    pub analyzer: PathBuf,
    /// The library that stands behind the preload library and does nothing.
    pub stub: PathBuf,
    /// A Python that has `DuckDB`, where one can be had.
    pub python: PathBuf,
    /// Where the measured programs are.
    pub programs: PathBuf,
    /// Where traces go, on the file system of the build.
    pub scratch: PathBuf,
    /// Fewer and shorter rounds: to see whether everything runs.
    pub is_quick: bool,
}

/// What is preloaded, and its settings without `MREMAP_SHIM_`.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    preload: Vec<PathBuf>,
    settings: Vec<(String, String)>,
}

impl Setup {
    /// Adds a library, behind those that are there.
    #[must_use]
    pub fn preload(mut self, library: &Path) -> Self {
        self.preload.push(library.to_owned());
        self
    }

    /// Adds a setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.settings
            .push((format!("MREMAP_SHIM_{name}"), value.as_ref().to_string_lossy().into_owned()));
        self
    }

    /// Applies it to a command.
    pub fn apply(&self, command: &mut Command) {
        command.env_remove("LD_PRELOAD");
        if !self.preload.is_empty() {
            let paths: Vec<_> = self.preload.iter().map(|path| path.to_string_lossy()).collect();
            command.env("LD_PRELOAD", paths.join(":"));
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
    }
}

impl Subject {
    /// The preload library alone, without a setting.
    pub fn shim(&self) -> Setup {
        Setup::default().preload(&self.shim)
    }

    /// A directory for traces that goes away with the value.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn trace_directory(&self) -> Result<tempfile::TempDir> {
        std::fs::create_dir_all(&self.scratch)
            .with_context(|| format!("{}: cannot be made", self.scratch.display()))?;
        Ok(tempfile::tempdir_in(&self.scratch)?)
    }

    /// Rounds of a suite that takes `rounds` when there is time.
    pub fn rounds(&self, rounds: usize) -> usize {
        if self.is_quick { 9 } else { rounds }
    }

    /// Runs a measured program to its end.
    ///
    /// # Errors
    /// It fails, with what it said.
    pub fn run(&self, program: &str, arguments: &[String], setup: &Setup) -> Result<Vec<Series>> {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments);
        setup.apply(&mut command);
        let output = command.output().with_context(|| format!("{program}: cannot be run"))?;
        if !output.status.success() {
            bail!(
                "{program} {}: {}\n{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        parse(&String::from_utf8_lossy(&output.stdout))
    }
}

/// The figures in what a measured program printed.
///
/// # Errors
/// There are none.
pub fn parse(output: &str) -> Result<Vec<Series>> {
    let line = output.lines().map(str::trim).find(|line| line.starts_with('['));
    let line = line.with_context(|| format!("a measured program printed no figures: {output}"))?;
    serde_json::from_str(line).context("a measured program's figures are no JSON")
}
