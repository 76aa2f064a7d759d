//! Counts the instructions between two [`mark`]s of a program by single-stepping: exactly, also on
//! a busy machine. Valgrind would not do, since it emulates `mremap` itself.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The signal of a mark, never delivered.
const MARK: i32 = libc::SIGUSR1;

/// Marks the start or the end. Without the tracer the program is killed.
pub fn mark() {
    // SAFETY: raises a signal that the tracer suppresses.
    unsafe { libc::raise(MARK) };
}

/// Runs a command and returns the instructions between its first two marks, including the marks'
/// own.
///
/// # Errors
/// It cannot be run or traced, or ends before its second mark.
pub fn count(command: &mut Command) -> Result<u64> {
    // SAFETY: one async-signal-safe system call between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = command.spawn().context("a measured program cannot be run")?;
    let pid = child.id() as libc::pid_t;
    let result = count_in(pid);
    // SAFETY: our child, stopped or a zombie, which nothing else waits for.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
    result
}

fn count_in(pid: libc::pid_t) -> Result<u64> {
    let mut signal = stopped_by(pid)?;
    while signal != MARK {
        let delivered = if signal == libc::SIGTRAP { 0 } else { signal };
        resume(pid, libc::PTRACE_CONT, delivered)?;
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
    // SAFETY: our stopped child.
    if unsafe { libc::ptrace(how, pid, 0, signal) } != 0 {
        return Err(std::io::Error::last_os_error()).context("ptrace");
    }
    Ok(())
}

fn stopped_by(pid: libc::pid_t) -> Result<i32> {
    let mut status = 0;
    // SAFETY: waits for our child.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        return Err(std::io::Error::last_os_error()).context("waitpid");
    }
    if !libc::WIFSTOPPED(status) {
        bail!("the program ended between the marks, status {status:#x}");
    }
    Ok(libc::WSTOPSIG(status))
}
