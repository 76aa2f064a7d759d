//! x86-64: number in rax, arguments in rdi, rsi, rdx, r10 and r8.

use mremap_plan::{Flags, Request};

use crate::ptrace::{self, Gone, Pid, request_with};

/// `EM_X86_64`
pub(crate) const ELF_MACHINE: u8 = 62;
/// `syscall`
pub(crate) const SYSCALL_INSTRUCTION: &[u8] = &[0x0f, 0x05];

/// `-ERESTARTNOHAND` to `-ERESTARTSYS` of `linux/errno.h`.
pub(crate) const RESTARTS_FIRST: i64 = -514;
pub(crate) const RESTARTS_LAST: i64 = -512;
/// `-ERESTART_RESTARTBLOCK`
pub(crate) const RESTARTS_BY_BLOCK: i64 = -516;

/// Calls that fail with `EINTR` when their thread stops, though no signal was delivered. Making
/// them again is what the kernel does for others.
const INTERRUPTED: [i64; 11] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_io_getevents,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_accept,
    libc::SYS_accept4,
];

/// A stopped thread's registers.
#[derive(Clone, Copy)]
pub(crate) struct Registers(libc::user_regs_struct);

pub(crate) fn read(thread: Pid) -> Result<Registers, Gone> {
    // SAFETY: a structure of integers, for which zeros are valid.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    request_with(libc::PTRACE_GETREGS, thread, 0, &mut registers)?;
    Ok(Registers(registers))
}

/// At an exit: the result of the call, without the other registers.
pub(crate) fn read_result(thread: Pid) -> Result<i64, Gone> {
    ptrace::peek_user(thread, std::mem::offset_of!(libc::user_regs_struct, rax))
}

pub(crate) fn write(thread: Pid, registers: &Registers) -> Result<(), Gone> {
    request_with(libc::PTRACE_SETREGS, thread, 0, &mut registers.0.clone())
}

/// At the entry of a call: makes the kernel skip it and return `result`.
pub(crate) fn skip_call(thread: Pid, registers: &Registers, result: i64) -> Result<(), Gone> {
    let mut skipped = registers.0;
    skipped.orig_rax = u64::MAX;
    skipped.rax = result as u64;
    write(thread, &Registers(skipped))
}

/// Has the kernel make a call again that would fail with `EINTR` because it is traced. It still
/// fails so when a handler runs.
pub(crate) fn restart_interrupted(thread: Pid) {
    if let Ok(registers) = read(thread)
        && registers.result() == i64::from(-libc::EINTR)
        && INTERRUPTED.contains(&registers.call_number())
    {
        let _ = write(thread, &registers.with_raw_result(RESTARTS_FIRST));
    }
}

impl Registers {
    pub(crate) fn request(&self) -> Request {
        Request {
            old: self.0.rdi,
            old_len: self.0.rsi,
            new_len: self.0.rdx,
            flags: Flags(self.0.r10 as u32),
            new: self.0.r8,
        }
    }

    #[must_use]
    pub(crate) fn with_request(mut self, request: &Request) -> Self {
        self.0.rdi = request.old;
        self.0.rsi = request.old_len;
        self.0.rdx = request.new_len;
        self.0.r10 = u64::from(request.flags.0);
        self.0.r8 = request.new;
        self
    }

    /// At an exit: the registers of a thread about to make this call by the system call instruction
    /// at `instruction`.
    #[must_use]
    pub(crate) fn about_to_call(self, request: &Request, instruction: u64) -> Self {
        let mut next = self.with_request(request);
        next.0.rax = libc::SYS_mremap as u64;
        // No call is being left, so none is restarted.
        next.0.orig_rax = u64::MAX;
        next.0.rip = instruction;
        next
    }

    #[must_use]
    pub(crate) fn with_result(mut self, result: i64) -> Self {
        self.0.rax = result as u64;
        self.0.orig_rax = u64::MAX;
        self
    }

    pub(crate) fn result(&self) -> i64 {
        self.0.rax as i64
    }

    /// Address behind the system call instruction.
    pub(crate) fn instruction_pointer(&self) -> u64 {
        self.0.rip
    }

    pub(crate) fn stack_pointer(&self) -> u64 {
        self.0.rsp
    }

    pub(crate) fn frame_pointer(&self) -> u64 {
        self.0.rbp
    }

    /// Number of the system call that the thread is in; negative when it is in none.
    pub(crate) fn call_number(&self) -> i64 {
        self.0.orig_rax as i64
    }

    /// The same call with another result, which may be one that the kernel acts on.
    #[must_use]
    pub(crate) fn with_raw_result(mut self, result: i64) -> Self {
        self.0.rax = result as u64;
        self
    }

    pub(crate) fn raw(&self) -> &libc::user_regs_struct {
        &self.0
    }

    pub(crate) fn of_raw(raw: libc::user_regs_struct) -> Self {
        Self(raw)
    }
}
