//! Where a traced thread stops: at the calls that a seccomp filter marks, or at every system call.

use std::ffi::c_int;

use crate::ptrace::{self, Event, Gone, Pid};

/// What stops a thread at its calls of `mremap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stops {
    /// The filter that it was started with.
    ByFilter,
    /// Every system call, at its entry and its exit. Nobody can put a filter on another process.
    AtEveryCall,
}

impl Stops {
    /// Options of `ptrace` that follow a process tree.
    pub(crate) fn options(self, kills_on_exit: bool) -> c_int {
        let mut options = libc::PTRACE_O_TRACESYSGOOD
            | libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK
            | libc::PTRACE_O_TRACEVFORKDONE
            | libc::PTRACE_O_TRACEEXEC;
        if self == Self::ByFilter {
            options |= libc::PTRACE_O_TRACESECCOMP;
        }
        if kills_on_exit {
            options |= libc::PTRACE_O_EXITKILL;
        }
        options
    }

    /// Continues a stopped thread to its next call; `signal` is delivered unless it is 0.
    pub(crate) fn resume(self, thread: Pid, signal: i32) -> Result<(), Gone> {
        match self {
            Self::ByFilter => ptrace::resume(thread, signal),
            Self::AtEveryCall => ptrace::resume_to_syscall(thread, signal),
        }
    }

    /// The event at the entry of a call.
    pub(crate) fn entry(self) -> Event {
        match self {
            Self::ByFilter => Event::Seccomp,
            Self::AtEveryCall => Event::Syscall,
        }
    }
}
