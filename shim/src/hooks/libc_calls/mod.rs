//! `MREMAP_SHIM_LIBC=patch`: hooks the calls that libc makes to itself. Its `realloc` calls
//! `mremap` by an internal address, which a preloaded symbol does not change. So the code there is
//! made to jump to our hook.
//!
//! This happens at load, while there is one thread, and only to a function whose whole code is
//! known ([`shape`]). A page from libc's file is mapped elsewhere, changed, made executable, and
//! moved over the page in use by one `mremap`. So libc's code is mapped at every moment, no page is
//! ever writable and executable, and a system that forbids new code (`SELinux`, `PR_SET_MDWE`)
//! refuses before anything has changed. The patch stays until exit.
//!
//! Calls that arrive by the jump are forwarded to the kernel ([`Real::Kernel`]): a library function
//! could call libc's `mremap` again.
//!
//! [`Real::Kernel`]: crate::hooks::real::Real::Kernel

mod shape;

use core::ffi::{CStr, c_int, c_void};

use crate::hooks;
use crate::hooks::real;
use crate::process::diagnostics::push_errno;
use crate::sys::text::Text;
use crate::sys::{self, Errno, OpenFile};

/// Why libc was not patched.
pub(crate) struct Refusal {
    why: &'static str,
    errno: Option<i32>,
}

impl Refusal {
    fn because(why: &'static str) -> Self {
        Self { why, errno: None }
    }

    /// Appends the reason.
    pub(crate) fn describe<const CAPACITY: usize>(&self, line: &mut Text<CAPACITY>) {
        line.push(self.why.as_bytes());
        if let Some(errno) = self.errno {
            line.push(b": ");
            push_errno(line, errno);
        }
    }

    fn failed(why: &'static str) -> impl FnOnce(Errno) -> Self {
        move |failed| Self { why, errno: Some(failed.0) }
    }
}

const PAGE: usize = 4096;

/// Bytes of a `jmp` with its 32-bit distance.
pub(crate) const JUMP_SIZE: usize = 5;

/// Makes libc's `mremap` jump to our hook.
pub(crate) fn redirect() -> Result<(), Refusal> {
    if cfg!(not(target_arch = "x86_64")) {
        return Err(Refusal::because("only libc's code for x86-64 is known"));
    }
    let entry = real::mremap_of_libc()
        .filter(|&found| !hooks::is_own(found))
        .ok_or_else(|| Refusal::because("libc's mremap cannot be found"))?
        .addr();
    let (libc, Jump { at, code }) = find_jump(entry)?;
    // A thread inside the function would return into the middle of the jump.
    if !is_only_thread() {
        return Err(Refusal::because("other threads may be running already"));
    }
    let page = at & !(PAGE - 1);
    if at + JUMP_SIZE > page + PAGE {
        return Err(Refusal::because("libc's mremap crosses a page"));
    }
    replace_page(&libc, page, at - page, code)?;
    real::bypass_libc(entry);
    Ok(())
}

/// Finds the jump for a tracer that patches libc while all threads are stopped.
pub(crate) fn prepare(entry: usize) -> Result<Jump, Refusal> {
    let (_, jump) = find_jump(entry)?;
    real::bypass_libc(entry);
    Ok(jump)
}

/// A jump from libc's `mremap` to our hook.
pub(crate) struct Jump {
    pub(crate) at: usize,
    pub(crate) code: [u8; JUMP_SIZE],
}

fn find_jump(entry: usize) -> Result<(CodeSegment, Jump), Refusal> {
    let libc = CodeSegment::containing(entry)
        .ok_or_else(|| Refusal::because("libc's mremap cannot be found"))?;
    // SAFETY: libc's code is mapped as its headers say, and readable; `code_at` stays within its
    // segment.
    let code = unsafe { libc.code_at(entry) };
    let offset = shape::jump_offset(code)
        .ok_or_else(|| Refusal::because("the code of libc's mremap is unknown"))?;
    let at = entry + offset;
    let code = jump_between(at, hooks::entry_for_libc())?;
    Ok((libc, Jump { at, code }))
}

/// An executable segment of a loaded library.
struct CodeSegment {
    path: &'static CStr,
    start: usize,
    end: usize,
    /// Offset of `start` in the file.
    offset: usize,
}

impl CodeSegment {
    fn containing(address: usize) -> Option<Self> {
        let mut search = Search { address, found: None };
        // SAFETY: the callback has the type that the loader calls, and `search` outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(search_module), (&raw mut search).cast()) };
        search.found
    }

    /// The code at `address`, at most as long as the longest function that is known.
    ///
    /// # Safety
    /// The segment contains `address` and is readable.
    unsafe fn code_at(&self, address: usize) -> &'static [u8] {
        let len = shape::LONGEST.min(self.end - address);
        // SAFETY: by the contract above; a segment stays mapped.
        unsafe { core::slice::from_raw_parts(address as *const u8, len) }
    }
}

struct Search {
    address: usize,
    found: Option<CodeSegment>,
}

unsafe extern "C" fn search_module(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    data: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes a valid description, and the `Search` that was given to it.
    let (info, search) = unsafe { (&*info, &mut *data.cast::<Search>()) };
    // SAFETY: the module's own table of program headers.
    let headers =
        unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let segment = headers.iter().find_map(|header| {
        let start = (info.dlpi_addr + header.p_vaddr) as usize;
        let end = start + header.p_filesz as usize;
        let is_code = header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0;
        (is_code && (start..end).contains(&search.address)).then_some((
            start,
            end,
            header.p_offset as usize,
        ))
    });
    let Some((start, end, offset)) = segment else { return 0 };
    if !info.dlpi_name.is_null() {
        // SAFETY: the loader's name of a module that stays loaded.
        let path = unsafe { CStr::from_ptr(info.dlpi_name) };
        search.found = Some(CodeSegment { path, start, end, offset });
    }
    1
}

fn jump_between(from: usize, to: usize) -> Result<[u8; JUMP_SIZE], Refusal> {
    let distance = to.wrapping_sub(from + JUMP_SIZE) as isize;
    let [first, second, third, fourth] = i32::try_from(distance)
        .map_err(|_| Refusal::because("libc is too far away for a jump"))?
        .to_le_bytes();
    Ok([0xe9, first, second, third, fourth])
}

/// False where `/proc` is missing.
fn is_only_thread() -> bool {
    OpenFile::open_directory(c"/proc/self/task")
        .and_then(|tasks| tasks.links())
        .is_ok_and(|links| links == 3)
}

/// Replaces a page of libc's code by the same page of its file, with a jump at `offset`. Refuses a
/// page that differs from the file: it has a breakpoint, or another library's patch.
fn replace_page(
    libc: &CodeSegment,
    page: usize,
    offset: usize,
    jump: [u8; JUMP_SIZE],
) -> Result<(), Refusal> {
    let file_offset = (page - (libc.start & !(PAGE - 1))) + (libc.offset & !(PAGE - 1));
    let copy = OpenFile::open(libc.path)
        .and_then(|file| file.map_private(PAGE, file_offset))
        .map_err(Refusal::failed("libc's file cannot be mapped"))?;
    let patched = patch(copy, page, offset, jump);
    if patched.is_err() {
        sys::unmap(copy, PAGE);
    }
    patched
}

fn patch(copy: usize, page: usize, offset: usize, jump: [u8; JUMP_SIZE]) -> Result<(), Refusal> {
    // SAFETY: a page of libc's code, mapped and readable, and a page that nothing else refers to.
    // If the file is truncated, this faults as libc's own pages do.
    let (code, copied) =
        unsafe { (&*(page as *const [u8; PAGE]), &mut *(copy as *mut [u8; PAGE])) };
    if code != copied {
        return Err(Refusal::because("libc's code in memory differs from its file"));
    }
    for (byte, new) in copied.iter_mut().skip(offset).zip(jump) {
        *byte = new;
    }
    sys::mprotect(copy, PAGE, libc::PROT_READ | libc::PROT_EXEC)
        .map_err(Refusal::failed("memory cannot be made executable here"))?;
    sys::move_over(copy, PAGE, page).map_err(Refusal::failed("libc's code may not be replaced"))?;
    Ok(())
}
