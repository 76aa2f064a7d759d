//! Typed `ptrace` requests and `waitpid`. Wrapper crates lose real-time signals, group stops and
//! `PTRACE_LISTEN`.

use std::ffi::c_int;
use std::io;
use std::ptr::null_mut;

/// Process or thread id.
pub(crate) type Pid = libc::pid_t;

/// The thread is gone. Holds its last event if `waitpid` has returned that.
#[derive(Debug)]
pub(crate) struct Gone(pub(crate) Option<Event>);

/// `PTRACE_EVENT_STOP`, which `libc` does not name everywhere.
const EVENT_STOP: c_int = 128;
const GETSIGMASK: libc::c_uint = 0x420a;
const SETSIGMASK: libc::c_uint = 0x420b;
/// Bytes of the kernel's signal set.
const SIGNAL_SET: usize = 8;

/// What a traced thread did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Exited with a status.
    Exited(i32),
    /// Killed by a signal.
    Killed(i32),
    /// Stopped before a signal is delivered to it.
    Signal(i32),
    /// Stopped with its whole group by this signal.
    GroupStop(i32),
    /// Stopped because it was interrupted, is new, or its group continues.
    Trapped,
    /// Stopped at the entry of a system call that the filter marks.
    Seccomp,
    /// Stopped at the exit of a system call, or at its entry if every call stops the thread.
    Syscall,
    /// Stopped in fork, vfork or clone, whose child is traced.
    NewChild { is_vfork: bool },
    /// Its vfork child has let go of the address space.
    VforkDone,
    /// Stopped in the new program image.
    Exec,
}

impl Event {
    /// Decodes a status of `waitpid`.
    pub(crate) fn of_status(status: c_int) -> Self {
        if libc::WIFEXITED(status) {
            return Self::Exited(libc::WEXITSTATUS(status));
        }
        if libc::WIFSIGNALED(status) {
            return Self::Killed(libc::WTERMSIG(status));
        }
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            0 if signal == libc::SIGTRAP | 0x80 => Self::Syscall,
            0 => Self::Signal(signal),
            libc::PTRACE_EVENT_SECCOMP => Self::Seccomp,
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_CLONE => {
                Self::NewChild { is_vfork: false }
            }
            libc::PTRACE_EVENT_VFORK => Self::NewChild { is_vfork: true },
            libc::PTRACE_EVENT_VFORK_DONE => Self::VforkDone,
            libc::PTRACE_EVENT_EXEC => Self::Exec,
            EVENT_STOP if signal != libc::SIGTRAP => Self::GroupStop(signal),
            _ => Self::Trapped,
        }
    }

    /// Whether this event can end a system call by `EINTR` that would go on if nobody traced: our
    /// stop, or a signal that is ignored, which the kernel then drops before it reaches the thread.
    pub(crate) fn interrupts_only_if_traced(self) -> bool {
        const STOPS: [c_int; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
        match self {
            Self::Trapped => true,
            Self::Signal(signal) => !STOPS.contains(&signal),
            _ => false,
        }
    }

    /// Whether the thread has ended.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::Exited(_) | Self::Killed(_))
    }
}

/// Has the kernel send this process no `SIGCHLD` for a stop: [`wait`] needs none, and each costs a
/// twentieth of the stop.
pub(crate) fn send_no_signals_for_stops() {
    // SAFETY: changes one flag of this process's own action.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGCHLD, std::ptr::null(), &raw mut action) == 0 {
            action.sa_flags |= libc::SA_NOCLDSTOP;
            libc::sigaction(libc::SIGCHLD, &raw const action, null_mut());
        }
    }
}

/// Waits for an event of any traced thread; `None` when a signal's handler ran instead.
///
/// # Errors
/// `ECHILD` when there is nothing to wait for.
pub(crate) fn wait_for_any() -> io::Result<Option<(Pid, Event)>> {
    wait_with(-1, libc::__WALL)
}

/// Waits for an event of `thread`.
///
/// # Errors
/// As for [`wait_for_any`].
pub(crate) fn wait(thread: Pid) -> io::Result<(Pid, Event)> {
    loop {
        if let Some(found) = wait_with(thread, libc::__WALL)? {
            return Ok(found);
        }
    }
}

/// As [`wait`], but returns `None` instead of waiting; -1 is any thread.
///
/// # Errors
/// As for [`wait`].
pub(crate) fn poll(thread: Pid) -> io::Result<Option<(Pid, Event)>> {
    wait_with(thread, libc::__WALL | libc::WNOHANG)
}

fn wait_with(thread: Pid, options: c_int) -> io::Result<Option<(Pid, Event)>> {
    let mut status = 0;
    // SAFETY: writes one status.
    let found = unsafe { libc::waitpid(thread, &raw mut status, options) };
    match found {
        0 => Ok(None),
        1.. => Ok(Some((found, Event::of_status(status)))),
        _ => {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted { Ok(None) } else { Err(error) }
        }
    }
}

/// A request without data.
fn request(request: libc::c_uint, thread: Pid, data: usize) -> Result<(), Gone> {
    // SAFETY: these requests take numbers only and change nothing in this process.
    let result = unsafe {
        libc::ptrace(request, thread, null_mut::<libc::c_void>(), data as *mut libc::c_void)
    };
    if result == 0 { Ok(()) } else { Err(Gone(None)) }
}

/// A request that reads or writes `data`; the request implies its size, or `address` is the size.
pub(crate) fn request_with<T>(
    request: libc::c_uint,
    thread: Pid,
    address: usize,
    data: &mut T,
) -> Result<(), Gone> {
    // SAFETY: the caller passes the type that the request reads or writes.
    let result = unsafe {
        libc::ptrace(
            request,
            thread,
            address as *mut libc::c_void,
            (&raw mut *data).cast::<libc::c_void>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(Gone(None)) }
}

/// Attaches without stopping the thread.
///
/// # Errors
/// `EPERM`: traced by another already, or Yama or a filter forbids it.
pub(crate) fn seize(thread: Pid, options: c_int) -> io::Result<()> {
    request(libc::PTRACE_SEIZE, thread, options as usize).map_err(|_| io::Error::last_os_error())
}

/// Replaces the options of a stopped thread.
pub(crate) fn set_options(thread: Pid, options: c_int) -> Result<(), Gone> {
    request(libc::PTRACE_SETOPTIONS, thread, options as usize)
}

/// Continues a stopped thread; `signal` is delivered unless it is 0.
pub(crate) fn resume(thread: Pid, signal: i32) -> Result<(), Gone> {
    request(libc::PTRACE_CONT, thread, signal as usize)
}

/// Continues a stopped thread to the next entry or exit of a system call; `signal` is delivered
/// unless it is 0.
pub(crate) fn resume_to_syscall(thread: Pid, signal: i32) -> Result<(), Gone> {
    request(libc::PTRACE_SYSCALL, thread, signal as usize)
}

/// Leaves a thread in its group's stop until the group continues.
pub(crate) fn listen(thread: Pid) -> Result<(), Gone> {
    request(libc::PTRACE_LISTEN, thread, 0)
}

/// Makes a thread stop soon.
pub(crate) fn interrupt(thread: Pid) -> Result<(), Gone> {
    request(libc::PTRACE_INTERRUPT, thread, 0)
}

/// Returns the message of a thread's event: the id of a new thread, or the filter's data.
pub(crate) fn event_message(thread: Pid) -> Result<u64, Gone> {
    let mut message: libc::c_ulong = 0;
    request_with(libc::PTRACE_GETEVENTMSG, thread, 0, &mut message)?;
    Ok(message)
}

/// A system call that a thread enters.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// `AUDIT_ARCH_*`: the ABI by which the call is made.
    pub(crate) architecture: u32,
    pub(crate) number: i64,
    pub(crate) arguments: [u64; 6],
}

/// Which end of a system call a thread is stopped at.
pub(crate) enum End {
    Entry(Entry),
    /// With this result.
    Exit(i64),
}

/// Reads which end of a system call a thread is stopped at.
pub(crate) fn end_of_syscall(thread: Pid) -> Result<End, Gone> {
    /// `PTRACE_GET_SYSCALL_INFO` of `linux/ptrace.h`, new in 5.3.
    const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
    const ENTRY: u64 = 1;
    // Operation and architecture, two addresses; at an entry number and arguments, at an exit the
    // result.
    let mut words = [0u64; 10];
    // SAFETY: writes at most the size that it is given.
    let written =
        unsafe { libc::ptrace(GET_SYSCALL_INFO, thread, size_of_val(&words), &raw mut words) };
    let [start, _, _, first, arguments @ ..] = words;
    if written < 0 {
        return Err(Gone(None));
    } else if start & 0xff != ENTRY {
        return Ok(End::Exit(first as i64));
    }
    let architecture = (start >> 32) as u32;
    Ok(End::Entry(Entry { architecture, number: first as i64, arguments }))
}

/// Whether a thread has stopped at the entry of its call again, and not at its exit: gVisor applies
/// the filter before that stop. `result` is what its register for results holds.
pub(crate) fn is_second_entry(thread: Pid, result: i64) -> bool {
    result == i64::from(-libc::ENOSYS) && !matches!(end_of_syscall(thread), Ok(End::Exit(_)))
}

/// The word at an offset of a stopped thread's `struct user`: a register.
#[cfg(target_arch = "x86_64")]
pub(crate) fn peek_user(thread: Pid, offset: usize) -> Result<i64, Gone> {
    let mut word = 0i64;
    // The system call itself stores the word; libc's function returns it, and may mean an error.
    // SAFETY: writes one word.
    let answer = unsafe {
        libc::syscall(libc::SYS_ptrace, libc::PTRACE_PEEKUSER, thread, offset, &raw mut word)
    };
    if answer == 0 { Ok(word) } else { Err(Gone(None)) }
}

/// The signals that a stopped thread blocks, one bit each.
pub(crate) fn blocked_signals(thread: Pid) -> Result<u64, Gone> {
    let mut set = 0u64;
    request_with(GETSIGMASK, thread, SIGNAL_SET, &mut set)?;
    Ok(set)
}

/// Sets the signals that a stopped thread blocks.
pub(crate) fn set_blocked_signals(thread: Pid, mut set: u64) -> Result<(), Gone> {
    request_with(SETSIGMASK, thread, SIGNAL_SET, &mut set)
}

/// Reads `bytes` of a thread's memory from `address` on; false when not all of it can be read.
pub(crate) fn read_memory(thread: Pid, address: u64, bytes: &mut [u8]) -> bool {
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: writes at most `bytes.len()` bytes to `bytes`.
    let read =
        unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
    read == bytes.len() as isize
}

/// Reads as far as memory is mapped. Returns how many bytes were read.
#[cfg(target_arch = "x86_64")]
pub(crate) fn read_some(thread: Pid, address: u64, bytes: &mut [u8]) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        let at = address + done as u64;
        let len = (4096 - at as usize % 4096).min(bytes.len() - done);
        if !read_memory(thread, at, &mut bytes[done..done + len]) {
            break;
        }
        done += len;
    }
    done
}

/// Writes memory that the thread itself could write. Returns false if not all was written.
#[cfg(target_arch = "x86_64")]
pub(crate) fn write_memory(thread: Pid, address: u64, bytes: &[u8]) -> bool {
    let local = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: reads `bytes`; what is written belongs to another process.
    let written =
        unsafe { libc::process_vm_writev(thread, &raw const local, 1, &raw const remote, 1, 0) };
    written == bytes.len() as isize
}

/// Writes a word of a stopped thread's memory, even code.
#[cfg(target_arch = "x86_64")]
pub(crate) fn write_code(thread: Pid, address: u64, word: u64) -> Result<(), Gone> {
    // SAFETY: changes another process.
    let result = unsafe { libc::ptrace(libc::PTRACE_POKETEXT, thread, address, word) };
    if result == 0 { Ok(()) } else { Err(Gone(None)) }
}

/// Detaches from a stopped thread; `signal` is delivered unless it is 0.
pub(crate) fn detach(thread: Pid, signal: i32) -> Result<(), Gone> {
    request(libc::PTRACE_DETACH, thread, signal as usize)
}

/// Whether two threads share an address space; `None` where the kernel has no `kcmp`.
pub(crate) fn share_memory(one: Pid, other: Pid) -> Option<bool> {
    const KCMP_VM: c_int = 1;
    // SAFETY: compares two kernel objects by number.
    match unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) } {
        0 => Some(true),
        1.. => Some(false),
        _ => None,
    }
}
