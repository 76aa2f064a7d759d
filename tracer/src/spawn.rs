//! Starts the program traced and under the filter from its first instruction.

use std::ffi::CString;
use std::io::{self, Read as _, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd};

use crate::procfs::status_number;
use crate::ptrace::{self, Pid};
use crate::stops::Stops;
use crate::{Descriptor, Launch, StartError, filter};

type Result<T> = std::result::Result<T, StartError>;

/// The step that failed in the child, which reports it to the parent.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Step {
    Filter = 1,
    Execute = 2,
}

/// Forks. The child waits to be seized, puts itself under the filter, and executes the program.
///
/// # Errors
/// The reason why the child could not be made, seized or filtered, or the program not executed. No
/// child is left behind.
pub(crate) fn spawn(launch: &Launch, kills_on_exit: bool) -> Result<Pid> {
    let arguments = pointers(&launch.arguments);
    let environment = pointers(&launch.environment);
    let (go_reader, go_writer) = pipe()?;
    let (failure_reader, failure_writer) = pipe()?;
    let blocked = block_signals();
    // SAFETY: the child calls only async-signal-safe functions until it executes or exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        become_program(
            launch,
            &arguments,
            &environment,
            go_reader.0,
            go_writer.0,
            failure_writer.0,
            &blocked,
        );
    }
    restore_signals(&blocked);
    if child < 0 {
        return Err(refused("cannot fork", &io::Error::last_os_error()));
    }
    drop((go_reader, failure_writer));
    if let Err(error) = ptrace::seize(child, Stops::ByFilter.options(kills_on_exit)) {
        kill_and_reap(child);
        return Err(StartError::Trace(explain_seize(&error)));
    }
    let mut writer = as_file(&go_writer);
    writer.write_all(&[1]).map_err(|error| refused("the child ended early", &error))?;
    wait_for_exec(child, &failure_reader)?;
    Ok(child)
}

/// Follows the child to `PTRACE_EVENT_EXEC`, where it stays stopped.
fn wait_for_exec(child: Pid, failure: &Descriptor) -> Result<()> {
    loop {
        let (_, event) =
            ptrace::wait(child).map_err(|error| refused("cannot wait for the child", &error))?;
        match event {
            ptrace::Event::Exec => return Ok(()),
            ptrace::Event::Exited(_) | ptrace::Event::Killed(_) => {
                return Err(explain_failure(failure));
            }
            ptrace::Event::Signal(signal) => drop(ptrace::resume(child, signal)),
            _ => drop(ptrace::resume(child, 0)),
        }
    }
}

fn explain_seize(error: &io::Error) -> String {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let reason = match scope.trim() {
        "2" => "only an administrator may trace here (kernel.yama.ptrace_scope is 2)",
        "3" => "nobody may trace here (kernel.yama.ptrace_scope is 3)",
        _ if status_number("self", "TracerPid:").is_some_and(|tracer| tracer != 0) => {
            "this process is itself traced (a debugger, strace, or another --reach all)"
        }
        _ => "a sandbox forbids ptrace",
    };
    format!("cannot be traced: {reason}: {error}")
}

fn explain_failure(failure: &Descriptor) -> StartError {
    let mut failed = [0u8; 5];
    if as_file(failure).read_exact(&mut failed).is_err() {
        return StartError::Trace("the child was killed before it ran the program".to_owned());
    }
    let [step, errno @ ..] = failed;
    let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
    if step == Step::Filter as u8 {
        refused("cannot install a seccomp filter", &error)
    } else {
        StartError::Execute(error)
    }
}

fn refused(what: &str, error: &io::Error) -> StartError {
    StartError::Trace(format!("{what}: {error}"))
}

/// The child's side of [`spawn`].
fn become_program(
    launch: &Launch,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
    go_reader: i32,
    go_writer: i32,
    failure: i32,
    blocked: &libc::sigset_t,
) -> ! {
    // SAFETY: async-signal-safe calls on this process's own descriptors and memory; the pointers
    // are null-terminated lists of C strings that the parent made before the fork.
    unsafe {
        libc::close(go_writer);
        let mut byte = 0u8;
        while libc::read(go_reader, (&raw mut byte).cast(), 1) < 0 {
            if *libc::__errno_location() != libc::EINTR {
                libc::_exit(127);
            }
        }
        if byte == 0 {
            // The parent gave up.
            libc::_exit(127);
        }
        reset_handlers();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const *blocked, std::ptr::null_mut());
        let step = if filter::install().is_err() {
            Step::Filter
        } else {
            libc::execve(launch.path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
            Step::Execute
        };
        let [a, b, c, d] = (*libc::__errno_location()).to_ne_bytes();
        let failed = [step as u8, a, b, c, d];
        libc::write(failure, failed.as_ptr().cast(), failed.len());
        libc::_exit(127)
    }
}

/// Resets signal handlers: the parent's must not run in the child. Ignored signals stay ignored.
unsafe fn reset_handlers() {
    for signal in 1..libc::SIGRTMAX() {
        // SAFETY: reads and sets this process's own actions, which no other thread shares.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
                && action.sa_sigaction != libc::SIG_IGN
                && action.sa_sigaction != libc::SIG_DFL
            {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

fn block_signals() -> libc::sigset_t {
    // SAFETY: fills in two sets on the stack.
    unsafe {
        let (mut all, mut former) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut former);
        former
    }
}

fn restore_signals(former: &libc::sigset_t) {
    // SAFETY: a set that `block_signals` has filled in.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const *former, std::ptr::null_mut());
    }
}

fn kill_and_reap(child: Pid) {
    // SAFETY: the child is this process's own and has not been reaped.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

fn pipe() -> Result<(Descriptor, Descriptor)> {
    let mut ends = [0; 2];
    // SAFETY: writes two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(refused("cannot make a pipe", &io::Error::last_os_error()));
    }
    Ok((Descriptor(ends[0]), Descriptor(ends[1])))
}

/// A descriptor as a file that does not close it.
fn as_file(descriptor: &Descriptor) -> ManuallyDrop<std::fs::File> {
    // SAFETY: the descriptor is open as long as the borrow, and `ManuallyDrop` leaves it open.
    ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(descriptor.0.as_raw_fd()) })
}
