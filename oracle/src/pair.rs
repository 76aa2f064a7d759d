//! Two runners: one without the preload library, one under it in mode `emulate`.

use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::case::{Case, Features};
use crate::observation::Words;
use crate::sandbox::Sandbox;

/// How the runners of a pair are started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This program.
    pub program: PathBuf,
    /// The preload library.
    pub shim: PathBuf,
    /// `mremap-analyzer`, where its tracer emulates instead of the library.
    pub tracer: Option<PathBuf>,
    /// Directory for the runners' files.
    pub scratch: PathBuf,
    /// `MREMAP_SHIM_VMA_SOURCE`.
    pub source: String,
    #[allow(missing_docs)]
    pub seed: u64,
    #[allow(missing_docs)]
    pub features: Features,
    #[allow(missing_docs)]
    pub sandbox: Sandbox,
}

/// A runner and its pipes.
#[derive(Debug)]
struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Setup {
    /// Who emulates: the tracer, or the library by a method to find VMAs.
    pub fn emulator(&self) -> String {
        match self.tracer {
            Some(_) => "the tracer".to_owned(),
            None => format!("source {}", self.source),
        }
    }
}

impl Process {
    fn start(setup: &Setup, is_emulated: bool) -> Result<Self> {
        let mut command = match &setup.tracer {
            Some(tracer) if is_emulated => {
                let mut command = Command::new(tracer);
                command.args(["run", "--reach", "all", "--mode", "emulate"]);
                // Each case runs in a child: a trace for each would fill the disk.
                command.arg("--no-children").arg("--trace").arg(setup.scratch.join("traces"));
                command.arg("--").arg(&setup.program);
                command
            }
            _ => Command::new(&setup.program),
        };
        command
            .arg("runner")
            .args(["--seed", &setup.seed.to_string()])
            .args(["--features", &setup.features.0.to_string()])
            .args(["--sandbox", setup.sandbox.name()])
            .arg("--scratch")
            .arg(&setup.scratch)
            .env_remove("LD_PRELOAD");
        for setting in ["MODE", "TRACE", "TRACE_SIZE", "TRACE_DETAIL", "VMA_SOURCE"] {
            command.env_remove(format!("MREMAP_SHIM_{setting}"));
        }
        if is_emulated && setup.tracer.is_none() {
            command
                .env("LD_PRELOAD", &setup.shim)
                .env("MREMAP_SHIM_MODE", "emulate")
                .env("MREMAP_SHIM_VMA_SOURCE", &setup.source);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}: cannot be started", setup.program.display()))?;
        let stdin = child.stdin.take().context("no pipe")?;
        let stdout = child.stdout.take().context("no pipe")?;
        Ok(Self { child, stdin, stdout: BufReader::with_capacity(1 << 18, stdout) })
    }

    fn send(&mut self, line: &str) -> Result<()> {
        writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush()).context("a runner died")
    }

    fn receive(&mut self) -> Result<Words> {
        let mut word = [0; 8];
        let mut read =
            |into: &mut [u8]| self.stdout.read_exact(into).context("a runner ended early");
        read(&mut word)?;
        let mut bytes = vec![0; u64::from_ne_bytes(word) as usize * 8];
        read(&mut bytes)?;
        let words = bytes.chunks_exact(8);
        Ok(words.map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())).collect())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The outcomes of one case in both runners.
#[derive(Debug)]
pub struct Outcomes {
    /// The kernel's.
    pub native: Words,
    /// The library's.
    pub emulated: Words,
}

impl Outcomes {
    /// Whether they are equal.
    pub fn agree(&self) -> bool {
        self.native == self.emulated
    }
}

/// A pair of runners.
#[derive(Debug)]
pub struct Pair {
    native: Process,
    emulated: Process,
}

impl Pair {
    /// Starts both, and checks that the library was loaded: on failure `ld.so` only warns.
    pub fn start(setup: &Setup) -> Result<Self> {
        let pair =
            Self { native: Process::start(setup, false)?, emulated: Process::start(setup, true)? };
        if setup.tracer.is_none() {
            pair.assert_preloaded(&setup.shim)?;
        }
        Ok(pair)
    }

    fn assert_preloaded(&self, shim: &Path) -> Result<()> {
        let maps = format!("/proc/{}/maps", self.emulated.child.id());
        let name = shim.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The loader may not have run yet.
        for _ in 0..500 {
            if std::fs::read_to_string(&maps).context("a runner died")?.contains(&name) {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        anyhow::bail!("{}: was not loaded; is it built for this machine?", shim.display())
    }

    /// Runs cases `first..first + count` in both, and calls `judge` with the outcomes of each.
    pub fn run_numbers(
        &mut self,
        first: u64,
        count: u64,
        mut judge: impl FnMut(u64, &Outcomes) -> Result<()>,
    ) -> Result<()> {
        let line = format!("seeds {first} {count}");
        self.native.send(&line)?;
        self.emulated.send(&line)?;
        for number in first..first + count {
            let outcomes = self.receive()?;
            judge(number, &outcomes)?;
        }
        Ok(())
    }

    /// Runs one case in both.
    pub fn run(&mut self, case: &Case) -> Result<Outcomes> {
        let line = format!("case {}", serde_json::to_string(case)?);
        self.native.send(&line)?;
        self.emulated.send(&line)?;
        self.receive()
    }

    fn receive(&mut self) -> Result<Outcomes> {
        Ok(Outcomes { native: self.native.receive()?, emulated: self.emulated.receive()? })
    }
}
