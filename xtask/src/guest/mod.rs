//! Guests: a Debian kernel under QEMU that runs a list of commands and says how each ended.
//!
//! A guest has no disk. Whatever it needs travels in its initramfs ([`initramfs`], with the shared libraries that
//! [`libraries`] finds); its first process runs the commands ([`script`]) and reports over a serial line
//! ([`protocol`]); [`qemu`] starts, watches and ends the machine. Which kernels there are is not known here.

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

/// How many guests run at once.
const AT_ONCE: usize = 2;

/// What a guest contains and does.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Files and directories: where they are here, where they go there.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// The commands, run one after the other whatever becomes of each.
    pub commands: Vec<GuestCommand>,
    /// Its processor; shared libraries come along by themselves only where it is this machine's.
    pub arch: Arch,
    /// The busybox that it starts from, when it is not this machine's.
    pub busybox: Option<PathBuf>,
    /// How long the guest may take in all, its start included.
    pub timeout: Duration,
}

/// One command line and its environment.
#[derive(Debug, Clone, Default)]
pub struct GuestCommand {
    /// Program and arguments, as they are: no shell reads them. A program without a slash is looked up in the guest.
    pub argv: Vec<String>,
    /// Variables beside `PATH`, `HOME`, `TERM` and the kernel's own (`MREMAP_KERNEL`, `MREMAP_KERNEL_NATIVE`).
    pub env: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct CommandOutcome {
    /// Its exit status; 128 and the signal's number when a signal ended it.
    pub status: i32,
    /// What it wrote to stdout and stderr, in order.
    pub output: String,
    /// How long it ran.
    pub seconds: f64,
    /// What the kernel logged, when it complained (a warning or an oops) while the command ran.
    pub kernel_log: Option<String>,
}

impl CommandOutcome {
    /// Whether it exited with 0 and the kernel did not complain.
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
    /// Adds a file or a whole directory at a place of its own. Shared libraries of what is executable come along.
    pub fn add(&mut self, host: impl Into<PathBuf>, guest: impl Into<PathBuf>) -> &mut Self {
        self.files.push((host.into(), guest.into()));
        self
    }

    /// Adds a program of this machine, found in `PATH`, where it is here; returns that place.
    pub fn add_program(&mut self, name: &str) -> Result<PathBuf> {
        let path = repo::which(name)
            .with_context(|| format!("{name}: no such program on this machine"))?;
        let path = std::path::absolute(&path)?;
        self.add(&path, &path);
        Ok(path)
    }

    /// Adds a command without an environment of its own.
    pub fn command<I: IntoIterator<Item: Into<String>>>(&mut self, argv: I) -> &mut Self {
        self.command_with(argv, &[])
    }

    /// Adds a command with variables.
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

    /// Makes the initramfs. One serves any number of kernels.
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
    /// Boots it under one kernel. `watch` sees the commands' output as it comes.
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
        // An emulated machine panics now and then while it boots (seen in one of 50 starts of 7.3 on a busy host).
        // Nothing of ours has run by then, so it is started once more; a second time is an error.
        let outcomes = match run()? {
            Run::Through(outcomes) => outcomes,
            Run::NeverStarted(_) => {
                eprintln!("{}: did not start; trying once more", named());
                match run()? {
                    Run::Through(outcomes) => outcomes,
                    Run::NeverStarted(evidence) => bail!("{}: does not start\n{evidence}", named()),
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
/// An error means that the guest did not get to its end: no QEMU, a panic, a hang. It carries the console's tail.
pub fn run(kernel: &Kernel, guest: &Guest) -> Result<Vec<CommandOutcome>> {
    guest.pack()?.boot(kernel, &mut |_| ())
}

/// What became of a guest under one kernel.
#[derive(Debug)]
pub struct GuestRun {
    /// How its commands ended, or why it did not get there.
    pub result: Result<Vec<CommandOutcome>>,
    /// How long it took.
    pub seconds: f64,
}

/// Boots one guest under several kernels, two at a time; `done` hears of each as it ends.
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
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    let taken =
        results.into_iter().map(|slot| slot.into_inner().expect("no panic while it is held"));
    Ok(taken.map(|run| run.expect("every kernel had its turn")).collect())
}

fn next(queue: &Mutex<VecDeque<usize>>) -> Option<usize> {
    queue.lock().expect("no panic while it is held").pop_front()
}

/// What is missing on this machine for running guests, as a sentence; nothing when nothing is.
pub fn missing() -> Option<String> {
    missing_in(&env::var_os("PATH").unwrap_or_default(), Arch::Amd64)
}

/// As [`missing`], with programs looked for in these directories.
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

/// The place in the guest of a path of this machine: links such as `/bin` and `/lib64` lead to `/usr` there.
fn guest_path(path: &Path) -> PathBuf {
    let inside = path.strip_prefix("/").unwrap_or(path);
    let merged = initramfs::MERGED.iter().any(|name| inside.starts_with(name));
    if merged { Path::new("usr").join(inside) } else { inside.to_path_buf() }
}
