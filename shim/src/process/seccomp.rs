//! Seccomp filters. A strict one kills for a system call that the program itself never makes, so a
//! filtered thread makes none in the hook but `mremap` and `mmap`: VMAs are found by probing,
//! signals are not blocked, and the trace does not grow.
//!
//! A filter belongs to one thread, or to all with `SECCOMP_FILTER_FLAG_TSYNC`. Threads and
//! processes inherit it from the thread that makes them. It is installed by `prctl` or `seccomp`,
//! whose hooks call [`mark`], or was there before `exec`, which [`detect`] finds at load.
//!
//! | filters installed | this thread is filtered |
//! |---|---|
//! | none | no |
//! | by a thread for itself | if it is that thread, or is first seen later |
//! | for all threads, or before `exec` | yes |
//!
//! A thread that is first seen after a filter was installed may have inherited it. No system call
//! that every filter admits shows it, so the thread counts as filtered.

use core::sync::atomic::{AtomicU8, Ordering};

use mremap_settings::parse_number;

use crate::process::thread::{self, Standing};
use crate::sys;

/// The threads that a filter applies to.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Scope {
    /// The one that installs it, and those that it makes later.
    Thread = 1,
    /// All of the process.
    Process = 2,
}

/// The widest [`Scope`] of the filters installed so far; 0 for no filter.
static INSTALLED: AtomicU8 = AtomicU8::new(0);

/// Whether the calling thread may be filtered.
pub(crate) fn is_filtered() -> bool {
    let standing = &thread::current().standing;
    match INSTALLED.load(Ordering::Relaxed) {
        0 => {
            standing.set(Standing::Free);
            false
        }
        1 => standing.get() != Standing::Free,
        _ => true,
    }
}

/// Whether any thread may be filtered.
pub(crate) fn is_any_thread_filtered() -> bool {
    INSTALLED.load(Ordering::Relaxed) != 0
}

/// The calling thread has installed a filter.
pub(crate) fn mark(scope: Scope) {
    thread::current().standing.set(Standing::Filtered);
    INSTALLED.fetch_max(scope as u8, Ordering::Relaxed);
}

/// Looks for a filter that was there before `exec`. Called once, at load. Makes the system calls
/// that the loader has just made: `openat`, or `open` in musl, `read` and `close`.
///
/// The filter of a container is not counted: its runtime makes it for any program, and refuses with
/// an errno. It is known by process 1 of the container having as many filters, or by being the only
/// one of process 1.
pub(crate) fn detect(loader: Loader) {
    let Some(own) = Status::read(c"/proc/self/status", loader) else { return };
    if own.mode == 0 {
        return;
    }
    let is_of_container = match own.pid {
        1 => own.filters == 1,
        _ => Status::read(c"/proc/1/status", loader)
            .is_some_and(|first| first.mode == own.mode && first.filters == own.filters),
    };
    if !is_of_container {
        INSTALLED.store(Scope::Process as u8, Ordering::Relaxed);
    }
}

/// How the loader opens files.
#[derive(Clone, Copy)]
pub(crate) enum Loader {
    /// glibc's: by `openat`.
    Glibc,
    /// musl's: by `open`.
    Musl,
}

/// The filters of a process, from `/proc/PID/status`.
struct Status {
    pid: u64,
    /// 0 without a filter.
    mode: u64,
    /// 1 before Linux 5.9, which does not report it.
    filters: u64,
}

impl Status {
    fn read(path: &core::ffi::CStr, loader: Loader) -> Option<Self> {
        let mut text = [0; 4096];
        let opened = match loader {
            Loader::Glibc => sys::open(path, libc::O_RDONLY, 0),
            Loader::Musl => sys::open_by_open(path),
        };
        let fd = opened.ok()?;
        let len = sys::read(fd, &mut text);
        sys::close(fd);
        let text = text.get(..len.ok()?)?;
        let field = |name: &[u8]| {
            let mut lines = text.split(|&byte| byte == b'\n');
            lines.find_map(|line| parse_number(line.strip_prefix(name)?))
        };
        Some(Self {
            pid: field(b"Pid:\t")?,
            mode: field(b"Seccomp:\t")?,
            filters: field(b"Seccomp_filters:\t").unwrap_or(1),
        })
    }
}
