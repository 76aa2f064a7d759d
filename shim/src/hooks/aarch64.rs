//! `syscall`, `ioctl`, `prctl`, `mmap` and `shmat` on 64-bit Arm; see the module above.

use core::arch::naked_asm;

use super::{
    USERFAULTFD_IOC_NEW, mremap_by_number, set_seccomp, set_seccomp_by_number,
    set_seccomp_by_number_of_prctl,
};
use crate::hooks::evidence::{FILE_MAPPED_ANEW, FILES, USERFAULTFD_MADE};
use crate::hooks::real::{IOCTL, MMAP, MMAP64, PRCTL, SHMAT, SYSCALL};

/// `long syscall(long number, …)`. The kernel looks at the lower half of the number.
///
/// # Safety
/// As for libc's.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn syscall() {
    naked_asm!(
        "hint #34", // bti c
        "cmp w0, #{mremap}",
        "b.eq {mremap_by_number}",
        "mov w16, #{seccomp}",
        "cmp w0, w16",
        "b.eq {set_seccomp_by_number}",
        "mov w16, #{userfaultfd}",
        "cmp w0, w16",
        "b.eq 3f",
        "cmp w0, #{mmap}",
        "b.eq 4f",
        "cmp w0, #{shmat}",
        "b.eq 4f",
        "cmp w0, #{io_setup}",
        "b.eq 4f",
        "cmp w0, #{prctl}",
        "b.eq 5f",
        "cmp w0, #{ioctl}",
        "b.eq 6f",
        "2:",
        "adrp x16, {next}",
        "ldr x16, [x16, :lo12:{next}]",
        "cbz x16, {by_itself}",
        "br x16",
        "3:",
        "mov w17, #1",
        "adrp x16, {userfaultfd_made}",
        "add x16, x16, :lo12:{userfaultfd_made}",
        "strb w17, [x16]",
        "b 2b",
        "4:",
        "mov w17, #{file_mapped_anew}",
        "adrp x16, {files}",
        "add x16, x16, :lo12:{files}",
        "strb w17, [x16]",
        "b 2b",
        "5:",
        "cmp w1, #{pr_set_seccomp}",
        "b.eq {set_seccomp_by_number_of_prctl}",
        "b 2b",
        "6:",
        "mov w16, #{new_userfaultfd}",
        "cmp w2, w16",
        "b.eq 3b",
        "b 2b",
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
        file_mapped_anew = const FILE_MAPPED_ANEW,
        userfaultfd_made = sym USERFAULTFD_MADE,
        next = sym SYSCALL,
        by_itself = sym syscall_by_itself,
    );
}

/// `int ioctl(int fd, unsigned long request, …)`.
///
/// # Safety
/// As for libc's.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn ioctl() {
    naked_asm!(
        "hint #34", // bti c
        "mov w16, #{new_userfaultfd}",
        "cmp w1, w16",
        "b.eq 3f",
        "2:",
        "adrp x16, {next}",
        "ldr x16, [x16, :lo12:{next}]",
        "cbz x16, 4f",
        "br x16",
        "3:",
        "mov w17, #1",
        "adrp x16, {userfaultfd_made}",
        "add x16, x16, :lo12:{userfaultfd_made}",
        "strb w17, [x16]",
        "b 2b",
        // Before our constructor: as `syscall(SYS_ioctl, …)`.
        "4:",
        "mov x3, x2",
        "mov x2, x1",
        "mov x1, x0",
        "mov x0, #{ioctl}",
        "b {by_itself}",
        new_userfaultfd = const USERFAULTFD_IOC_NEW,
        userfaultfd_made = sym USERFAULTFD_MADE,
        next = sym IOCTL,
        ioctl = const libc::SYS_ioctl,
        by_itself = sym syscall_by_itself,
    );
}

/// `int prctl(int option, …)`.
///
/// # Safety
/// As for libc's.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn prctl() {
    naked_asm!(
        "hint #34", // bti c
        "cmp w0, #{pr_set_seccomp}",
        "b.eq {set_seccomp}",
        "adrp x16, {next}",
        "ldr x16, [x16, :lo12:{next}]",
        "cbz x16, 2f",
        "br x16",
        // Before our constructor: as `syscall(SYS_prctl, …)`.
        "2:",
        "mov x5, x4",
        "mov x4, x3",
        "mov x3, x2",
        "mov x2, x1",
        "mov x1, x0",
        "mov x0, #{prctl}",
        "b {by_itself}",
        pr_set_seccomp = const libc::PR_SET_SECCOMP,
        set_seccomp = sym set_seccomp,
        next = sym PRCTL,
        prctl = const libc::SYS_prctl,
        by_itself = sym syscall_by_itself,
    );
}

/// `void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)`, under both of
/// its names.
macro_rules! hook_mmap {
    ($name:ident, $next:ident) => {
        /// # Safety
        /// As for libc's.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name() {
            naked_asm!(
                "hint #34", // bti c
                "tst w3, #{map_anonymous}",
                "b.ne 2f",
                "mov w17, #{file_mapped_anew}",
                "adrp x16, {files}",
                "add x16, x16, :lo12:{files}",
                "strb w17, [x16]",
                "2:",
                "adrp x16, {next}",
                "ldr x16, [x16, :lo12:{next}]",
                "cbz x16, 3f",
                "br x16",
                // Before our constructor: as `syscall(SYS_mmap, …)`.
                "3:",
                "mov x6, x5",
                "mov x5, x4",
                "mov x4, x3",
                "mov x3, x2",
                "mov x2, x1",
                "mov x1, x0",
                "mov x0, #{mmap}",
                "b {by_itself}",
                map_anonymous = const libc::MAP_ANONYMOUS,
                files = sym FILES,
                file_mapped_anew = const FILE_MAPPED_ANEW,
                next = sym $next,
                mmap = const libc::SYS_mmap,
                by_itself = sym syscall_by_itself,
            );
        }
    };
}

hook_mmap!(mmap, MMAP);
hook_mmap!(mmap64, MMAP64);

/// `void *shmat(int id, const void *address, int flags)`.
///
/// # Safety
/// As for libc's.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn shmat() {
    naked_asm!(
        "hint #34", // bti c
        "mov w17, #{file_mapped_anew}",
        "adrp x16, {files}",
        "add x16, x16, :lo12:{files}",
        "strb w17, [x16]",
        "adrp x16, {next}",
        "ldr x16, [x16, :lo12:{next}]",
        "cbz x16, 2f",
        "br x16",
        // Before our constructor: as `syscall(SYS_shmat, …)`.
        "2:",
        "mov x3, x2",
        "mov x2, x1",
        "mov x1, x0",
        "mov x0, #{shmat}",
        "b {by_itself}",
        files = sym FILES,
        file_mapped_anew = const FILE_MAPPED_ANEW,
        next = sym SHMAT,
        shmat = const libc::SYS_shmat,
        by_itself = sym syscall_by_itself,
    );
}

/// What libc's `syscall` does, for calls that come before our constructor has found libc's.
///
/// # Safety
/// As for libc's.
#[unsafe(naked)]
unsafe extern "C" fn syscall_by_itself() {
    naked_asm!(
        "mov w8, w0",
        "mov x0, x1",
        "mov x1, x2",
        "mov x2, x3",
        "mov x3, x4",
        "mov x4, x5",
        "mov x5, x6",
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
