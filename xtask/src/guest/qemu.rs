//! Starts, watches and ends one virtual machine. QEMU emulates the processor, so no KVM is needed.

use fs_err as fs;
use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::CommandOutcome;
use super::protocol::Reader;
use crate::kernels::Kernel;

/// Lines of the console in an error.
const TAIL: usize = 40;

/// A machine to start.
pub struct Machine<'a> {
    pub kernel: &'a Kernel,
    pub initrd: &'a Path,
    /// The file that the kernel's console is written to.
    pub console: &'a Path,
}

impl Machine<'_> {
    /// Runs the machine until the guest finishes, or dies before its first command.
    pub fn run(
        &self,
        reader: Reader,
        timeout: Duration,
        watch: &mut dyn FnMut(&[u8]),
    ) -> Result<Run> {
        let mut command = self.command();
        let mut child = command.spawn().with_context(|| {
            let (program, package) = self.kernel.arch.emulator();
            format!("{program}: cannot be started; install it (apt-get install {package})")
        })?;
        let chunks = chunks(child.stdout.take().context("qemu has no stdout")?);
        let (reader, end) = listen(reader, &chunks, timeout, watch);
        let stderr = stop(&mut child, &end);
        let is_started = reader.is_started();
        let (outcomes, unfinished) = reader.into_parts();
        match end {
            End::Done => Ok(Run::Finished(outcomes)),
            End::Gone if !is_started => Ok(Run::NeverStarted(self.evidence(&unfinished, &stderr))),
            End::Timeout => bail!(
                "hangs: not finished after {} s, {} commands ended\n{}",
                timeout.as_secs(),
                outcomes.len(),
                self.evidence(&unfinished, &stderr)
            ),
            End::Gone => bail!(
                "died: {} commands ended\n{}",
                outcomes.len(),
                self.evidence(&unfinished, &stderr)
            ),
        }
    }

    fn command(&self) -> Command {
        let (arch, native) = (self.kernel.arch, u8::from(self.kernel.native));
        // The kernel passes unknown parameters to the first process as variables.
        let line = format!(
            "console={} quiet panic=-1 oops=panic mitigations=off {} MREMAP_KERNEL={} MREMAP_KERNEL_NATIVE={native}",
            arch.lines().0,
            self.kernel.parameters,
            // A series such as 6.1-arm64 is 6.1 for the tests.
            self.kernel.series.split('-').next().unwrap_or_default()
        );
        let mut command = Command::new(arch.emulator().0);
        command.args(["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"]);
        command.args(arch.machine()).args(["-accel", "tcg,thread=multi", "-m", "1G", "-smp", "2"]);
        command.arg("-serial").arg(format!("file:{}", self.console.display()));
        command.args(["-chardev", "stdio,id=line,signal=off"]).args(arch.second_serial());
        command
            .arg("-kernel")
            .arg(&self.kernel.vmlinuz)
            .arg("-initrd")
            .arg(self.initrd)
            .args(["-append", &line]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The text of an error: the running command's output, QEMU's stderr, the console's tail.
    fn evidence(&self, unfinished: &str, stderr: &str) -> String {
        let console =
            fs::read(self.console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let console = console.unwrap_or_default();
        let mut text = String::new();
        let titles = ["output of the running command", "QEMU's stderr", "end of the console"];
        for (title, part) in titles.into_iter().zip([unfinished, stderr, &console]) {
            if !part.trim().is_empty() {
                let _ = writeln!(text, "--- {title}:\n{}", tail(part));
            }
        }
        text
    }
}

/// How a machine's run ended.
pub enum Run {
    /// The guest finished all commands.
    Finished(Vec<CommandOutcome>),
    /// The kernel did not reach the first command; the text is for the error.
    NeverStarted(String),
}

enum End {
    Done,
    Gone,
    Timeout,
}

/// Reads the serial line until the guest finishes, dies or exceeds its time.
fn listen(
    mut reader: Reader,
    chunks: &Receiver<Vec<u8>>,
    timeout: Duration,
    watch: &mut dyn FnMut(&[u8]),
) -> (Reader, End) {
    let deadline = Instant::now() + timeout;
    loop {
        match chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(chunk) => reader.feed(&chunk, watch),
            Err(RecvTimeoutError::Disconnected) => return (reader, End::Gone),
            Err(RecvTimeoutError::Timeout) => return (reader, End::Timeout),
        }
        if reader.is_done() {
            return (reader, End::Done);
        }
    }
}

/// Reads the line in a thread, so that waiting for it can time out.
fn chunks(mut line: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 1 << 14];
        while let Ok(count @ 1..) = line.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Kills the machine unless it has ended, and returns QEMU's stderr.
fn stop(child: &mut Child, end: &End) -> String {
    if !matches!(end, End::Gone) {
        child.kill().ok();
    }
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut text).ok();
    }
    child.wait().ok();
    text
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
