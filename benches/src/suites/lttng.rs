//! LTTng-UST as a peer: a session, and a wrapper library that records every `mremap`
//! (`benches/peers`).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use wait_timeout::ChildExt as _;

use crate::limited;
use crate::subject::Subject;

const SESSION: &str = "mremap-bench";

/// A recording session and the wrapper to preload. The session ends on drop.
pub struct Session {
    directory: tempfile::TempDir,
    daemon: Child,
    /// The wrapper library.
    pub wrapper: PathBuf,
}

impl Session {
    /// Compiles the wrapper and starts a session.
    ///
    /// # Errors
    /// `LTTng`, its headers or a C compiler is missing, or the session is refused.
    pub fn begin(subject: &Subject) -> Result<Self> {
        let directory = subject.trace_directory()?;
        let wrapper = compile(directory.path())?;
        let daemon = Command::new("lttng-sessiond")
            .env("LTTNG_HOME", directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("lttng-sessiond is not installed (Debian: lttng-tools)")?;
        let session = Self { directory, daemon, wrapper };
        session.start()?;
        Ok(session)
    }

    fn start(&self) -> Result<()> {
        let output = format!("--output={}", self.directory.path().join("trace").display());
        // The daemon needs a moment to start.
        let created = (0..50).any(|_| {
            thread::sleep(Duration::from_millis(100));
            self.lttng(&["create", SESSION, &output]).is_ok()
        });
        ensure!(created, "lttng create: refused");
        let channel =
            ["enable-channel", "--userspace", "--subbuf-size=1M", "--num-subbuf=8", "calls"];
        self.lttng(&channel)?;
        self.lttng(&["enable-event", "--userspace", "--channel=calls", "mremap_bench:call"])?;
        self.lttng(&["start"])
    }

    fn lttng(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("lttng");
        command.args(arguments).env("LTTNG_HOME", self.directory.path());
        limited::output(&mut command).with_context(|| arguments.join(" "))?;
        Ok(())
    }

    /// Bytes of the recorded events. Zero means that nothing was measured.
    pub fn recorded_bytes(&self) -> Result<u64> {
        self.lttng(&["stop"])?;
        let bytes = size_of_files(&self.directory.path().join("trace"));
        self.lttng(&["start"])?;
        Ok(bytes)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.lttng(&["destroy", SESSION]);
        // SAFETY: our child, not waited for yet. It ends its consumers itself.
        unsafe { libc::kill(self.daemon.id() as libc::pid_t, libc::SIGTERM) };
        if !matches!(self.daemon.wait_timeout(Duration::from_secs(10)), Ok(Some(_))) {
            limited::end(&mut self.daemon);
        }
    }
}

fn compile(directory: &Path) -> Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let wrapper = directory.join("liblttng_mremap.so");
    let mut command = Command::new("cc");
    command
        .args(["-O2", "-fPIC", "-shared", "-I"])
        .arg(&sources)
        .arg("-o")
        .arg(&wrapper)
        .arg(sources.join("lttng_mremap.c"))
        .args(["-llttng-ust", "-ldl"]);
    limited::output(&mut command)
        .context("the wrapper cannot be compiled (Debian: liblttng-ust-dev)")?;
    Ok(wrapper)
}

fn size_of_files(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => size_of_files(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
