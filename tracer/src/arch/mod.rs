//! The registers that hold a system call's number, arguments and result.

#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
mod registers;

pub(crate) use registers::{
    ELF_MACHINE, Registers, SYSCALL_INSTRUCTION, read, read_result, restart_interrupted, skip_call,
    write,
};
#[cfg(target_arch = "x86_64")]
pub(crate) use registers::{RESTARTS_BY_BLOCK, RESTARTS_FIRST, RESTARTS_LAST};
