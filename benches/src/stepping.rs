//! Counts the instructions of one stretch of a program by stepping through it: exact, the same on a busy
//! machine as on an idle one, and on the real kernel. Valgrind counts too, but answers `mremap` itself, so
//! that the paths counted would be others.
//!
//! The program marks the stretch's two ends with [`mark`].

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The signal that marks; never delivered.
const MARK: i32 = libc::SIGUSR1;

/// One end of the stretch. Nothing happens in a program that is not stepped through: it is killed.
pub fn mark() {
    // SAFETY: a signal to ourselves, which the tracer swallows.
    unsafe { libc::raise(MARK) };
}

/// Runs a command; returns the instructions between its first two marks, the marks' own included.
///
/// # Errors
/// It cannot be run or traced, or ends before its second mark.
pub fn count(command: &mut Command) -> Result<u64> {
    // SAFETY: one system call between fork and exec, async-signal-safe.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = command.spawn().context("a measured program cannot be run")?;
    let pid = child.id() as libc::pid_t;
    let result = count_in(pid);
    // SAFETY: our own child, stopped or a zombie; nobody else waits for it.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
    result
}

fn count_in(pid: libc::pid_t) -> Result<u64> {
    let mut signal = stopped_by(pid)?;
    while signal != MARK {
        let passed_on = if signal == libc::SIGTRAP { 0 } else { signal };
        resume(pid, libc::PTRACE_CONT, passed_on)?;
        signal = stopped_by(pid)?;
    }
    let mut instructions = 0;
    loop {
        resume(pid, libc::PTRACE_SINGLESTEP, 0)?;
        match stopped_by(pid)? {
            libc::SIGTRAP => instructions += 1,
            MARK => return Ok(instructions),
            other => bail!("signal {other} between the marks"),
        }
    }
}

fn resume(pid: libc::pid_t, how: libc::c_uint, signal: i32) -> Result<()> {
    // SAFETY: our own stopped child.
    if unsafe { libc::ptrace(how, pid, 0, signal) } != 0 {
        return Err(std::io::Error::last_os_error()).context("ptrace");
    }
    Ok(())
}

fn stopped_by(pid: libc::pid_t) -> Result<i32> {
    let mut status = 0;
    // SAFETY: waits for our own child.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        return Err(std::io::Error::last_os_error()).context("waitpid");
    }
    if !libc::WIFSTOPPED(status) {
        bail!("the program ended between the marks, status {status:#x}");
    }
    Ok(libc::WSTOPSIG(status))
}
