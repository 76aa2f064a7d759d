//! The self-test: this very program, started again, makes three calls of `mremap` on pages of its own and tells
//! what came of them. Natively that shows what the kernel can do; under the shim, that the hooks fire.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use mremap_plan::procmap::{PROCMAP_QUERY, ProcmapQuery};
use serde::{Deserialize, Serialize};

use crate::program;

/// The hidden command.
pub const COMMAND: &str = "self-test";
/// `mseal`, of Linux 6.10: the same number everywhere.
const SYS_MSEAL: libc::c_long = 462;
/// Whatever the page size: a multiple of it.
const PAGE: usize = 64 << 10;
const MARK: u8 = 0x6d;

/// What came of it: errnos, 0 for success.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answers {
    /// A growth, by libc's symbol.
    pub grow: i32,
    /// A shrink, by number through libc's `syscall`.
    pub by_number: i32,
    /// A move over two VMAs and a gap.
    pub several: i32,
    /// The bytes arrived, and what lay under the gap's target is there.
    pub intact: bool,
    /// What else the kernel has; not asked under the shim.
    pub machine: Option<Machine>,
}

/// What else the kernel has: errnos, 0 for success.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The ioctl on `/proc/self/maps`, 6.11.
    pub procmap_query: i32,
    /// `mseal`, 6.10.
    pub mseal: i32,
    /// `userfaultfd` for one's own faults.
    pub userfaultfd: i32,
}

/// What is tried under the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// What it does by itself.
    Auto,
    /// Emulation where the kernel has the feature.
    Emulate,
    /// The calls that libc makes to itself.
    OwnCallsOfLibc,
}

impl Trial {
    fn mode(self) -> &'static str {
        match self {
            Self::Emulate => "emulate",
            Self::Auto | Self::OwnCallsOfLibc => "auto",
        }
    }
}

/// Calls that a self-test makes.
pub const CALLS: usize = 3;

/// The child's side: makes the calls and tells.
///
/// # Errors
/// Standard output cannot be written.
pub fn answer(machine: bool, realloc: bool, out: &mut dyn Write) -> Result<()> {
    let mut answers = make_calls();
    if realloc {
        grow_by_realloc();
    }
    answers.machine = machine.then(ask_machine);
    serde_json::to_writer(&mut *out, &answers)?;
    writeln!(out)?;
    Ok(())
}

/// Starts the self-test without the shim.
///
/// # Errors
/// Why it told nothing.
pub fn natively() -> Result<Answers, String> {
    let mut command = child()?;
    command.arg("--machine").env_remove("LD_PRELOAD");
    listen(&mut command).map(|(answers, _)| answers)
}

/// Starts the self-test under the shim, recorded in a directory; what it and the loader said on stderr.
///
/// # Errors
/// Why it told nothing.
pub fn under_shim(
    library: &Path,
    traces: &Path,
    trial: Trial,
) -> Result<(Answers, String), String> {
    let mut command = child()?;
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MREMAP_SHIM_") {
            command.env_remove(name);
        }
    }
    if trial == Trial::OwnCallsOfLibc {
        command.arg("--realloc").env("MREMAP_SHIM_LIBC", "patch");
    }
    command
        .env("LD_PRELOAD", library)
        .env("MREMAP_SHIM_TRACE", traces)
        .env("MREMAP_SHIM_TRACE_SIZE", "1M")
        .env("MREMAP_SHIM_MODE", trial.mode());
    listen(&mut command)
}

fn child() -> Result<Command, String> {
    let own = program::own_path().ok_or("cannot find this program's own path")?;
    let mut command = Command::new(own);
    command.arg(COMMAND);
    Ok(command)
}

fn listen(command: &mut Command) -> Result<(Answers, String), String> {
    let output =
        command.output().map_err(|error| format!("the self-test cannot be started ({error})"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if let Some(signal) = output.status.signal() {
        return Err(format!("the self-test was killed by signal {signal} {said}"));
    }
    serde_json::from_slice(&output.stdout)
        .map(|answers| (answers, said.clone()))
        .map_err(|_| format!("the self-test told nothing ({}) {said}", output.status))
}

/// Memory too large for the heap: glibc maps it, and grows it by an `mremap` of its own.
fn grow_by_realloc() {
    const LARGE: usize = 4 << 20;
    let mut bytes: Vec<u8> = Vec::with_capacity(LARGE);
    bytes.push(MARK);
    bytes.reserve_exact(2 * LARGE);
    std::hint::black_box(&bytes);
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(-1)
}

/// Fresh memory of so many pages, or nothing.
fn map(pages: usize) -> Option<*mut u8> {
    // SAFETY: an anonymous mapping at a place of the kernel's choice touches nothing that exists.
    let place = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            pages * PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    (place != libc::MAP_FAILED).then_some(place.cast())
}

fn make_calls() -> Answers {
    let mut answers = Answers::default();
    let (Some(small), Some(source), Some(target)) = (map(1), map(3), map(3)) else {
        answers.grow = errno();
        return answers;
    };
    // SAFETY: `small` is a mapping of our own, and nothing but its addresses is used afterwards.
    let grown = unsafe { libc::mremap(small.cast(), PAGE, 2 * PAGE, libc::MREMAP_MAYMOVE) };
    if grown == libc::MAP_FAILED {
        answers.grow = errno();
    } else {
        // SAFETY: the same mapping, and its second half is nobody's.
        let shrunk = unsafe { libc::syscall(libc::SYS_mremap, grown, 2 * PAGE, PAGE, 0, 0) };
        answers.by_number = if shrunk == -1 { errno() } else { 0 };
    }
    (answers.several, answers.intact) = move_several(source, target);
    answers
}

/// ```text
///  source  | rw- |     | r-- |   --->  target  | rw- | kept | r-- |
/// ```
fn move_several(source: *mut u8, target: *mut u8) -> (i32, bool) {
    // SAFETY: both ranges are three pages of our own; what is unmapped and moved away is not touched again, and
    // the bytes read lie in pages that are mapped whether the move succeeded or not.
    unsafe {
        source.write(MARK);
        target.add(PAGE).write(MARK);
        libc::munmap(source.add(PAGE).cast(), PAGE);
        libc::mprotect(source.add(2 * PAGE).cast(), PAGE, libc::PROT_READ);
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let moved = libc::mremap(source.cast(), 3 * PAGE, 3 * PAGE, flags, target);
        if moved == libc::MAP_FAILED {
            return (errno(), false);
        }
        (0, target.read() == MARK && target.add(PAGE).read() == MARK)
    }
}

fn ask_machine() -> Machine {
    Machine {
        procmap_query: ask_procmap_query(),
        mseal: ask_mseal(),
        userfaultfd: ask_userfaultfd(),
    }
}

fn ask_procmap_query() -> i32 {
    use std::os::fd::AsRawFd;
    let maps = match std::fs::File::open("/proc/self/maps") {
        Ok(maps) => maps,
        Err(error) => return error.raw_os_error().unwrap_or(-1),
    };
    let mut query = ProcmapQuery::at_or_above(0, 0, 0);
    // SAFETY: the ioctl reads and writes the one struct, whose size it is told, and no name or build id.
    let answer = unsafe {
        libc::ioctl(maps.as_raw_fd(), libc::c_ulong::from(PROCMAP_QUERY), &raw mut query)
    };
    if answer == -1 { errno() } else { 0 }
}

/// No flags are defined, so that an `EINVAL` tells that the call is there.
fn ask_mseal() -> i32 {
    // SAFETY: undefined flags are refused before any address is looked at.
    let answer = unsafe { libc::syscall(SYS_MSEAL, 0, 0, libc::c_ulong::MAX) };
    match errno() {
        _ if answer != -1 => 0,
        libc::EINVAL => 0,
        other => other,
    }
}

fn ask_userfaultfd() -> i32 {
    const UFFD_USER_MODE_ONLY: libc::c_int = 1;
    match open_userfaultfd(UFFD_USER_MODE_ONLY) {
        // Linux 5.10 has no such flag.
        libc::EINVAL => open_userfaultfd(0),
        answer => answer,
    }
}

fn open_userfaultfd(flags: libc::c_int) -> i32 {
    // SAFETY: a descriptor is made and closed, registered with no memory.
    unsafe {
        let descriptor = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | flags);
        if descriptor == -1 {
            return errno();
        }
        libc::close(descriptor as libc::c_int);
    }
    0
}
