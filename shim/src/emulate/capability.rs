//! Whether this kernel moves several VMAs in one call. A version from 6.17 on shows that it does.
//! An older one shows nothing, since vendors backport: then it is tried, at the first move, on
//! pages of this library.

use core::slice;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use mremap_plan::{Flags, Range, Request};
pub(crate) use mremap_trace::Capability;

use crate::emulate::move_lock::MoveLock;
use crate::process::diagnostics;
use crate::recording::ring;
use crate::sys::cell::{LARGEST_PAGE, OwnPages};
use crate::sys::{self, Errno, elf_note};

static FOUND: AtomicU8 = AtomicU8::new(0);
static TRIED: AtomicBool = AtomicBool::new(false);

/// Pages to try on.
static PAGES: OwnPages<{ 6 * LARGEST_PAGE }> = OwnPages::new();

/// What this kernel can do; the first call tries. A trial that fails for another reason, such as
/// the limit on mappings, leaves [`Capability::Unknown`]: emulation is right on every kernel.
pub(crate) fn of_kernel() -> Capability {
    match known() {
        Capability::Unknown => try_once(),
        known => known,
    }
}

/// Whether this kernel is known to move several VMAs.
pub(crate) fn is_native() -> bool {
    known() == Capability::MultiVma
}

/// Reads the kernel's version, at load: without a system call, which a filter might forbid. The
/// vDSO has it in a note, as `LINUX_VERSION_CODE` (`arch/*/vdso/note.S`).
///
/// # Safety
/// The vDSO is still where the kernel has mapped it.
pub(crate) unsafe fn read_version() {
    const FIRST_NATIVE: u32 = 6 << 16 | 17 << 8;
    // SAFETY: by the contract above.
    let version = unsafe { version_in_vdso() };
    if version.is_some_and(|version| version >= FIRST_NATIVE) {
        FOUND.store(Capability::MultiVma as u8, Ordering::Relaxed);
        ring::note_capability(Capability::MultiVma);
    }
}

/// # Safety
/// As of [`read_version`].
unsafe fn version_in_vdso() -> Option<u32> {
    // SAFETY: no preconditions.
    let start = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    // SAFETY: 0, or the address of an ELF file in memory, by the contract above.
    let file = unsafe { (start as *const libc::Elf64_Ehdr).as_ref() }?;
    let headers = (start + file.e_phoff) as *const libc::Elf64_Phdr;
    // SAFETY: the file's own.
    let headers = unsafe { slice::from_raw_parts(headers, usize::from(file.e_phnum)) };
    let loaded = headers.iter().find(|header| header.p_type == libc::PT_LOAD)?;
    // SAFETY: the file is mapped at `start`, and stays.
    let note =
        unsafe { elf_note::find(start.wrapping_sub(loaded.p_vaddr), headers, b"Linux\0", 0) };
    note.and_then(|note| note.first_chunk()).map(|code| u32::from_ne_bytes(*code))
}

fn known() -> Capability {
    Capability::from_raw(FOUND.load(Ordering::Relaxed).into()).unwrap_or_default()
}

/// ```text
///   page 1      page 2              page 4      page 5
///  | r--     |  rw-     |   --->   | r--     |  rw-     |
/// ```
fn try_once() -> Capability {
    let lock = MoveLock::acquire();
    // Only once: a failed trial may have left a hole, where the program may map something.
    if known() != Capability::Unknown || TRIED.swap(true, Ordering::Relaxed) {
        return known();
    }
    let first = PAGES.start() + LARGEST_PAGE;
    if sys::mprotect(first, LARGEST_PAGE, libc::PROT_READ).is_err() {
        return Capability::Unknown;
    }
    let len = 2 * LARGEST_PAGE as u64;
    let tried = sys::mremap(&Request {
        old: first as u64,
        old_len: len,
        new_len: len,
        flags: Flags(Flags::MAYMOVE.0 | Flags::FIXED.0),
        new: (first + 3 * LARGEST_PAGE) as u64,
    });
    restore(first);
    let (capability, message) = match tried {
        Ok(_) => (
            Capability::MultiVma,
            "this kernel moves several VMAs in one mremap: nothing to emulate",
        ),
        Err(Errno::EFAULT) => (
            Capability::OneVma,
            "this kernel moves one VMA at a time: moves of several are emulated",
        ),
        Err(_) => return Capability::Unknown,
    };
    FOUND.store(capability as u8, Ordering::Relaxed);
    let _signals = lock.release();
    // Ends a trace that was truncated.
    ring::is_intact();
    ring::note_capability(capability);
    diagnostics::inform(message, "", None);
    capability
}

/// Maps again what the trial unmapped, as it was: leak checkers read all of a library's memory.
fn restore(first: usize) {
    for start in [first, first + 3 * LARGEST_PAGE] {
        sys::map_zeros_if_free(start, 2 * LARGEST_PAGE);
        let _ = sys::mprotect(start, 2 * LARGEST_PAGE, libc::PROT_READ | libc::PROT_WRITE);
    }
}

/// Where the trial is made. It leaves a hole for an instant, so the program may have mapped
/// something there.
pub(crate) fn trial_pages() -> Range {
    let start = PAGES.start() as u64;
    Range { start, end: start + size_of_val(&PAGES) as u64 }
}
