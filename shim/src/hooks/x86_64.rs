//! `syscall`, `ioctl`, `prctl`, `mmap` and `shmat` on x86-64; see the module above.

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
        "endbr64",
        "cmp edi, {mremap}",
        "je {mremap_by_number}",
        "cmp edi, {seccomp}",
        "je {set_seccomp_by_number}",
        "cmp edi, {userfaultfd}",
        "je 3f",
        "cmp edi, {mmap}",
        "je 4f",
        "cmp edi, {shmat}",
        "je 4f",
        "cmp edi, {io_setup}",
        "je 4f",
        "cmp edi, {prctl}",
        "je 5f",
        "cmp edi, {ioctl}",
        "je 6f",
        "2:",
        "mov r11, qword ptr [rip + {next}]",
        "test r11, r11",
        "jz {by_itself}",
        "jmp r11",
        "3:",
        "mov byte ptr [rip + {userfaultfd_made}], 1",
        "jmp 2b",
        "4:",
        "mov byte ptr [rip + {files}], {file_mapped_anew}",
        "jmp 2b",
        "5:",
        "cmp esi, {pr_set_seccomp}",
        "je {set_seccomp_by_number_of_prctl}",
        "jmp 2b",
        "6:",
        "cmp edx, {new_userfaultfd}",
        "je 3b",
        "jmp 2b",
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
        "endbr64",
        "cmp esi, {new_userfaultfd}",
        "je 3f",
        "2:",
        "mov r11, qword ptr [rip + {next}]",
        "test r11, r11",
        "jz 4f",
        "jmp r11",
        "3:",
        "mov byte ptr [rip + {userfaultfd_made}], 1",
        "jmp 2b",
        // Before our constructor: as `syscall(SYS_ioctl, …)`.
        "4:",
        "mov rcx, rdx",
        "mov rdx, rsi",
        "mov rsi, rdi",
        "mov edi, {ioctl}",
        "jmp {by_itself}",
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
        "endbr64",
        "cmp edi, {pr_set_seccomp}",
        "je {set_seccomp}",
        "mov r11, qword ptr [rip + {next}]",
        "test r11, r11",
        "jz 2f",
        "jmp r11",
        // Before our constructor: as `syscall(SYS_prctl, …)`.
        "2:",
        "mov r9, r8",
        "mov r8, rcx",
        "mov rcx, rdx",
        "mov rdx, rsi",
        "mov rsi, rdi",
        "mov edi, {prctl}",
        "jmp {by_itself}",
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
                "endbr64",
                "test ecx, {map_anonymous}",
                "jnz 2f",
                "mov byte ptr [rip + {files}], {file_mapped_anew}",
                "2:",
                "mov r11, qword ptr [rip + {next}]",
                "test r11, r11",
                "jz 3f",
                "jmp r11",
                // Before our constructor: as `syscall(SYS_mmap, …)`, whose sixth argument is on the stack.
                "3:",
                "push r9",
                "push rax",
                "mov r9, r8",
                "mov r8, rcx",
                "mov rcx, rdx",
                "mov rdx, rsi",
                "mov rsi, rdi",
                "mov edi, {mmap}",
                "push qword ptr [rsp + 8]",
                "call {by_itself}",
                "add rsp, 24",
                "ret",
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
        "endbr64",
        "mov byte ptr [rip + {files}], {file_mapped_anew}",
        "mov r11, qword ptr [rip + {next}]",
        "test r11, r11",
        "jz 2f",
        "jmp r11",
        // Before our constructor: as `syscall(SYS_shmat, …)`.
        "2:",
        "mov rcx, rdx",
        "mov rdx, rsi",
        "mov rsi, rdi",
        "mov edi, {shmat}",
        "jmp {by_itself}",
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
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",
        "mov r8, r9",
        "mov r9, qword ptr [rsp + 8]",
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
