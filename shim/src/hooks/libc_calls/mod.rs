//! `MREMAP_SHIM_LIBC=patch`: the calls that libc makes to itself. Its `realloc` calls `mremap` by an address within
//! libc, which no preloaded name stands in front of; so the function at that address is made to jump to our hook.
//!
//! At load, and only where the whole function is one that is known ([`shape`]) and no other thread is there. The page
//! it lies in is copied, changed and made executable elsewhere, then moved over the old one by one `mremap`: libc's
//! code is there at every moment, no page is ever writable and executable, and a system that lets nobody make
//! code (`SELinux`, `PR_SET_MDWE`) says so before anything has changed. It stays for the life of the process, as the
//! library does.
//!
//! What jumps here goes to the kernel from here, never to a function that could lead back ([`Next::Kernel`]).
//!
//! [`Next::Kernel`]: crate::hooks::real::Next::Kernel

mod shape;

use crate::hooks;
use crate::hooks::real;
use crate::sys::probe::{OneVma, is_one_vma};
use crate::sys::{self, Errno, OpenFile};

/// Why libc was left as it is.
pub(crate) struct Refusal {
    pub(crate) why: &'static str,
    pub(crate) errno: Option<i32>,
}

impl Refusal {
    fn because(why: &'static str) -> Self {
        Self { why, errno: None }
    }

    fn of(why: &'static str) -> impl FnOnce(Errno) -> Self {
        move |failed| Self { why, errno: Some(failed.0) }
    }
}

const PAGE: usize = 4096;

/// `jmp` and its distance.
const JUMP_SIZE: usize = 5;

/// Makes libc's `mremap` jump to our hook.
pub(crate) fn redirect() -> Result<(), Refusal> {
    if cfg!(not(target_arch = "x86_64")) {
        return Err(Refusal::because("only libc's code for x86-64 is known"));
    }
    let entry = real::mremap_of_libc()
        .filter(|&found| !hooks::are_at(found))
        .ok_or_else(|| Refusal::because("libc's mremap cannot be found"))?
        .addr();
    let place = entry + place_for_jump(entry)?;
    let jump = jump_between(place, hooks::entry_for_libc())?;
    // One that is in the middle of the function would come back to half an instruction.
    if !is_only_thread() {
        return Err(Refusal::because("other threads may be running already"));
    }
    let page = place & !(PAGE - 1);
    if place + JUMP_SIZE > page + PAGE {
        return Err(Refusal::because("libc's mremap lies across two pages"));
    }
    replace_page(page, place - page, jump)?;
    real::leave_out_libc(entry);
    Ok(())
}

fn place_for_jump(entry: usize) -> Result<usize, Refusal> {
    let unknown = || Refusal::because("libc's mremap is none that this library knows");
    let page = entry & !(PAGE - 1);
    if is_one_vma(page as u64, (entry - page + shape::ROOM) as u64) != OneVma::Yes {
        return Err(unknown());
    }
    // SAFETY: the kernel has just said that so much is mapped there, and libc's functions can be read.
    let code = unsafe { core::slice::from_raw_parts(entry as *const u8, shape::ROOM) };
    shape::place_for_jump(code).ok_or_else(unknown)
}

fn jump_between(place: usize, target: usize) -> Result<[u8; JUMP_SIZE], Refusal> {
    let distance = target.wrapping_sub(place + JUMP_SIZE) as isize;
    let [first, second, third, fourth] = i32::try_from(distance)
        .map_err(|_| Refusal::because("libc lies too far away for a jump"))?
        .to_le_bytes();
    Ok([0xe9, first, second, third, fourth])
}

/// False also where `/proc` does not tell.
fn is_only_thread() -> bool {
    OpenFile::open_directory(c"/proc/self/task")
        .and_then(|tasks| tasks.links())
        .is_ok_and(|links| links == 3)
}

fn replace_page(page: usize, offset: usize, jump: [u8; JUMP_SIZE]) -> Result<(), Refusal> {
    let copy = sys::map_zeros(PAGE).map_err(Refusal::of("no memory, errno "))?;
    // SAFETY: `copy` is a page that nobody else knows; `page` is one of libc's code, which the kernel said is mapped
    // where the function is, and a mapping has whole pages. The jump lies within it.
    unsafe {
        core::ptr::copy_nonoverlapping(page as *const u8, copy as *mut u8, PAGE);
        ((copy + offset) as *mut [u8; JUMP_SIZE]).write(jump);
    }
    sys::mprotect(copy, PAGE, libc::PROT_READ | libc::PROT_EXEC)
        .map_err(Refusal::of("no code may be made here, errno "))
        .and_then(|_| {
            sys::move_over(copy, PAGE, page)
                .map_err(Refusal::of("libc's code may not be replaced, errno "))
        })
        .inspect_err(|_| sys::unmap(copy, PAGE))
        .map(|_| ())
}
