//! Inspects a process before it is changed: whether it can be attached to, and where in its libc is
//! the code that attaching uses.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use mremap_plan::Range;
use mremap_plan::maps::parse_line;
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSymbol as _};

use crate::procfs;
use crate::ptrace::{self, Pid};
use crate::refusal::{self, explain_seize};

/// `mov rax, 15; syscall`: how a signal handler returns.
const RESTORER: &[u8] = b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05";
/// `syscall; ret`
const SYSCALL: &[u8] = b"\x0f\x05\xc3";
/// `mov [rsp + 8], r11; syscall; ret`: musl's `__syscall_cp_asm`, up to and behind its system call.
const CANCELLABLE: &[u8] = b"\x4c\x89\x5c\x24\x08\x0f\x05\xc3";
/// The library's file for programs linked with musl, beside the one for all others.
const NAME_FOR_MUSL: &str = "libmremap_shim_attach_musl.so";
/// How long the loader of a program that has just been started may take to map its libc.
const LONGEST_START: Duration = Duration::from_secs(1);
const RTLD_NOW: u64 = 2;
/// `__RTLD_DLOPEN`, which the internal function of libc before 2.34 requires.
const RTLD_DLOPEN: u64 = 0x8000_0000;

/// A process that can be attached to, as far as can be seen from outside.
pub(super) struct Target {
    pub(super) pid: Pid,
    pub(super) libc: Libc,
}

/// Addresses in a process's libc.
pub(super) struct Libc {
    code: Range,
    pub(super) mremap: u64,
    /// A function that loads a library, and its second argument.
    pub(super) dlopen: (u64, u64),
    /// Returns from a signal handler.
    pub(super) restorer: u64,
    /// Makes a system call and returns.
    pub(super) syscall: u64,
    /// Offset of errno from the thread pointer.
    pub(super) errno: u64,
    /// The code of `fork`, which may call the program with a lock held that `dlopen` would take.
    pub(super) fork: Range,
    /// The signal by which libc has every thread change its user or group id. The thread that asks
    /// for it holds the lock of the list of threads, which `dlopen` takes, until all have answered.
    pub(super) set_id_signal: i32,
    /// What is known of musl; `None` for glibc.
    pub(super) musl: Option<Musl>,
}

/// Addresses in musl's libc.
pub(super) struct Musl {
    /// Where a thread that may be cancelled waits in a system call. musl makes such calls with no
    /// lock of its allocator or loader held, and switches cancellation off to wait for one.
    pub(super) cancellable: u64,
    /// The function `syscall`, by which the program makes its own calls.
    syscall: Range,
}

/// A mapping of a process.
pub(super) struct Mapping {
    pub(super) range: Range,
    offset: u64,
    is_code: bool,
    inode: u64,
    pub(super) path: Vec<u8>,
}

impl Target {
    /// Inspects a process.
    ///
    /// # Errors
    /// Why it cannot be attached to.
    pub(super) fn inspect(pid: Pid) -> Result<Self> {
        refusal::check_process(pid)?.check_for_library(pid)?;
        let maps = mappings_with_libc(pid)?;
        let name = |mapping: &Mapping| file_name(&mapping.path).to_owned();
        let Some(base) = maps.iter().find(|mapping| is_libc(&name(mapping))) else {
            bail!(
                "{pid}: is a static program, or has a libc that is not known; start it by \
                 `mremap-analyzer run --reach all`, or follow it by `mremap-analyzer attach --reach \
                 all {pid}`, which makes every system call take 15 µs longer"
            );
        };
        let code = maps.iter().find(|mapping| mapping.is_code && mapping.path == base.path);
        let libc = code
            .context("it has no code")
            .and_then(|code| Libc::find(pid, base, code))
            .with_context(|| format!("{pid}: its libc, {}", text(&base.path)))?;
        Ok(Self { pid, libc })
    }

    /// Whether code at `address` may hold a lock of the allocator or the loader, or must not be
    /// interrupted.
    pub(super) fn may_hold_lock(&self, address: u64) -> bool {
        let Ok(maps) = mappings(self.pid) else { return true };
        let Some(mapping) = maps.iter().find(|it| it.is_code && it.range.contains(address)) else {
            return true;
        };
        let name = file_name(&mapping.path);
        let is_of_libc = is_libc(name)
            || ["ld-", "libpthread", "libdl", "libmremap_shim", "memfd:", "[vdso]"]
                .iter()
                .any(|of_libc| name.starts_with(of_libc));
        is_of_libc || mapping.inode != 0 && defines_malloc(self.pid, mapping)
    }

    /// Whether a thread that waits in a system call at `address` of libc may hold none of these
    /// locks, if the call is one for the program's own matters.
    pub(super) fn is_wait_of_libc(&self, address: u64) -> bool {
        match &self.libc.musl {
            // Its loader is the same file.
            Some(musl) => address == musl.cancellable || musl.syscall.contains(address),
            None => self.libc.code.contains(address),
        }
    }
}

impl Libc {
    fn find(pid: Pid, base: &Mapping, code: &Mapping) -> Result<Self> {
        let file = read_module(pid, base)?;
        let file = ElfFile64::<object::Endianness>::parse(&*file)?;
        let symbol = |name: &str| {
            let found =
                file.dynamic_symbols().find(|it| it.name() == Ok(name) && it.is_definition());
            found.map(|symbol| base.range.start + symbol.address())
        };
        let needed = |name: &str| symbol(name).with_context(|| format!("has no {name}"));
        let code_of = |name: &str| {
            let mut symbols = file.dynamic_symbols();
            let found = symbols.find(|it| it.name() == Ok(name) && it.is_definition());
            let found = found.with_context(|| format!("has no {name}"))?;
            let start = base.range.start + found.address();
            anyhow::Ok(Range { start, end: start + found.size() })
        };
        let is_musl = is_musl(file_name(&base.path));
        let dlopen = match symbol("dlopen") {
            Some(found) => (found, RTLD_NOW),
            None => (needed("__libc_dlopen_mode")?, RTLD_NOW | RTLD_DLOPEN),
        };
        let mut bytes = vec![0; code.range.len() as usize];
        if !ptrace::read_memory(pid, code.range.start, &mut bytes) {
            bail!("cannot be read: {}", explain_seize(pid, &io::Error::last_os_error()));
        }
        let find = |pattern: &[u8]| {
            let at = memchr::memmem::find(&bytes, pattern);
            at.map(|at| code.range.start + at as u64).context("consists of code that is not known")
        };
        Ok(Self {
            code: code.range,
            mremap: needed("mremap")?,
            dlopen,
            restorer: find(RESTORER)?,
            syscall: find(SYSCALL)?,
            errno: errno_offset(pid, needed("__errno_location")?)
                .context("has an __errno_location that is not known")?,
            fork: code_of("fork")?,
            set_id_signal: if is_musl { 34 } else { 33 },
            musl: if is_musl {
                let cancellable = find(CANCELLABLE)? + CANCELLABLE.len() as u64 - 1;
                Some(Musl { cancellable, syscall: code_of("syscall")? })
            } else {
                None
            },
        })
    }

    /// The address after the restorer, where its system call returns to.
    pub(super) fn after_restorer(&self) -> u64 {
        self.restorer + RESTORER.len() as u64
    }
}

/// Reads the offset of errno from the code that computes its address: `mov rax, [rip + …]; add rax,
/// fs:0; ret`, or musl's `mov rax, fs:0; add rax, …; ret`.
fn errno_offset(pid: Pid, function: u64) -> Option<u64> {
    const ENDBR64: &[u8] = b"\xf3\x0f\x1e\xfa";
    let mut code = [0; 24];
    ptrace::read_memory(pid, function, &mut code).then_some(())?;
    let start = if code.starts_with(ENDBR64) { ENDBR64.len() } else { 0 };
    let code = &code[start..];
    if let Some([0x48, 0x83, 0xc0, offset @ 0..=0x7f, 0xc3, ..]) =
        code.strip_prefix(b"\x64\x48\x8b\x04\x25\x00\x00\x00\x00")
    {
        return Some(u64::from(*offset));
    }
    let distance =
        i32::from_ne_bytes(code.strip_prefix(b"\x48\x8b\x05")?.get(..4)?.try_into().ok()?);
    code.get(7..)?.strip_prefix(b"\x64\x48\x03\x04\x25\x00\x00\x00\x00\xc3")?;
    let entry = (function + start as u64 + 7).wrapping_add_signed(i64::from(distance));
    let mut offset = [0; 8];
    ptrace::read_memory(pid, entry, &mut offset).then(|| u64::from_ne_bytes(offset))
}

/// The preload library's file.
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    inode: u64,
}

impl Image {
    /// Reads the library that a target's libc can load, given the one for glibc.
    ///
    /// # Errors
    /// It is missing, or the given one is musl's.
    pub(super) fn read(library: &Path, target: &Target) -> Result<Self> {
        let is_musl = target.libc.musl.is_some();
        let path = if is_musl { &library.with_file_name(NAME_FOR_MUSL) } else { library };
        let pid = target.pid;
        if !is_musl && file_name(path.as_os_str().as_bytes()) == NAME_FOR_MUSL {
            // glibc may allocate its thread-local storage inside a call of the allocator.
            bail!("{pid}: has glibc, and {} is only for programs linked with musl", path.display());
        }
        let unreadable = || {
            let purpose =
                if is_musl { format!("{pid}: is linked with musl: ") } else { String::new() };
            format!("{purpose}{}", path.display())
        };
        let inode = fs::metadata(path).with_context(unreadable)?.ino();
        let bytes = fs::read(path).with_context(unreadable)?;
        Ok(Self { path: path.to_owned(), bytes, inode })
    }

    /// The name of its file.
    pub(super) fn name(&self) -> &str {
        file_name(self.path.as_os_str().as_bytes())
    }

    /// Where a process has the library; `None` when it has none.
    ///
    /// # Errors
    /// It has another version, or the one that is preloaded and not the one for musl.
    pub(super) fn find_in(&self, pid: Pid) -> Result<Option<u64>> {
        let maps = mappings(pid)?;
        let is_start = |mapping: &&Mapping| mapping.offset == 0 && is_library(mapping);
        let Some(found) = maps.iter().find(is_start) else { return Ok(None) };
        if self.name() == NAME_FOR_MUSL && !file_name(&found.path).contains(NAME_FOR_MUSL) {
            bail!("{pid}: it was started with the library (LD_PRELOAD)");
        }
        let mut start = [0; 2048];
        let is_same = ptrace::read_memory(pid, found.range.start, &mut start)
            && self.bytes.starts_with(&start);
        if !is_same {
            bail!(
                "{pid}: has another version of the library, {}; use the mremap-analyzer that belongs \
                 to it",
                text(&found.path)
            );
        }
        Ok(Some(found.range.start))
    }

    /// The address of an exported function, with the library at `base`.
    pub(super) fn function(&self, base: u64, name: &str) -> Result<u64> {
        let file = ElfFile64::<object::Endianness>::parse(&*self.bytes)?;
        let found = file.dynamic_symbols().find(|symbol| symbol.name() == Ok(name));
        let found = found.with_context(|| {
            format!("{}: has no function {name}; it is of another version", self.path.display())
        })?;
        Ok(base + found.address())
    }

    /// Whether a process finds the same file by the same path.
    pub(super) fn is_visible_to(&self, pid: Pid) -> bool {
        let path = procfs::in_root(pid, self.path.as_os_str().as_bytes());
        path.and_then(|path| path.metadata().ok()).is_some_and(|file| file.ino() == self.inode)
    }
}

/// The mappings of a process; those of its libc, too, if its loader is about to map that.
fn mappings_with_libc(pid: Pid) -> Result<Vec<Mapping>> {
    let begun = Instant::now();
    loop {
        let maps = mappings(pid)?;
        let has = |is_it: fn(&str) -> bool| maps.iter().any(|it| is_it(file_name(&it.path)));
        let is_loading = has(|name| name.starts_with("ld-")) && !has(is_libc);
        if !is_loading || begun.elapsed() > LONGEST_START {
            return Ok(maps);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Reads all mappings of a process.
pub(super) fn mappings(pid: Pid) -> Result<Vec<Mapping>> {
    let maps = fs::read(format!("/proc/{pid}/maps"))
        .map_err(|error| anyhow::Error::msg(explain_seize(pid, &error)))?;
    let lines = maps.split(|&byte| byte == b'\n').filter_map(parse_line);
    let mapping = |line: mremap_plan::maps::Line| Mapping {
        range: line.vma.range,
        offset: line.vma.offset,
        is_code: line.vma.protection.is_some_and(|known| known.execute),
        inode: line.inode,
        path: line.path.to_vec(),
    };
    Ok(lines.map(mapping).collect())
}

/// The code of the preload library in a process.
pub(super) fn library_code(pid: Pid) -> Result<Option<Range>> {
    let maps = mappings(pid)?;
    Ok(maps.iter().find(|it| it.is_code && is_library(it)).map(|it| it.range))
}

fn is_library(mapping: &Mapping) -> bool {
    file_name(&mapping.path).contains("libmremap_shim")
}

fn is_libc(name: &str) -> bool {
    name == "libc.so.6" || name.starts_with("libc-2.") || is_musl(name)
}

/// musl's libc is its loader, too: a file with two names.
fn is_musl(name: &str) -> bool {
    name == "libc.so" || name.starts_with("ld-musl-") || name.starts_with("libc.musl-")
}

fn file_name(path: &[u8]) -> &str {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    std::str::from_utf8(name).unwrap_or_default()
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Reads the file of a mapping.
fn read_module(pid: Pid, mapping: &Mapping) -> Result<Vec<u8>> {
    let Some(path) = procfs::file_of_mapping(pid, &mapping.path, mapping.inode) else {
        bail!("was replaced since the process started; restart the process");
    };
    fs::read(&path).context("cannot be read")
}

fn defines_malloc(pid: Pid, mapping: &Mapping) -> bool {
    let Ok(file) = read_module(pid, mapping) else { return true };
    let Ok(file) = ElfFile64::<object::Endianness>::parse(&*file) else { return true };
    file.dynamic_symbols().any(|symbol| symbol.name() == Ok("malloc") && symbol.is_definition())
}
