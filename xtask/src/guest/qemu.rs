//! One virtual machine: started, listened to, ended. It emulates the processor, so no hardware support is needed.

use std::fmt::Write as _;
use std::fs;
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

/// How much of the console an error shows.
const TAIL: usize = 40;

/// A machine about to be started.
pub struct Machine<'a> {
    pub kernel: &'a Kernel,
    pub initrd: &'a Path,
    /// Where the kernel's console goes.
    pub console: &'a Path,
}

impl Machine<'_> {
    /// Runs the machine until the guest says it is through, or is gone before its first command.
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
        let pieces = pieces(child.stdout.take().context("qemu has no stdout")?);
        let (reader, end) = listen(reader, &pieces, timeout, watch);
        let complaint = stop(&mut child, &end);
        let is_started = reader.is_started();
        let (outcomes, unfinished) = reader.into_parts();
        match end {
            End::Done => Ok(Run::Through(outcomes)),
            End::Gone if !is_started => {
                Ok(Run::NeverStarted(self.evidence(&unfinished, &complaint)))
            }
            End::Timeout => bail!(
                "hangs: not through after {} s, {} commands ended\n{}",
                timeout.as_secs(),
                outcomes.len(),
                self.evidence(&unfinished, &complaint)
            ),
            End::Gone => bail!(
                "stopped before its end: {} commands ended\n{}",
                outcomes.len(),
                self.evidence(&unfinished, &complaint)
            ),
        }
    }

    fn command(&self) -> Command {
        let (arch, native) = (self.kernel.arch, u8::from(self.kernel.native));
        // What the kernel does not know itself becomes a variable of the first process.
        let line = format!(
            "console={} quiet panic=-1 oops=panic mitigations=off MREMAP_KERNEL={} MREMAP_KERNEL_NATIVE={native}",
            arch.lines().0,
            // Tests know a kernel by its numbers.
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

    /// What an error shows: the output of the command that was running, QEMU's own complaint, the console's end.
    fn evidence(&self, unfinished: &str, complaint: &str) -> String {
        let console =
            fs::read(self.console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let console = console.unwrap_or_default();
        let mut text = String::new();
        let titles = ["the command that was running printed", "qemu said", "the console's end"];
        for (title, part) in titles.into_iter().zip([unfinished, complaint, &console]) {
            if !part.trim().is_empty() {
                let _ = writeln!(text, "--- {title}:\n{}", tail(part));
            }
        }
        text
    }
}

/// How a machine's run ended, where it did not fail.
pub enum Run {
    /// The guest got to its end.
    Through(Vec<CommandOutcome>),
    /// The kernel did not get to the first command; here is what there was to see.
    NeverStarted(String),
}

enum End {
    Done,
    Gone,
    Timeout,
}

/// Reads the serial line until the guest is through, gone, or late.
fn listen(
    mut reader: Reader,
    pieces: &Receiver<Vec<u8>>,
    timeout: Duration,
    watch: &mut dyn FnMut(&[u8]),
) -> (Reader, End) {
    let deadline = Instant::now() + timeout;
    loop {
        match pieces.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(piece) => reader.feed(&piece, watch),
            Err(RecvTimeoutError::Disconnected) => return (reader, End::Gone),
            Err(RecvTimeoutError::Timeout) => return (reader, End::Timeout),
        }
        if reader.is_done() {
            return (reader, End::Done);
        }
    }
}

/// What comes on the line, read by a thread of its own so that waiting for it can end.
fn pieces(mut line: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
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

/// Ends the machine, which may have ended itself, and returns what QEMU wrote to stderr.
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
