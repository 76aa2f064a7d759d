//! Runs commands under a Debian kernel in QEMU and returns how each ended.
//!
//! A guest has no disk: [`initramfs`] packs its files, with the shared libraries that [`libraries`]
//! finds. Its first process runs the commands ([`script`]) and reports over a serial line
//! ([`protocol`]). [`qemu`] starts, watches and ends the machine.

mod initramfs;
mod libraries;
mod protocol;
mod qemu;
mod script;

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use self::qemu::Run;
use crate::arch::Arch;
use crate::kernels::Kernel;
use crate::repo;

/// Guests that run at the same time.
const PARALLEL_GUESTS: usize = 2;

/// Contents and commands of a guest.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Files and directories: path on this machine, path in the guest.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// Commands, run one after the other even if some fail.
    pub commands: Vec<GuestCommand>,
    /// The processor. Shared libraries are added automatically only for this machine's processor.
    pub arch: Arch,
    /// The busybox of the guest, if not this machine's.
    pub busybox: Option<PathBuf>,
    /// Limit for the whole run, including the boot.
    pub timeout: Duration,
}

/// One command line and its environment.
#[derive(Debug, Clone, Default)]
pub struct GuestCommand {
    /// Program and arguments, not interpreted by a shell. The guest's `PATH` is searched.
    pub argv: Vec<String>,
    /// Variables besides `PATH`, `HOME`, `TERM`, `MREMAP_KERNEL` and `MREMAP_KERNEL_NATIVE`.
    pub env: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct CommandOutcome {
    /// Exit status, or 128 + the number of the signal that killed it.
    pub status: i32,
    /// Standard output and standard error, interleaved.
    pub output: String,
    /// The kernel's log if it issued a warning or an oops while the command ran.
    pub kernel_log: Option<String>,
}

impl CommandOutcome {
    /// Whether it exited with 0 and the kernel logged no warning.
    pub fn is_success(&self) -> bool {
        self.status == 0 && self.kernel_log.is_none()
    }
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            commands: Vec::new(),
            arch: Arch::default(),
            busybox: None,
            timeout: Duration::from_mins(2),
        }
    }
}

impl Guest {
    /// Adds a file or a directory tree, with the shared libraries of its executables.
    pub fn add(&mut self, host: impl Into<PathBuf>, guest: impl Into<PathBuf>) -> &mut Self {
        self.files.push((host.into(), guest.into()));
        self
    }

    /// Adds a program found in `PATH`, under the same path. Returns that path.
    pub fn add_program(&mut self, name: &str) -> Result<PathBuf> {
        let path = repo::which(name)
            .with_context(|| format!("{name}: no such program on this machine"))?;
        let path = std::path::absolute(&path)?;
        self.add(&path, &path);
        Ok(path)
    }

    /// Adds a command without further variables.
    pub fn command<I: IntoIterator<Item: Into<String>>>(&mut self, argv: I) -> &mut Self {
        self.command_with(argv, &[])
    }

    /// Adds a command with environment variables.
    pub fn command_with<I: IntoIterator<Item: Into<String>>>(
        &mut self,
        argv: I,
        env: &[(&str, &str)],
    ) -> &mut Self {
        let argv = argv.into_iter().map(Into::into).collect();
        let env =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.commands.push(GuestCommand { argv, env });
        self
    }

    /// Packs the initramfs, which can be booted under any number of kernels.
    pub fn pack(&self) -> Result<Packed> {
        let directory = tempfile::tempdir().context("no temporary directory")?;
        let nonce = protocol::nonce();
        let init = script::init(&self.commands, &nonce, self.timeout, self.arch);
        let initrd = directory.path().join("initramfs");
        initramfs::write(&initrd, &init, self)?;
        Ok(Packed {
            directory,
            initrd,
            nonce,
            commands: self.commands.len(),
            timeout: self.timeout,
        })
    }
}

/// A guest ready to be booted.
#[derive(Debug)]
pub struct Packed {
    directory: TempDir,
    initrd: PathBuf,
    nonce: String,
    commands: usize,
    timeout: Duration,
}

impl Packed {
    /// Boots the guest under one kernel. `watch` receives the commands' output as it arrives.
    pub fn boot(
        &self,
        kernel: &Kernel,
        watch: &mut dyn FnMut(&[u8]),
    ) -> Result<Vec<CommandOutcome>> {
        let console = self.directory.path().join(format!("console-{}", kernel.series));
        let machine = qemu::Machine { kernel, initrd: &self.initrd, console: &console };
        let named = || format!("guest kernel {} ({})", kernel.series, kernel.version);
        let mut run = || {
            let reader = protocol::Reader::new(&self.nonce);
            machine.run(reader, self.timeout, watch).with_context(named)
        };
        // An emulated machine sometimes panics while it boots (7.3: one in 50 on a busy host). No
        // command has run by then, so it is started once more.
        let outcomes = match run()? {
            Run::Finished(outcomes) => outcomes,
            Run::NeverStarted(_) => {
                eprintln!("{}: did not boot; trying once more", named());
                match run()? {
                    Run::Finished(outcomes) => outcomes,
                    Run::NeverStarted(evidence) => bail!("{}: does not boot\n{evidence}", named()),
                }
            }
        };
        if outcomes.len() != self.commands {
            bail!(
                "guest kernel {}: {} of {} commands ran",
                kernel.series,
                outcomes.len(),
                self.commands
            );
        }
        Ok(outcomes)
    }
}

/// Boots a guest under one kernel and returns how each command ended.
///
/// # Errors
/// The guest did not reach its end: no QEMU, a panic, a hang. The error holds the console's tail.
pub fn run(kernel: &Kernel, guest: &Guest) -> Result<Vec<CommandOutcome>> {
    guest.pack()?.boot(kernel, &mut |_| ())
}

/// A guest's run under one kernel.
#[derive(Debug)]
pub struct GuestRun {
    /// How its commands ended, or why the guest failed.
    pub result: Result<Vec<CommandOutcome>>,
    /// Run time in seconds, including the boot.
    pub seconds: f64,
}

/// Boots one guest under several kernels, two at a time. Calls `done` for each one that ended.
pub fn run_each(
    kernels: &[Kernel],
    guest: &Guest,
    done: impl Fn(&Kernel, &GuestRun) + Sync,
) -> Result<Vec<GuestRun>> {
    let packed = guest.pack()?;
    let queue: Mutex<VecDeque<usize>> = Mutex::new((0..kernels.len()).collect());
    let results: Vec<Mutex<Option<GuestRun>>> = kernels.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while let Some(index) = next(&queue) {
            let start = Instant::now();
            let result = packed.boot(&kernels[index], &mut |_| ());
            let run = GuestRun { result, seconds: start.elapsed().as_secs_f64() };
            done(&kernels[index], &run);
            *results[index].lock().expect("no panic while it is held") = Some(run);
        }
    };
    thread::scope(|scope| (0..PARALLEL_GUESTS).for_each(|_| drop(scope.spawn(work))));
    let taken =
        results.into_iter().map(|slot| slot.into_inner().expect("no panic while it is held"));
    Ok(taken.map(|run| run.expect("every kernel had its turn")).collect())
}

fn next(queue: &Mutex<VecDeque<usize>>) -> Option<usize> {
    queue.lock().expect("no panic while it is held").pop_front()
}

/// What this machine lacks to run guests, or `None`.
pub fn missing() -> Option<String> {
    missing_in(&env::var_os("PATH").unwrap_or_default(), Arch::Amd64)
}

/// As [`missing`], searching the directories of `path`.
pub fn missing_in(path: &OsStr, arch: Arch) -> Option<String> {
    let (program, package) = arch.emulator();
    if repo::which_in(program, path).is_none() {
        return Some(format!("{program} is not installed (apt-get install {package})"));
    }
    if let Err(error) = initramfs::busybox() {
        return Some(format!("{error:#}"));
    }
    None
}

/// The path in the guest: `/bin`, `/lib64` and others become directories below `/usr`.
fn guest_path(path: &Path) -> PathBuf {
    let inside = path.strip_prefix("/").unwrap_or(path);
    let merged = initramfs::MERGED.iter().any(|name| inside.starts_with(name));
    if merged { Path::new("usr").join(inside) } else { inside.to_path_buf() }
}
