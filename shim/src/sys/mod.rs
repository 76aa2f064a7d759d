//! Raw system calls, one wrapper each: never through libc's symbols, which others interpose, and never
//! touching errno. Answers are the kernel's: a value, or the errno as [`Failed`].
//!
//! # Safety
//! Every `unsafe` block here is one system call instruction. It is sound because the wrapper passes only
//! pointers to memory it was lent for the call, or addresses whose fate the wrapper's own contract states.

pub(crate) mod decimal;
pub(crate) mod probe;
pub(crate) mod text;
#[cfg(not(debug_assertions))]
mod unwinder;

use core::ffi::CStr;

use mremap_plan::Request;
use mremap_plan::procmap::{self, ProcmapQuery};
use syscalls::{Sysno, raw_syscall};

/// The errno of a system call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed(pub i32);

pub(crate) type Answer = Result<usize, Failed>;

fn answer(raw: usize) -> Answer {
    let signed = raw as isize;
    if (-4095..0).contains(&signed) { Err(Failed(-signed as i32)) } else { Ok(raw) }
}

macro_rules! call {
    ($name:ident $(, $argument:expr)*) => {{
        // SAFETY: see the head of this file.
        answer(unsafe { raw_syscall!(Sysno::$name $(, $argument)*) })
    }};
}

/// The call as asked. What it does to memory is the program's own wish, or the plan's.
pub(crate) fn mremap(request: &Request) -> isize {
    // SAFETY: moves mappings as the program (or the plan made for it) asked; no reference of ours points
    // into them.
    let raw = unsafe {
        raw_syscall!(
            Sysno::mremap,
            request.old,
            request.old_len,
            request.new_len,
            u64::from(request.flags.0),
            request.new
        )
    };
    raw as isize
}

/// A system call that the program asked for by its number.
pub(crate) fn by_number(number: core::ffi::c_long, arguments: [usize; 5]) -> Answer {
    let [first, second, third, fourth, fifth] = arguments;
    let number = Sysno::new(number as usize).ok_or(Failed(libc::ENOSYS))?;
    // SAFETY: the program's own call, its arguments as it gave them.
    answer(unsafe { raw_syscall!(number, first, second, third, fourth, fifth) })
}

/// `mmap` with a mapping type that does not exist: it never maps anything, and says on the way whether it
/// could have. `EEXIST` something is mapped in the range, `ENOMEM` it reaches beyond `TASK_SIZE`, `EINVAL`
/// it is free. The order is that of `do_mmap` in `mm/mmap.c`, the same from 5.10 to 7.x.
pub(crate) fn mmap_that_never_maps(address: u64, len: u64) -> Failed {
    const FIXED_NOREPLACE_AND_NO_TYPE: i32 =
        libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE | libc::MAP_ANONYMOUS;
    call!(mmap, address, len, libc::PROT_NONE, FIXED_NOREPLACE_AND_NO_TYPE, -1i32, 0)
        .err()
        .unwrap_or(Failed(0))
}

/// Maps `len` bytes of a file, shared and writable: where the kernel likes, or over what `over` names, which
/// the caller must own.
fn map_file(fd: i32, len: usize, over: Option<usize>) -> Answer {
    let fixed = if over.is_some() { libc::MAP_FIXED } else { 0 };
    call!(
        mmap,
        over.unwrap_or(0),
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | fixed,
        fd,
        0
    )
}

/// Maps zeros over what is there, which the caller must own.
pub(crate) fn map_zeros_over(address: usize, len: usize) -> Answer {
    call!(
        mmap,
        address,
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
        -1i32,
        0
    )
}

/// Maps zeros where the kernel likes.
pub(crate) fn map_zeros(len: usize) -> Answer {
    call!(
        mmap,
        0,
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        -1i32,
        0
    )
}

/// Moves a mapping of ours over others, whose fate the caller has decided.
pub(crate) fn move_over(from: usize, len: usize, to: usize) -> Answer {
    call!(mremap, from, len, len, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, to)
}

/// Unmaps a mapping of ours.
pub(crate) fn unmap(address: usize, len: usize) {
    let _ = call!(munmap, address, len);
}

/// Maps zeros where nothing is mapped; else changes nothing.
pub(crate) fn map_zeros_if_free(address: usize, len: usize) {
    let _ = call!(
        mmap,
        address,
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
        -1i32,
        0
    );
}

/// Maps zeros to be read over memory that the caller owns and nobody uses, in a mapping of its own: one without
/// reserve does not merge with what is around it.
pub(crate) fn map_untouched(address: usize, len: usize) -> Answer {
    call!(
        mmap,
        address,
        len,
        libc::PROT_READ,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
        -1i32,
        0
    )
}

pub(crate) fn madvise(address: usize, len: usize, advice: i32) -> Answer {
    call!(madvise, address, len, advice)
}

pub(crate) fn munmap(address: usize, len: usize) {
    let _ = call!(munmap, address, len);
}

pub(crate) fn mprotect(address: usize, len: usize, protection: i32) -> Answer {
    call!(mprotect, address, len, protection)
}

pub(crate) fn open(path: &CStr, flags: i32, mode: u32) -> Result<i32, Failed> {
    open_in(libc::AT_FDCWD, path, flags, mode)
}

fn open_in(directory: i32, path: &CStr, flags: i32, mode: u32) -> Result<i32, Failed> {
    call!(openat, directory, path.as_ptr(), flags | libc::O_CLOEXEC, mode).map(|fd| fd as i32)
}

pub(crate) fn close(fd: i32) {
    let _ = call!(close, fd);
}

/// A file that is closed when it is dropped.
pub(crate) struct OpenFile(i32);

/// Device and inode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// No file has it.
    pub(crate) const UNKNOWN: Self = Self { device: 0, inode: 0 };
}

impl OpenFile {
    pub(crate) fn open(path: &CStr) -> Result<Self, Failed> {
        open(path, libc::O_RDONLY, 0).map(Self)
    }

    pub(crate) fn open_directory(path: &CStr) -> Result<Self, Failed> {
        open(path, libc::O_PATH | libc::O_DIRECTORY, 0).map(Self)
    }

    /// A file in this directory; not through a link.
    pub(crate) fn open_in(&self, name: &CStr, flags: i32, mode: u32) -> Result<Self, Failed> {
        open_in(self.0, name, flags | libc::O_NOFOLLOW, mode).map(Self)
    }

    pub(crate) fn unlink_in(&self, name: &CStr) {
        let _ = call!(unlinkat, self.0, name.as_ptr(), 0);
    }

    pub(crate) fn id(&self) -> Result<FileId, Failed> {
        self.status().map(|found| FileId { device: found.st_dev, inode: found.st_ino })
    }

    pub(crate) fn len(&self) -> Result<usize, Failed> {
        self.status().map(|found| found.st_size as usize)
    }

    /// How many names it has; of a directory, two more than it has directories in it.
    pub(crate) fn links(&self) -> Result<libc::nlink_t, Failed> {
        self.status().map(|found| found.st_nlink)
    }

    fn status(&self) -> Result<libc::stat, Failed> {
        // SAFETY: all zeros is a `stat`.
        let mut found: libc::stat = unsafe { core::mem::zeroed() };
        call!(fstat, self.0, &raw mut found)?;
        Ok(found)
    }

    pub(crate) fn set_len(&self, len: u64) -> Answer {
        call!(ftruncate, self.0, len)
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Answer {
        call!(pwrite64, self.0, bytes.as_ptr(), bytes.len(), offset)
    }

    pub(crate) fn map(&self, len: usize, over: Option<usize>) -> Answer {
        map_file(self.0, len, over)
    }

    pub(crate) fn read(&self, into: &mut [u8]) -> Answer {
        read(self.0, into)
    }

    pub(crate) fn procmap_query(&self, query: &mut ProcmapQuery) -> Answer {
        call!(ioctl, self.0, procmap::PROCMAP_QUERY, &raw mut *query)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        close(self.0);
    }
}

pub(crate) fn read(fd: i32, into: &mut [u8]) -> Answer {
    call!(read, fd, into.as_mut_ptr(), into.len())
}

pub(crate) fn write(fd: i32, bytes: &[u8]) -> Answer {
    call!(write, fd, bytes.as_ptr(), bytes.len())
}

pub(crate) fn readlink(path: &CStr, into: &mut [u8]) -> Answer {
    call!(readlinkat, libc::AT_FDCWD, path.as_ptr(), into.as_mut_ptr(), into.len())
}

/// The working directory's path, NUL included; its length.
pub(crate) fn working_directory(into: &mut [u8]) -> Answer {
    call!(getcwd, into.as_mut_ptr(), into.len())
}

/// The magic number of the file system a path is on.
pub(crate) fn file_system(path: &CStr) -> Result<i64, Failed> {
    // SAFETY: all zeros is a `statfs`.
    let mut found: libc::statfs = unsafe { core::mem::zeroed() };
    call!(statfs, path.as_ptr(), &raw mut found).map(|_| found.f_type)
}

/// One system call with a name for each processor.
#[cfg(target_arch = "x86_64")]
const STAT_AT: Sysno = Sysno::newfstatat;
#[cfg(target_arch = "aarch64")]
const STAT_AT: Sysno = Sysno::fstatat;

/// Major and minor number of the device that a path is; 0 and 0 where it is none.
pub(crate) fn device(path: &CStr) -> Result<(u32, u32), Failed> {
    // SAFETY: all zeros is a `stat`.
    let mut found: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: see the head of this file.
    answer(unsafe { raw_syscall!(STAT_AT, libc::AT_FDCWD, path.as_ptr(), &raw mut found, 0) })?;
    Ok((libc::major(found.st_rdev), libc::minor(found.st_rdev)))
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

pub(crate) fn tid() -> u32 {
    call!(gettid).unwrap_or(0) as u32
}

/// Whether a thread of this process is there.
pub(crate) fn thread_is_alive(tid: u32) -> bool {
    call!(tgkill, pid(), tid, 0) != Err(Failed(libc::ESRCH))
}

/// Whether a thread of any process is there.
pub(crate) fn some_thread_is_alive(tid: u32) -> bool {
    call!(tkill, tid, 0) != Err(Failed(libc::ESRCH))
}

pub(crate) fn uname() -> Option<libc::utsname> {
    // SAFETY: all zeros is a `utsname`.
    let mut names: libc::utsname = unsafe { core::mem::zeroed() };
    call!(uname, &raw mut names).ok().map(|_| names)
}

/// The kernel's signal set: 64 bits on every architecture served.
pub(crate) type SignalSet = u64;

/// Replaces this thread's blocked signals and returns the former ones.
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

/// The kernel's `struct sigaction`, the same on every architecture served; no handler is the default.
#[repr(C)]
pub(crate) struct SignalAction {
    pub(crate) handler: Option<SignalHandler>,
    pub(crate) flags: u64,
    pub(crate) restorer: Option<unsafe extern "C" fn()>,
    pub(crate) blocked: SignalSet,
}

/// What the kernel calls with `SA_SIGINFO`.
pub(crate) type SignalHandler =
    unsafe extern "C" fn(core::ffi::c_int, *mut libc::siginfo_t, *mut core::ffi::c_void);

impl SignalAction {
    pub(crate) const DEFAULT: Self = Self { handler: None, flags: 0, restorer: None, blocked: 0 };
}

/// What a signal does now.
pub(crate) fn signal_action(signal: i32) -> Result<SignalAction, Failed> {
    let mut found = SignalAction::DEFAULT;
    call!(rt_sigaction, signal, 0, &raw mut found, size_of::<SignalSet>()).map(|_| found)
}

/// Decides what a signal does from now on.
pub(crate) fn set_signal_action(signal: i32, action: &SignalAction) -> Answer {
    call!(rt_sigaction, signal, &raw const *action, 0, size_of::<SignalSet>())
}

/// Sends this thread a signal with all that came with the one it is handling.
pub(crate) fn send_again(signal: i32, info: &libc::siginfo_t) {
    let _ = call!(rt_tgsigqueueinfo, pid(), tid(), signal, &raw const *info);
}

/// Sleeps while `word` is `expected`, at most `milliseconds`.
pub(crate) fn futex_wait(word: &core::sync::atomic::AtomicU32, expected: u32, milliseconds: i64) {
    let limit = libc::timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
    let _ = call!(
        futex,
        word.as_ptr(),
        libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
        expected,
        &raw const limit,
        0,
        0
    );
}

pub(crate) fn futex_wake_one(word: &core::sync::atomic::AtomicU32) {
    futex_wake(word, 1);
}

pub(crate) fn futex_wake_all(word: &core::sync::atomic::AtomicU32) {
    futex_wake(word, i32::MAX);
}

fn futex_wake(word: &core::sync::atomic::AtomicU32, most: i32) {
    let _ = call!(futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, most, 0, 0, 0);
}
