//! The registers that hold a system call's number, arguments and result.

#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
mod registers;

pub(crate) use registers::{Registers, SYSCALL_INSTRUCTION, read, read_result, skip_call, write};
