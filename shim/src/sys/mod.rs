//! System calls, one wrapper each, made without libc: its symbols may be interposed by others, and
//! it sets errno. Every wrapper returns the kernel's value, or the [`Errno`].
//!
//! # Safety
//! Each `unsafe` block is one system call instruction. A wrapper passes only pointers to
//! memory that it borrows for the call, or addresses whose owner its documentation names.

pub(crate) mod cell;
pub(crate) mod decimal;
pub(crate) mod elf_note;
pub(crate) mod probe;
pub(crate) mod proc_maps;
pub(crate) mod scratch;
pub(crate) mod text;
#[cfg(not(debug_assertions))]
mod unwinder;
pub(crate) mod user_memory;
pub(crate) mod vfork;

use core::ffi::{CStr, c_long, c_void};

use mremap_plan::procmap::{self, ProcmapQuery};
use mremap_plan::{Flags, Request};
use syscalls::{Sysno, raw_syscall};

use crate::process::address_space::page_size;

pub(crate) use mremap_plan::Errno;

/// A system call's value, or its errno.
pub(crate) type Result<T = usize> = core::result::Result<T, Errno>;

/// The errno in a raw result of a system call, if it is one: the last 4,095 values are.
#[inline]
pub(crate) fn errno_of(raw: isize) -> Option<Errno> {
    (-4095..0).contains(&raw).then_some(Errno(-raw as i32))
}

/// A result as the kernel returns it in its register.
#[inline]
pub(crate) fn to_raw(result: Result) -> isize {
    match result {
        Ok(value) => value as isize,
        Err(Errno(errno)) => -(errno as isize),
    }
}

#[inline]
fn from_raw(raw: usize) -> Result {
    errno_of(raw as isize).map_or(Ok(raw), Err)
}

macro_rules! call {
    ($name:ident $(, $argument:expr)*) => {{
        // SAFETY: see the head of this file.
        from_raw(unsafe { raw_syscall!(Sysno::$name $(, $argument)*) })
    }};
}

/// `mremap`, with the arguments of the program or of the plan that was made for it. No reference of
/// this library points into the mappings that it moves or replaces.
#[inline]
pub(crate) fn mremap(request: &Request) -> Result {
    let Request { old, old_len, new_len, flags: Flags(flags), new } = *request;
    call!(mremap, old, old_len, new_len, u64::from(flags), new)
}

/// The system call `number`, with the program's own arguments.
pub(crate) fn by_number(number: c_long, arguments: [usize; 5]) -> Result {
    let [first, second, third, fourth, fifth] = arguments;
    let number = Sysno::new(number as usize).ok_or(Errno(libc::ENOSYS))?;
    // SAFETY: the program asks for what it does to its memory.
    from_raw(unsafe { raw_syscall!(number, first, second, third, fourth, fifth) })
}

/// `mmap` of a mapping type that does not exist, which never maps anything. The errno shows what
/// is there: `EEXIST`, something is mapped in the range; `ENOMEM`, the range ends beyond
/// `TASK_SIZE`; `EINVAL`, it is free. The order of these checks in `do_mmap` is the same from 5.10
/// to 7.x; see [`probe::sees_mappings`] for other kernels.
pub(crate) fn mmap_of_no_type(address: u64, len: u64) -> Errno {
    const NO_TYPE: i32 = libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE | libc::MAP_ANONYMOUS;
    call!(mmap, address, len, libc::PROT_NONE, NO_TYPE, -1i32, 0).err().unwrap_or(Errno(0))
}

/// Maps memory that has no file.
fn map_anonymous(address: usize, len: usize, protection: i32, flags: i32) -> Result {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    call!(mmap, address, len, protection, flags, -1i32, 0)
}

/// Maps zeros over memory that the caller owns.
pub(crate) fn map_zeros_over(address: usize, len: usize) -> Result {
    let flags = libc::MAP_FIXED | libc::MAP_NORESERVE;
    map_anonymous(address, len, libc::PROT_READ | libc::PROT_WRITE, flags)
}

/// Maps zeros at `address` if nothing is mapped there; else changes nothing. A kernel that does not
/// know the flag maps elsewhere.
pub(crate) fn map_zeros_if_free(address: usize, len: usize) {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    match map_anonymous(address, len, protection, libc::MAP_FIXED_NOREPLACE) {
        Ok(mapped) if mapped != address => unmap(mapped, len),
        _ => {}
    }
}

/// Maps zeros that can only be read: at `address`, or where the kernel chooses, as `flags` say.
pub(crate) fn map_untouched(address: usize, len: usize, flags: i32) -> Result {
    map_anonymous(address, len, libc::PROT_READ, flags)
}

/// Reserves address space at `address`, if nothing is mapped there. Kernels before 4.17 do not know
/// the flag, and reserve some elsewhere.
pub(crate) fn reserve(address: usize, len: usize) -> Result {
    let flags = libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE;
    map_anonymous(address, len, libc::PROT_NONE, flags)
}

/// Reserves address space where the kernel chooses.
pub(crate) fn reserve_anywhere(len: usize) -> Result {
    map_anonymous(0, len, libc::PROT_NONE, libc::MAP_NORESERVE)
}

/// Moves a mapping of this library's over another one that the caller may replace.
pub(crate) fn move_over(from: usize, len: usize, to: usize) -> Result {
    call!(mremap, from, len, len, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, to)
}

/// Shrinks a mapping of the caller's.
pub(crate) fn shrink(address: usize, len: usize, new_len: usize) -> Result {
    call!(mremap, address, len, new_len, libc::MREMAP_MAYMOVE, 0)
}

/// Whether the page at `address` belongs to a shared mapping, which alone can be mapped twice.
pub(crate) fn is_shared(address: usize) -> bool {
    let page = page_size() as usize;
    let copy = call!(mremap, address, 0, page, libc::MREMAP_MAYMOVE);
    if let Ok(copy) = copy {
        unmap(copy, page);
    }
    copy.is_ok()
}

/// Unmaps what the caller owns.
pub(crate) fn unmap(address: usize, len: usize) {
    let _ = call!(munmap, address, len);
}

pub(crate) fn madvise(address: usize, len: usize, advice: i32) -> Result {
    call!(madvise, address, len, advice)
}

pub(crate) fn mprotect(address: usize, len: usize, protection: i32) -> Result {
    call!(mprotect, address, len, protection)
}

pub(crate) fn open(path: &CStr, flags: i32, mode: u32) -> Result<i32> {
    open_in(libc::AT_FDCWD, path, flags, mode)
}

/// Opens a file to read by the older `open`, where there is one.
pub(crate) fn open_by_open(path: &CStr) -> Result<i32> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    #[cfg(target_arch = "x86_64")]
    return call!(open, path.as_ptr(), flags, 0).map(|fd| fd as i32);
    #[cfg(not(target_arch = "x86_64"))]
    return open(path, flags, 0);
}

fn open_in(directory: i32, path: &CStr, flags: i32, mode: u32) -> Result<i32> {
    call!(openat, directory, path.as_ptr(), flags | libc::O_CLOEXEC, mode).map(|fd| fd as i32)
}

pub(crate) fn close(fd: i32) {
    let _ = call!(close, fd);
}

/// A file that is closed when it is dropped.
pub(crate) struct OpenFile(i32);

/// Identifies a file: its device and inode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl OpenFile {
    pub(crate) fn open(path: &CStr) -> Result<Self> {
        open(path, libc::O_RDONLY, 0).map(Self)
    }

    pub(crate) fn open_directory(path: &CStr) -> Result<Self> {
        open(path, libc::O_PATH | libc::O_DIRECTORY, 0).map(Self)
    }

    /// Opens a file of this directory; not through a symbolic link.
    pub(crate) fn open_in(&self, name: &CStr, flags: i32, mode: u32) -> Result<Self> {
        open_in(self.0, name, flags | libc::O_NOFOLLOW, mode).map(Self)
    }

    pub(crate) fn unlink_in(&self, name: &CStr) {
        let _ = call!(unlinkat, self.0, name.as_ptr(), 0);
    }

    pub(crate) fn id(&self) -> Result<FileId> {
        self.status().map(|found| FileId { device: found.st_dev, inode: found.st_ino })
    }

    /// The link count. A directory's is two more than the directories it contains.
    pub(crate) fn links(&self) -> Result<libc::nlink_t> {
        self.status().map(|found| found.st_nlink)
    }

    fn status(&self) -> Result<libc::stat> {
        // SAFETY: all zeros is a `stat`.
        let mut found: libc::stat = unsafe { core::mem::zeroed() };
        call!(fstat, self.0, &raw mut found)?;
        Ok(found)
    }

    pub(crate) fn set_len(&self, len: u64) -> Result {
        call!(ftruncate, self.0, len)
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result {
        call!(pwrite64, self.0, bytes.as_ptr(), bytes.len(), offset)
    }

    /// Maps the first `len` bytes, shared and writable, at the address `hint` if that is free, else
    /// where the kernel chooses.
    pub(crate) fn map(&self, hint: usize, len: usize) -> Result {
        self.map_shared(hint, len, 0)
    }

    /// Maps the first `len` bytes, shared and writable, over mappings that the caller owns.
    pub(crate) fn map_over(&self, address: usize, len: usize) -> Result {
        self.map_shared(address, len, libc::MAP_FIXED)
    }

    fn map_shared(&self, address: usize, len: usize, flags: i32) -> Result {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        call!(mmap, address, len, protection, libc::MAP_SHARED | flags, self.0, 0)
    }

    /// Maps `len` bytes from `offset`, writable, without writing to the file.
    pub(crate) fn map_private(&self, len: usize, offset: usize) -> Result {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        call!(mmap, 0, len, protection, libc::MAP_PRIVATE, self.0, offset)
    }

    pub(crate) fn read(&self, into: &mut [u8]) -> Result {
        read(self.0, into)
    }

    pub(crate) fn read_at(&self, into: &mut [u8], offset: u64) -> Result {
        call!(pread64, self.0, into.as_mut_ptr(), into.len(), offset)
    }

    pub(crate) fn procmap_query(&self, query: &mut ProcmapQuery) -> Result {
        call!(ioctl, self.0, procmap::PROCMAP_QUERY, &raw mut *query)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        close(self.0);
    }
}

pub(crate) fn read(fd: i32, into: &mut [u8]) -> Result {
    call!(read, fd, into.as_mut_ptr(), into.len())
}

pub(crate) fn write(fd: i32, bytes: &[u8]) -> Result {
    call!(write, fd, bytes.as_ptr(), bytes.len())
}

pub(crate) fn readlink(path: &CStr, into: &mut [u8]) -> Result {
    call!(readlinkat, libc::AT_FDCWD, path.as_ptr(), into.as_mut_ptr(), into.len())
}

/// Reads the working directory's path. Returns its length, NUL included.
pub(crate) fn working_directory(into: &mut [u8]) -> Result {
    call!(getcwd, into.as_mut_ptr(), into.len())
}

/// The magic number of the file system that a path leads to.
pub(crate) fn file_system(path: &CStr) -> Result<i64> {
    // SAFETY: all zeros is a `statfs`.
    let mut found: libc::statfs = unsafe { core::mem::zeroed() };
    call!(statfs, path.as_ptr(), &raw mut found).map(|_| found.f_type)
}

/// Describes the file at a path, from the cache of a network file system.
pub(crate) fn statx(path: &CStr) -> Result<libc::statx> {
    // SAFETY: all zeros is a `statx`.
    let mut found: libc::statx = unsafe { core::mem::zeroed() };
    let (flags, mask) = (libc::AT_STATX_DONT_SYNC, libc::STATX_BASIC_STATS);
    call!(statx, libc::AT_FDCWD, path.as_ptr(), flags, mask, &raw mut found).map(|_| found)
}

/// The soft limit on the size of a file.
pub(crate) fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: u64::MAX, rlim_max: u64::MAX };
    let _ = call!(prlimit64, 0, libc::RLIMIT_FSIZE, 0, &raw mut limit);
    limit.rlim_cur
}

pub(crate) fn pid() -> u32 {
    call!(getpid).unwrap_or(0) as u32
}

pub(crate) fn parent_pid() -> u32 {
    call!(getppid).unwrap_or(0) as u32
}

/// Whether two processes share their memory. False also where `kcmp` is not allowed.
pub(crate) fn share_memory(pid: u32, other: u32) -> bool {
    const KCMP_VM: u32 = 1;
    call!(kcmp, pid, other, KCMP_VM, 0, 0) == Ok(0)
}

pub(crate) fn tid() -> u32 {
    call!(gettid).unwrap_or(0) as u32
}

/// Whether this process has a thread of this id.
pub(crate) fn thread_is_alive(tid: u32) -> bool {
    call!(tgkill, pid(), tid, 0) != Err(Errno(libc::ESRCH))
}

pub(crate) fn uname() -> Option<libc::utsname> {
    // SAFETY: all zeros is a `utsname`.
    let mut names: libc::utsname = unsafe { core::mem::zeroed() };
    call!(uname, &raw mut names).ok().map(|_| names)
}

/// Copies words of this process's memory. Where some cannot be read, it copies fewer or fails with
/// `EFAULT`. Returns the number of words.
pub(crate) fn read_own_memory(address: usize, into: &mut [usize]) -> Result {
    let len = size_of_val(into);
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: len };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: len };
    call!(process_vm_readv, pid(), &raw const local, 1, &raw const remote, 1, 0)
        .map(|bytes| bytes / size_of::<usize>())
}

/// Reads a clock without the vDSO.
pub(crate) fn clock_time(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let _ = call!(clock_gettime, clock, &raw mut time);
    time
}

/// The kernel's signal set: 64 bits on every supported architecture.
pub(crate) type SignalSet = u64;

/// Replaces the set of signals that this thread blocks. Returns the former set.
pub(crate) fn set_blocked_signals(blocked: SignalSet) -> Option<SignalSet> {
    let mut former: SignalSet = 0;
    call!(
        rt_sigprocmask,
        libc::SIG_SETMASK,
        &raw const blocked,
        &raw mut former,
        size_of::<SignalSet>()
    )
    .ok()
    .map(|_| former)
}

/// The kernel's `struct sigaction`, the same on every supported architecture.
#[repr(C)]
pub(crate) struct SignalAction {
    pub(crate) handler: Option<SignalHandler>,
    pub(crate) flags: u64,
    pub(crate) restorer: Option<unsafe extern "C" fn()>,
    pub(crate) blocked: SignalSet,
}

/// A handler with `SA_SIGINFO`.
pub(crate) type SignalHandler =
    unsafe extern "C" fn(core::ffi::c_int, *mut libc::siginfo_t, *mut c_void);

impl SignalAction {
    /// `SIG_DFL`.
    pub(crate) const DEFAULT: Self = Self { handler: None, flags: 0, restorer: None, blocked: 0 };
}

/// The present action of a signal.
pub(crate) fn signal_action(signal: i32) -> Result<SignalAction> {
    let mut found = SignalAction::DEFAULT;
    call!(rt_sigaction, signal, 0, &raw mut found, size_of::<SignalSet>()).map(|_| found)
}

pub(crate) fn set_signal_action(signal: i32, action: &SignalAction) -> Result {
    call!(rt_sigaction, signal, &raw const *action, 0, size_of::<SignalSet>())
}

/// Sends this thread a signal, with the information of the one that it is handling.
pub(crate) fn send_again(signal: i32, info: &libc::siginfo_t) {
    let _ = call!(rt_tgsigqueueinfo, pid(), tid(), signal, &raw const *info);
}

/// Sleeps while `word` is `expected`, for at most `milliseconds`. Returns whether that time is
/// over.
pub(crate) fn futex_wait(
    word: &core::sync::atomic::AtomicU32,
    expected: u32,
    milliseconds: i64,
) -> bool {
    let limit = libc::timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
    let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let waited = call!(futex, word.as_ptr(), wait, expected, &raw const limit, 0, 0);
    waited == Err(Errno(libc::ETIMEDOUT))
}

/// Lets other threads run first.
pub(crate) fn sched_yield() {
    let _ = call!(sched_yield);
}

pub(crate) fn futex_wake_one(word: &core::sync::atomic::AtomicU32) {
    futex_wake(word, 1);
}

pub(crate) fn futex_wake_all(word: &core::sync::atomic::AtomicU32) {
    futex_wake(word, i32::MAX);
}

fn futex_wake(word: &core::sync::atomic::AtomicU32, max: i32) {
    let _ = call!(futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, max, 0, 0, 0);
}
