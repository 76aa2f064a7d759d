//! What a trace says about its process: directory, executable, arguments, machine, and the
//! executable modules that are loaded. Gathered once, at load; a fork's child writes the same into
//! its own trace.

use core::ffi::{CStr, c_int, c_void};

use mremap_trace::{HeaderText, Module};

use crate::recording::return_address;
use crate::sys::cell::SyncCell;
use crate::sys::text::Text;
use crate::sys::{self, OpenFile, elf_note};

const MAX_MODULES: usize = 256;
const PATH_CAPACITY: usize = 256;

#[derive(Clone, Copy)]
struct LoadedModule {
    start: u64,
    end: u64,
    offset: u64,
    build_id: [u8; 20],
    build_id_len: u8,
    path: Text<PATH_CAPACITY>,
}

/// What is small comes first: each page that is touched costs a page fault at load.
#[repr(C)]
struct Identity {
    module_count: usize,
    /// From the lowest library to the end of the highest; zeros for none. The executable, the first
    /// module, is elsewhere.
    libraries: [u64; 2],
    boot_id: [u8; 16],
    kernel: Text<65>,
    host: Text<65>,
    directory: Text<4096>,
    exe: Text<4094>,
    argv: Text<8190>,
    modules: [LoadedModule; MAX_MODULES],
}

/// Written by `gather` alone, at load; read once the trace is open. All zeros: what is not would be
/// 100 KiB of the library's file, and copied from there when it is written.
static IDENTITY: SyncCell<Identity> = SyncCell::new(Identity {
    module_count: 0,
    libraries: [0; 2],
    boot_id: [0; 16],
    kernel: Text::EMPTY,
    host: Text::EMPTY,
    directory: Text::EMPTY,
    exe: Text::EMPTY,
    argv: Text::EMPTY,
    modules: [LoadedModule {
        start: 0,
        end: 0,
        offset: 0,
        build_id: [0; 20],
        build_id_len: 0,
        path: Text::EMPTY,
    }; MAX_MODULES],
});

fn identity() -> &'static Identity {
    // SAFETY: nothing writes it after `gather`; see `IDENTITY`.
    unsafe { &*IDENTITY.get() }
}

/// Gathers the identity. `directory` is the one for traces; it is made absolute, since the program
/// may change its working directory before it forks. Reads the arguments from `/proc` if none are
/// given.
///
/// A later call, for another trace, changes the directory only.
///
/// # Safety
/// Must be called at load, or while no trace is open, before any other function of this file.
pub(crate) unsafe fn gather(directory: &[u8], mut arguments: impl Iterator<Item = &'static [u8]>) {
    // SAFETY: the only reference, by the contract above.
    let identity = unsafe { &mut *IDENTITY.get() };
    identity.directory.len = 0;
    if directory.first() != Some(&b'/')
        && let Ok(len) = sys::working_directory(&mut identity.directory.bytes)
    {
        identity.directory.len = len.saturating_sub(1);
        identity.directory.push(b"/");
    }
    identity.directory.push(directory);
    identity.directory.push(b"\0");
    if identity.module_count > 0 {
        return;
    }
    match sys::readlink(c"/proc/self/exe", &mut identity.exe.bytes) {
        Ok(len) => identity.exe.len = len,
        Err(_) => identity.exe.push(executed_path()),
    }
    if let Some(first) = arguments.next() {
        for argument in core::iter::once(first).chain(arguments) {
            identity.argv.push(argument);
            identity.argv.push(b"\0");
        }
    } else if let Ok(read) =
        OpenFile::open(c"/proc/self/cmdline").and_then(|file| file.read(&mut identity.argv.bytes))
    {
        identity.argv.len = read;
    }
    if let Some(names) = sys::uname() {
        identity.kernel.push(c_bytes(&names.release));
        identity.host.push(c_bytes(&names.nodename));
    }
    identity.boot_id = read_boot_id().unwrap_or_default();
    // SAFETY: `take_module` has the type that is wanted, and its argument is the identity it is
    // cast to. At load this thread holds the loader's lock, or may take it.
    unsafe { libc::dl_iterate_phdr(Some(take_module), (&raw mut *identity).cast()) };
}

/// The path given to `execve`, which may be relative. Used where `/proc` is missing.
fn executed_path() -> &'static [u8] {
    // SAFETY: no preconditions.
    let path = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const core::ffi::c_char;
    if path.is_null() {
        return b"";
    }
    // SAFETY: a C string that the kernel put above the stack, for the life of the process.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

fn c_bytes(text: &[core::ffi::c_char; 65]) -> &[u8] {
    // SAFETY: `c_char` has the size and alignment of a byte.
    let bytes = unsafe { &*(&raw const *text).cast::<[u8; 65]>() };
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.get(..len).unwrap_or(&[])
}

/// Reads the boot id, `xxxxxxxx-xxxx-…`, as 16 bytes.
fn read_boot_id() -> Option<[u8; 16]> {
    let fd = sys::open(c"/proc/sys/kernel/random/boot_id", libc::O_RDONLY, 0).ok()?;
    let mut text = [0u8; 40];
    let read = sys::read(fd, &mut text);
    sys::close(fd);
    read.ok()?;
    let mut digits = text.iter().filter_map(|&byte| char::from(byte).to_digit(16));
    let mut id = [0; 16];
    for byte in &mut id {
        *byte = (digits.next()? << 4 | digits.next()?) as u8;
    }
    Some(id)
}

unsafe extern "C" fn take_module(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    data: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes a valid description; `data` is the identity from `gather`.
    let (info, identity) = unsafe { (&*info, &mut *data.cast::<Identity>()) };
    // SAFETY: the module's program headers, as the loader describes them.
    let headers =
        unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let name: &[u8] = if info.dlpi_name.is_null() {
        b""
    } else {
        // SAFETY: the loader's C string.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes()
    };
    let (build_id, build_id_len) = build_id(info.dlpi_addr, headers);
    for header in
        headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_X != 0)
    {
        let start = info.dlpi_addr.wrapping_add(header.p_vaddr);
        let end = start.wrapping_add(header.p_memsz);
        let own = (take_module as *const ()).addr() as u64;
        if (start..end).contains(&own) {
            return_address::set_own_text(start as usize, end as usize);
        }
        let Some(module) = identity.modules.get_mut(identity.module_count) else {
            return 0;
        };
        *module = LoadedModule {
            start,
            end,
            offset: header.p_offset,
            build_id,
            build_id_len,
            path: Text::EMPTY,
        };
        // The loader gives the executable an empty name.
        module.path.push(if name.is_empty() { identity.exe.get() } else { name });
        if identity.module_count > 0 {
            let [lowest, highest] = identity.libraries;
            let lowest = if highest == 0 { start } else { lowest.min(start) };
            identity.libraries = [lowest, highest.max(end)];
        }
        identity.module_count += 1;
    }
    0
}

/// Returns a module's GNU build id, and its length in bytes; length 0 when there is none.
fn build_id(base: u64, headers: &[libc::Elf64_Phdr]) -> ([u8; 20], u8) {
    const NT_GNU_BUILD_ID: u32 = 3;
    // SAFETY: the loader describes a module that it has loaded.
    let found = unsafe { elf_note::find(base, headers, b"GNU\0", NT_GNU_BUILD_ID) };
    let found = found.unwrap_or(&[]);
    let mut id = [0; 20];
    for (to, from) in id.iter_mut().zip(found) {
        *to = *from;
    }
    (id, found.len().min(20) as u8)
}

/// Calls `write` with the texts of the trace's header.
pub(crate) fn with_text<T>(write: impl FnOnce(&HeaderText<'_>) -> T) -> T {
    let identity = identity();
    write(&HeaderText {
        shim_version: env!("CARGO_PKG_VERSION").as_bytes(),
        kernel: identity.kernel.get(),
        host: identity.host.get(),
        exe: identity.exe.get(),
        argv: identity.argv.get(),
    })
}

/// Path of the executable.
pub(crate) fn exe() -> &'static [u8] {
    identity().exe.get()
}

pub(crate) fn boot_id() -> [u8; 16] {
    identity().boot_id
}

/// Whether `address` is in a module that was loaded with the program.
pub(crate) fn knows_code_at(address: u64) -> bool {
    let identity = identity();
    let [lowest, highest] = identity.libraries;
    let count = if (lowest..highest).contains(&address) { identity.module_count } else { 1 };
    let mut modules = identity.modules.iter().take(identity.module_count.min(count));
    modules.any(|module| (module.start..module.end).contains(&address))
}

/// The modules that were loaded with the program, and their paths.
pub(crate) fn modules() -> impl Iterator<Item = (Module, &'static [u8])> {
    let identity = identity();
    let loaded = identity.modules.iter().take(identity.module_count);
    loaded.map(|module| {
        let described = Module {
            start: module.start,
            end: module.end,
            offset: module.offset,
            path_len: 0,
            since: 0,
            build_id_len: module.build_id_len,
            build_id: module.build_id,
        };
        (described, module.path.get())
    })
}

/// The directory for traces; `None` when its path is too long.
pub(crate) fn directory() -> Option<&'static CStr> {
    CStr::from_bytes_with_nul(identity().directory.get()).ok()
}
