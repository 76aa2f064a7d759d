//! The hooks that jump to the real function, for x86-64. [`super`] says what each checks.
//!
//! Their arguments are in rdi, rsi, rdx, rcx, r8, r9 and on the stack. They change only r11, rax
//! and the flags, which a C function need not preserve.

use core::arch::naked_asm;

use super::{
    USERFAULTFD_IOC_NEW, mremap_by_number, set_seccomp, set_seccomp_by_number,
    set_seccomp_by_number_of_prctl,
};
use crate::hooks::evidence::{FILE_MAPPED, FILES, USERFAULTFD_MADE};
use crate::hooks::real::{IOCTL, MMAP, MMAP64, PRCTL, SHMAT, SYSCALL};

/// Exports a function that runs `checks` and jumps to the real one, at label 2. Before our
/// constructor the real one is not known: `early` makes the system call instead.
macro_rules! hook {
    (
        $name:ident: checks [$($check:literal)*] early [$($early:literal)*]
        real $real:ident, $($operands:tt)*
    ) => {
        /// # Safety
        /// As for the function of this name in libc.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name() {
            naked_asm!(
                "endbr64",
                $($check,)*
                "2:",
                "mov r11, qword ptr [rip + {real}]",
                "test r11, r11",
                "jz 3f",
                "jmp r11",
                "3:",
                $($early,)*
                real = sym $real,
                $($operands)*
            );
        }
    };
}

// long syscall(long number, …). The kernel takes the number from the lower half of the register.
hook! { syscall:
    checks [
        "cmp edi, {mremap}"
        "je {mremap_by_number}"
        "cmp edi, {seccomp}"
        "je {set_seccomp_by_number}"
        "cmp edi, {userfaultfd}"
        "je 4f"
        "cmp edi, {mmap}"
        "je 5f"
        "cmp edi, {shmat}"
        "je 5f"
        "cmp edi, {io_setup}"
        "je 5f"
        "cmp edi, {prctl}"
        "je 6f"
        "cmp edi, {ioctl}"
        "jne 2f"
        "cmp edx, {new_userfaultfd}"
        "jne 2f"
        "4:"
        "mov byte ptr [rip + {userfaultfd_made}], 1"
        "jmp 2f"
        "5:"
        "mov byte ptr [rip + {files}], {file_mapped}"
        "jmp 2f"
        "6:"
        "cmp esi, {pr_set_seccomp}"
        "je {set_seccomp_by_number_of_prctl}"
    ]
    early [
        "mov eax, edi"
        "mov rdi, rsi"
        "mov rsi, rdx"
        "mov rdx, rcx"
        "mov rcx, r8"
        "mov r8, r9"
        "mov r9, qword ptr [rsp + 8]"
        "jmp {enter_kernel}"
    ]
    real SYSCALL,
    mremap = const libc::SYS_mremap,
    mremap_by_number = sym mremap_by_number,
    seccomp = const libc::SYS_seccomp,
    set_seccomp_by_number = sym set_seccomp_by_number,
    userfaultfd = const libc::SYS_userfaultfd,
    mmap = const libc::SYS_mmap,
    shmat = const libc::SYS_shmat,
    io_setup = const libc::SYS_io_setup,
    prctl = const libc::SYS_prctl,
    pr_set_seccomp = const libc::PR_SET_SECCOMP,
    set_seccomp_by_number_of_prctl = sym set_seccomp_by_number_of_prctl,
    ioctl = const libc::SYS_ioctl,
    new_userfaultfd = const USERFAULTFD_IOC_NEW,
    files = sym FILES,
    file_mapped = const FILE_MAPPED,
    userfaultfd_made = sym USERFAULTFD_MADE,
    enter_kernel = sym enter_kernel,
}

// int ioctl(int fd, unsigned long request, …)
hook! { ioctl:
    checks [
        "cmp esi, {new_userfaultfd}"
        "jne 2f"
        "mov byte ptr [rip + {userfaultfd_made}], 1"
    ]
    early ["mov eax, {number}" "jmp {enter_kernel}"]
    real IOCTL,
    new_userfaultfd = const USERFAULTFD_IOC_NEW,
    userfaultfd_made = sym USERFAULTFD_MADE,
    number = const libc::SYS_ioctl,
    enter_kernel = sym enter_kernel,
}

// int prctl(int option, …)
hook! { prctl:
    checks ["cmp edi, {pr_set_seccomp}" "je {set_seccomp}"]
    early ["mov eax, {number}" "jmp {enter_kernel}"]
    real PRCTL,
    pr_set_seccomp = const libc::PR_SET_SECCOMP,
    set_seccomp = sym set_seccomp,
    number = const libc::SYS_prctl,
    enter_kernel = sym enter_kernel,
}

// void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
macro_rules! hook_mmap {
    ($name:ident, $real:ident) => {
        hook! { $name:
            checks [
                "test ecx, {anonymous}"
                "jnz 2f"
                "mov byte ptr [rip + {files}], {file_mapped}"
            ]
            early ["mov eax, {number}" "jmp {enter_kernel}"]
            real $real,
            anonymous = const libc::MAP_ANONYMOUS,
            files = sym FILES,
            file_mapped = const FILE_MAPPED,
            number = const libc::SYS_mmap,
            enter_kernel = sym enter_kernel,
        }
    };
}
hook_mmap!(mmap, MMAP);
hook_mmap!(mmap64, MMAP64);

// void *shmat(int id, const void *address, int flags)
hook! { shmat:
    checks ["mov byte ptr [rip + {files}], {file_mapped}"]
    early ["mov eax, {number}" "jmp {enter_kernel}"]
    real SHMAT,
    files = sym FILES,
    file_mapped = const FILE_MAPPED,
    number = const libc::SYS_shmat,
    enter_kernel = sym enter_kernel,
}

/// Makes the system call whose number is in rax with the arguments of a C function, and returns as
/// one: on failure it sets errno and returns -1.
#[unsafe(naked)]
unsafe extern "C" fn enter_kernel() {
    naked_asm!(
        "mov r10, rcx",
        "syscall",
        "cmp rax, -4095",
        "jae 2f",
        "ret",
        "2:",
        "neg eax",
        "push rax",
        "call {errno}",
        "pop rcx",
        "mov dword ptr [rax], ecx",
        "mov rax, -1",
        "ret",
        errno = sym libc::__errno_location,
    );
}
