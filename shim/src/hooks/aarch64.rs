//! The hooks that jump to the real function, for 64-bit Arm. [`super`] says what each checks.
//!
//! Their arguments are in x0 to x7. They change only x8, x16, x17 and the flags, which a C function
//! need not preserve.

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
                "hint #34", // bti c
                $($check,)*
                "2:",
                "adrp x16, {real}",
                "ldr x16, [x16, :lo12:{real}]",
                "cbz x16, 3f",
                "br x16",
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
        "cmp w0, #{mremap}"
        "b.eq {mremap_by_number}"
        "mov w16, #{seccomp}"
        "cmp w0, w16"
        "b.eq {set_seccomp_by_number}"
        "mov w16, #{userfaultfd}"
        "cmp w0, w16"
        "b.eq 4f"
        "cmp w0, #{mmap}"
        "b.eq 5f"
        "cmp w0, #{shmat}"
        "b.eq 5f"
        "cmp w0, #{io_setup}"
        "b.eq 5f"
        "cmp w0, #{prctl}"
        "b.eq 6f"
        "cmp w0, #{ioctl}"
        "b.ne 2f"
        "mov w16, #{new_userfaultfd}"
        "cmp w2, w16"
        "b.ne 2f"
        "4:"
        "mov w17, #1"
        "adrp x16, {userfaultfd_made}"
        "add x16, x16, :lo12:{userfaultfd_made}"
        "strb w17, [x16]"
        "b 2f"
        "5:"
        "mov w17, #{file_mapped}"
        "adrp x16, {files}"
        "add x16, x16, :lo12:{files}"
        "strb w17, [x16]"
        "b 2f"
        "6:"
        "cmp w1, #{pr_set_seccomp}"
        "b.eq {set_seccomp_by_number_of_prctl}"
    ]
    early [
        "mov w8, w0"
        "mov x0, x1"
        "mov x1, x2"
        "mov x2, x3"
        "mov x3, x4"
        "mov x4, x5"
        "mov x5, x6"
        "b {enter_kernel}"
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
        "mov w16, #{new_userfaultfd}"
        "cmp w1, w16"
        "b.ne 2f"
        "mov w17, #1"
        "adrp x16, {userfaultfd_made}"
        "add x16, x16, :lo12:{userfaultfd_made}"
        "strb w17, [x16]"
    ]
    early ["mov w8, #{number}" "b {enter_kernel}"]
    real IOCTL,
    new_userfaultfd = const USERFAULTFD_IOC_NEW,
    userfaultfd_made = sym USERFAULTFD_MADE,
    number = const libc::SYS_ioctl,
    enter_kernel = sym enter_kernel,
}

// int prctl(int option, …)
hook! { prctl:
    checks ["cmp w0, #{pr_set_seccomp}" "b.eq {set_seccomp}"]
    early ["mov w8, #{number}" "b {enter_kernel}"]
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
                "tst w3, #{anonymous}"
                "b.ne 2f"
                "mov w17, #{file_mapped}"
                "adrp x16, {files}"
                "add x16, x16, :lo12:{files}"
                "strb w17, [x16]"
            ]
            early ["mov w8, #{number}" "b {enter_kernel}"]
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
    checks [
        "mov w17, #{file_mapped}"
        "adrp x16, {files}"
        "add x16, x16, :lo12:{files}"
        "strb w17, [x16]"
    ]
    early ["mov w8, #{number}" "b {enter_kernel}"]
    real SHMAT,
    files = sym FILES,
    file_mapped = const FILE_MAPPED,
    number = const libc::SYS_shmat,
    enter_kernel = sym enter_kernel,
}

/// Makes the system call whose number is in x8 with the arguments of a C function, and returns as
/// one: on failure it sets errno and returns -1.
#[unsafe(naked)]
unsafe extern "C" fn enter_kernel() {
    naked_asm!(
        "svc #0",
        "cmn x0, #4095",
        "b.cs 2f",
        "ret",
        "2:",
        "neg w0, w0",
        "stp x29, x30, [sp, #-32]!",
        "str x0, [sp, #16]",
        "bl {errno}",
        "ldr x1, [sp, #16]",
        "str w1, [x0]",
        "mov x0, #-1",
        "ldp x29, x30, [sp], #32",
        "ret",
        errno = sym libc::__errno_location,
    );
}
