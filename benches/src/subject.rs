//! Runs the measuring programs, with the preload library or without it, and reads their figures.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::rounds::Series;

/// The built files, and the settings of a run.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The preload library.
    pub shim: PathBuf,
    /// The analyzer.
    pub analyzer: PathBuf,
    /// The library whose `mremap` returns at once.
    pub stub: PathBuf,
    /// A Python with `DuckDB`, if it could be installed.
    pub python: PathBuf,
    /// Directory of the measuring programs.
    pub programs: PathBuf,
    /// Directory of traces, on the file system of the build.
    pub scratch: PathBuf,
    /// Whether to run fewer rounds.
    pub is_quick: bool,
}

/// Preloaded libraries, and settings.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    preload: Vec<PathBuf>,
    settings: Vec<(String, String)>,
}

impl Setup {
    /// Appends a library.
    #[must_use]
    pub fn preload(mut self, library: &Path) -> Self {
        self.preload.push(library.to_owned());
        self
    }

    /// Adds the setting `MREMAP_SHIM_NAME`.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.settings
            .push((format!("MREMAP_SHIM_{name}"), value.as_ref().to_string_lossy().into_owned()));
        self
    }

    /// Applies the setup to a command.
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
    /// The preload library without settings.
    pub fn shim(&self) -> Setup {
        Setup::default().preload(&self.shim)
    }

    /// Creates a directory for traces, removed on drop.
    pub fn trace_directory(&self) -> Result<tempfile::TempDir> {
        fs_err::create_dir_all(&self.scratch)?;
        Ok(tempfile::tempdir_in(&self.scratch)?)
    }

    /// The number of rounds: `rounds`, or fewer in a quick run.
    pub fn rounds(&self, rounds: usize) -> usize {
        if self.is_quick { 9 } else { rounds }
    }

    /// Runs a measuring program and returns its figures.
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

/// Parses a measuring program's output.
pub fn parse(output: &str) -> Result<Vec<Series>> {
    let line = output.lines().map(str::trim).find(|line| line.starts_with('['));
    let line = line.with_context(|| format!("a measuring program printed no figures: {output}"))?;
    serde_json::from_str(line).context("a measuring program's figures are not JSON")
}
