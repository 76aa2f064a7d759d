//! The seccomp filter: `SECCOMP_RET_TRACE` for `mremap`, and for calls that make a userfaultfd,
//! whose VMAs may not move with others.

use std::io;

use crate::ptrace::Entry;

/// `_IO(0xAA, 0x00)`, an ioctl on `/dev/userfaultfd` (`include/uapi/linux/userfaultfd.h`).
const USERFAULTFD_IOC_NEW: u32 = 0xaa00;

/// Offsets in `struct seccomp_data`. The low half of an argument comes first on both architectures.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const SECOND_ARGUMENT: u32 = 24;

#[cfg(target_arch = "x86_64")]
const NATIVE_ARCHITECTURE: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const NATIVE_ARCHITECTURE: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

/// Calls by another ABI (i386) are allowed: their numbers mean something else.
static PROGRAM: [libc::sock_filter; 10] = [
    load(ARCHITECTURE),
    jump_if_equal(NATIVE_ARCHITECTURE, 0, 6),
    load(NUMBER),
    jump_if_equal(libc::SYS_mremap as u32, 5, 0),
    jump_if_equal(libc::SYS_userfaultfd as u32, 4, 0),
    jump_if_equal(libc::SYS_ioctl as u32, 0, 2),
    load(SECOND_ARGUMENT),
    jump_if_equal(USERFAULTFD_IOC_NEW, 1, 0),
    return_value(libc::SECCOMP_RET_ALLOW),
    return_value(libc::SECCOMP_RET_TRACE),
];

const fn load(offset: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

/// Skips `then` instructions where the loaded word is `value`, else `otherwise`.
const fn jump_if_equal(value: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: then,
        jf: otherwise,
        k: value,
    }
}

const fn return_value(value: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: value }
}

/// Whether the filter would mark this call.
pub(crate) fn marks(call: &Entry) -> bool {
    call.architecture == NATIVE_ARCHITECTURE
        && match call.number {
            libc::SYS_mremap | libc::SYS_userfaultfd => true,
            libc::SYS_ioctl => call.arguments[1] as u32 == USERFAULTFD_IOC_NEW,
            _ => false,
        }
}

/// Puts the calling thread, and what it starts, under the filter. Async-signal-safe.
///
/// # Errors
/// `EINVAL` where the kernel has no seccomp filters; `EACCES` or `EPERM` where an outer filter
/// forbids one.
pub(crate) fn install() -> io::Result<()> {
    let program = libc::sock_fprog {
        len: PROGRAM.len() as u16,
        filter: (&raw const PROGRAM).cast_mut().cast(),
    };
    // SAFETY: no preconditions.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Without the flag, a filter turns off speculative store bypass up to Linux 5.15, which slows
    // the program down. This filter confines nothing. gVisor has no such flag.
    let is_installed = [libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0].into_iter().any(|flags| {
        // SAFETY: the kernel copies the program, which outlives the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        result == 0
    });
    if is_installed { Ok(()) } else { Err(io::Error::last_os_error()) }
}
