//! 64-bit Arm: number in x8, arguments in x0 to x4, result in x0.

use mremap_plan::{Flags, Request};

use crate::ptrace::{Gone, Pid, request_with};

/// `EM_AARCH64`
pub(crate) const ELF_MACHINE: u8 = 183;
/// `svc #0`
pub(crate) const SYSCALL_INSTRUCTION: &[u8] = &[0x01, 0x00, 0x00, 0xd4];

const NT_PRSTATUS: usize = 1;
const NT_ARM_SYSTEM_CALL: usize = 0x404;

/// A stopped thread's registers.
#[derive(Clone, Copy)]
pub(crate) struct Registers(libc::user_regs_struct);

fn set<T>(request: libc::c_uint, thread: Pid, note: usize, value: &mut T) -> Result<(), Gone> {
    let mut vector = libc::iovec { iov_base: (&raw mut *value).cast(), iov_len: size_of::<T>() };
    request_with(request, thread, note, &mut vector)
}

pub(crate) fn read(thread: Pid) -> Result<Registers, Gone> {
    // SAFETY: a structure of integers, for which zeros are valid.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    set(libc::PTRACE_GETREGSET, thread, NT_PRSTATUS, &mut registers)?;
    Ok(Registers(registers))
}

/// At an exit: the result of the call.
pub(crate) fn read_result(thread: Pid) -> Result<i64, Gone> {
    Ok(read(thread)?.result())
}

pub(crate) fn write(thread: Pid, registers: &Registers) -> Result<(), Gone> {
    set(libc::PTRACE_SETREGSET, thread, NT_PRSTATUS, &mut registers.0.clone())
}

/// At the entry of a call: makes the kernel skip it and return `result`.
pub(crate) fn skip_call(thread: Pid, registers: &Registers, result: i64) -> Result<(), Gone> {
    set(libc::PTRACE_SETREGSET, thread, NT_ARM_SYSTEM_CALL, &mut -1i32)?;
    write(thread, &registers.with_result(result))
}

/// On x86-64, has the kernel make a call again that a stop alone has ended. Here the kernel decides
/// that before it stops the thread.
pub(crate) fn restart_interrupted(_thread: Pid) {}

impl Registers {
    pub(crate) fn request(&self) -> Request {
        let [old, old_len, new_len, flags, new, ..] = self.0.regs;
        Request { old, old_len, new_len, flags: Flags(flags as u32), new }
    }

    #[must_use]
    pub(crate) fn with_request(mut self, request: &Request) -> Self {
        self.0.regs[0] = request.old;
        self.0.regs[1] = request.old_len;
        self.0.regs[2] = request.new_len;
        self.0.regs[3] = u64::from(request.flags.0);
        self.0.regs[4] = request.new;
        self
    }

    /// At an exit: the registers of a thread about to make this call by the system call instruction
    /// at `instruction`.
    #[must_use]
    pub(crate) fn about_to_call(self, request: &Request, instruction: u64) -> Self {
        let mut next = self.with_request(request);
        next.0.regs[8] = libc::SYS_mremap as u64;
        next.0.pc = instruction;
        next
    }

    #[must_use]
    pub(crate) fn with_result(mut self, result: i64) -> Self {
        self.0.regs[0] = result as u64;
        self
    }

    pub(crate) fn result(&self) -> i64 {
        self.0.regs[0] as i64
    }

    /// Address behind the system call instruction.
    pub(crate) fn instruction_pointer(&self) -> u64 {
        self.0.pc
    }

    /// Number of the system call whose entry the thread is at.
    pub(crate) fn call_number(&self) -> i64 {
        self.0.regs[8] as i64
    }

    pub(crate) fn stack_pointer(&self) -> u64 {
        self.0.sp
    }

    pub(crate) fn frame_pointer(&self) -> u64 {
        self.0.regs[29]
    }
}
