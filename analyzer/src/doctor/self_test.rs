//! The self-test. This program, started once more, makes three calls of `mremap` on its own pages
//! and prints the results. Without the shim they show what the kernel supports; under the shim,
//! that the hooks work.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use mremap_plan::procmap::{PROCMAP_QUERY, ProcmapQuery};
use mremap_settings::{LIBC, MODE, Setting, TRACE, TRACE_SIZE};
use serde::{Deserialize, Serialize};

use crate::program;

/// The hidden command.
pub const COMMAND: &str = "self-test";
/// `mseal`, of Linux 6.10: the same number everywhere.
const SYS_MSEAL: libc::c_long = 462;
/// A multiple of every page size.
const PAGE: usize = 64 << 10;
const MARK: u8 = 0x6d;

/// Results of the calls: an errno each, 0 for success.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// A growth, through the symbol `mremap`.
    pub grow: i32,
    /// A shrink, through `syscall`.
    pub by_number: i32,
    /// A move over two VMAs and a gap.
    pub several: i32,
    /// Whether the bytes arrived, and the mapping under the gap's target is still there.
    pub intact: bool,
    /// Other features of the kernel; not tried under the shim.
    pub machine: Option<Machine>,
}

/// Other features of the kernel: an errno each, 0 for success.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The ioctl on `/proc/self/maps`, Linux 6.11.
    pub procmap_query: i32,
    /// `mseal`, Linux 6.10.
    pub mseal: i32,
    /// `userfaultfd` for faults in user mode.
    pub userfaultfd: i32,
}

/// The setting of the shim that a self-test tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// The default mode.
    Auto,
    /// Emulation on any kernel.
    Emulate,
    /// Recording of the calls that libc makes to itself.
    LibcCalls,
}

impl Trial {
    fn variable(self) -> (&'static Setting, &'static str) {
        match self {
            Self::Auto => (&MODE, "auto"),
            Self::Emulate => (&MODE, "emulate"),
            Self::LibcCalls => (&LIBC, "patch"),
        }
    }
}

/// How many calls a self-test makes.
pub const CALLS: usize = 3;

/// Makes the calls and prints the results as JSON.
pub fn run(machine: bool, realloc: bool, out: &mut dyn Write) -> Result<()> {
    let mut results = make_calls();
    if realloc {
        grow_by_realloc();
    }
    results.machine = machine.then(try_machine);
    serde_json::to_writer(&mut *out, &results)?;
    writeln!(out)?;
    Ok(())
}

/// Runs the self-test without the shim.
///
/// # Errors
/// Why there are no results.
pub fn natively() -> Result<Results, String> {
    let mut command = child()?;
    command.arg("--machine").env_remove("LD_PRELOAD");
    results_of(&mut command).map(|(results, _)| results)
}

/// Runs the self-test under the shim, with its trace in a directory. Returns the results, and what
/// shim and loader printed on stderr.
///
/// # Errors
/// Why there are no results.
pub fn under_shim(
    library: &Path,
    traces: &Path,
    trial: Trial,
) -> Result<(Results, String), String> {
    let mut command = child()?;
    for setting in mremap_settings::ALL {
        command.env_remove(setting.name);
    }
    if trial == Trial::LibcCalls {
        command.arg("--realloc");
    }
    let (setting, value) = trial.variable();
    command
        .env("LD_PRELOAD", library)
        .env(TRACE.name, traces)
        .env(TRACE_SIZE.name, "1M")
        .env(setting.name, value);
    results_of(&mut command)
}

fn child() -> Result<Command, String> {
    let own = program::own_path().ok_or("cannot find this program's own path")?;
    let mut command = Command::new(own);
    command.arg(COMMAND);
    Ok(command)
}

fn results_of(command: &mut Command) -> Result<(Results, String), String> {
    let output =
        command.output().map_err(|error| format!("the self-test cannot be started: {error}"))?;
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if let Some(signal) = output.status.signal() {
        return Err(format!("the self-test was killed by signal {signal} {message}"));
    }
    serde_json::from_slice(&output.stdout)
        .map(|results| (results, message.clone()))
        .map_err(|_| format!("the self-test printed no results ({}) {message}", output.status))
}

/// Grows an allocation so large that glibc maps it, and resizes it by calling its own `mremap`.
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

/// Maps pages of anonymous memory.
fn map(pages: usize) -> Option<*mut u8> {
    // SAFETY: an anonymous mapping at an address that the kernel chooses changes no other mapping.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            pages * PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    (address != libc::MAP_FAILED).then_some(address.cast())
}

fn make_calls() -> Results {
    let mut results = Results::default();
    let (Some(small), Some(source), Some(target)) = (map(1), map(3), map(3)) else {
        results.grow = errno();
        return results;
    };
    // SAFETY: `small` is our own mapping, and its memory is not accessed afterwards.
    let grown = unsafe { libc::mremap(small.cast(), PAGE, 2 * PAGE, libc::MREMAP_MAYMOVE) };
    if grown == libc::MAP_FAILED {
        results.grow = errno();
    } else {
        // SAFETY: the same mapping; nothing uses its second half.
        let shrunk = unsafe { libc::syscall(libc::SYS_mremap, grown, 2 * PAGE, PAGE, 0, 0) };
        results.by_number = if shrunk == -1 { errno() } else { 0 };
    }
    (results.several, results.intact) = move_two_vmas(source, target);
    results
}

/// Moves two VMAs and a gap. Returns the errno, and whether the memory is right.
///
/// ```text
///  source  | rw- |     | r-- |   --->  target  | rw- | kept | r-- |
/// ```
fn move_two_vmas(source: *mut u8, target: *mut u8) -> (i32, bool) {
    // SAFETY: both ranges are our own. Pages that were unmapped or moved away are not accessed
    // again, and the two bytes read at the end are mapped after a successful move.
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

fn try_machine() -> Machine {
    Machine {
        procmap_query: try_procmap_query(),
        mseal: try_mseal(),
        userfaultfd: try_userfaultfd(),
    }
}

fn try_procmap_query() -> i32 {
    use std::os::fd::AsRawFd;
    let maps = match std::fs::File::open("/proc/self/maps") {
        Ok(maps) => maps,
        Err(error) => return error.raw_os_error().unwrap_or(-1),
    };
    let mut query = ProcmapQuery::at_or_above(0, 0, 0);
    // SAFETY: the ioctl reads and writes this struct alone, whose size is in it; it asks for no
    // name or build id.
    let result = unsafe {
        libc::ioctl(maps.as_raw_fd(), libc::c_ulong::from(PROCMAP_QUERY), &raw mut query)
    };
    if result == -1 { errno() } else { 0 }
}

/// No flags are defined, so `EINVAL` means that the system call exists.
fn try_mseal() -> i32 {
    // SAFETY: undefined flags are refused before the addresses are used.
    let result = unsafe { libc::syscall(SYS_MSEAL, 0, 0, libc::c_ulong::MAX) };
    match errno() {
        _ if result != -1 => 0,
        libc::EINVAL => 0,
        other => other,
    }
}

fn try_userfaultfd() -> i32 {
    const UFFD_USER_MODE_ONLY: libc::c_int = 1;
    match open_userfaultfd(UFFD_USER_MODE_ONLY) {
        // Linux 5.10 has no such flag.
        libc::EINVAL => open_userfaultfd(0),
        result => result,
    }
}

fn open_userfaultfd(flags: libc::c_int) -> i32 {
    // SAFETY: the descriptor is closed without registering any memory.
    unsafe {
        let descriptor = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | flags);
        if descriptor == -1 {
            return errno();
        }
        libc::close(descriptor as libc::c_int);
    }
    0
}
