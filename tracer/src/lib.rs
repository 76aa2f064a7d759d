//! A tracer that stops a process tree at `mremap` alone, for programs that no preload library
//! reaches: static and Go programs, and calls made by an inline system call.
//!
//! A seccomp filter returns `SECCOMP_RET_TRACE` for `mremap`; every other system call costs only
//! the filter. The path of one call:
//!
//! ```text
//! spawn ─► session ─► call ─► plan::Request ─► vmas ─► plan::Plan ─► moves ─► recorder ─► trace
//!          (events)   (judge)                  (/proc/TID/maps)      (injected mremap)
//! ```
//!
//! A move of several parts runs while every other traced thread of the address space is stopped,
//! so no thread sees it half done. The preload library cannot promise that.
//!
//! A process that runs already cannot be given a filter: it stops at every system call instead
//! ([`follow`]), and the rest of the path is the same. `attach` brings the library into it.
//!
//! This crate does not choose programs, find symbols or read traces; the analyzer does.

mod arch;
#[cfg(target_arch = "x86_64")]
mod attach;
mod call;
mod capability;
mod filter;
mod moves;
mod procfs;
mod ptrace;
mod recorder;
mod refusal;
mod session;
mod spawn;
mod stops;
mod threads;
mod vmas;

use std::ffi::CString;
use std::os::fd::RawFd;
use std::path::PathBuf;

#[cfg(target_arch = "x86_64")]
pub use attach::{Disturbance, attach, detach};
pub use mremap_trace::{Detail, Keep, Mode};
pub use procfs::{boot_id, pid_namespace, start_time};
pub use session::{Ended, Program};

/// Where traces go and what they hold.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// Directory of the trace files, one for each process image.
    pub directory: PathBuf,
    /// Bytes for one process image.
    pub size: u64,
    /// Which records of a full trace are kept.
    pub keep: Keep,
    /// Whether the VMAs of native moves are recorded too.
    pub detail: Detail,
    /// Frames above each call to record words of the stack for.
    pub stack_depth: u16,
    /// Record only the first process, not its children.
    pub only_first: bool,
    /// Names of the programs to record; all when empty.
    pub programs: Vec<String>,
}

/// How to trace.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is done with moves of several VMAs.
    pub mode: Mode,
    /// What is recorded; nothing when `None`.
    pub trace: Option<TraceSettings>,
    /// Kill the traced processes when the tracer dies. Otherwise they run on. Under a filter their
    /// `mremap` then fails with `ENOSYS`, which is what it answers without a tracer.
    pub kills_on_exit: bool,
}

/// A program to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Path of the executable.
    pub path: CString,
    /// Arguments, the program's own name first.
    pub arguments: Vec<CString>,
    /// Environment, `NAME=value`.
    pub environment: Vec<CString>,
}

/// Why a program does not run under the tracer.
#[derive(Debug)]
pub enum StartError {
    /// It cannot be executed.
    Execute(std::io::Error),
    /// It cannot be traced: what prevents it, and the system's own error.
    Trace(String),
}

/// Starts the program under the tracer.
///
/// # Errors
/// The program could not be started or cannot be traced: another tracer, Yama's scope, a filter.
pub fn start(launch: &Launch, settings: Settings) -> Result<Program, StartError> {
    Program::start(launch, settings)
}

/// Begins to trace a process that runs already, and what it starts from now on. Without a filter
/// it stops at every system call, twice.
///
/// # Errors
/// Why it cannot be traced: another tracer, another user, Yama's scope. It goes on as before.
pub fn follow(pid: libc::pid_t, settings: Settings) -> anyhow::Result<Program> {
    refusal::check_process(pid)?;
    Program::follow(pid, settings)
}

/// A descriptor that closes itself.
struct Descriptor(RawFd);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: this value owns the descriptor.
        unsafe { libc::close(self.0) };
    }
}
