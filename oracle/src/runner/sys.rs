//! The system calls that the runner makes.
//!
//! # Safety
//! The layout is at addresses that nothing else in the process uses, so these calls affect no
//! memory that Rust knows of. Exceptions state their own reasons.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::FromRawFd as _;
use std::os::unix::ffi::OsStrExt as _;

use anyhow::{Context as _, Result, bail};
use syscalls::{Sysno, raw_syscall};

use crate::case::Request;
use crate::observation::UNTOUCHED;

/// Calls libc's `mremap`, which a preload library replaces. Returns the result and errno.
pub(super) fn mremap(request: &Request) -> (u64, i32) {
    // SAFETY: errno belongs to this thread; for the call see the head of this file.
    unsafe {
        *libc::__errno_location() = UNTOUCHED;
        let result = libc::mremap(
            request.old as *mut _,
            request.old_len as usize,
            request.new_len as usize,
            request.flags as i32,
            request.new as *mut libc::c_void,
        );
        (result as u64, *libc::__errno_location())
    }
}

/// Moves one whole VMA by the bare system call.
pub(super) fn move_vma(from: u64, len: u64, to: u64) {
    // SAFETY: see the head of this file. `[vvar]` and `[vdso]` are not used from then on.
    unsafe { raw_syscall!(Sysno::mremap, from, len, len, 3, to) };
}

/// Maps memory at an address; returns whether it succeeded.
pub(super) fn map(at: u64, len: u64, prot: i32, flags: i32, fd: i32, offset: u64) -> bool {
    // SAFETY: see the head of this file.
    let mapped = unsafe {
        libc::mmap(at as *mut _, len as usize, prot, flags | libc::MAP_FIXED, fd, offset as i64)
    };
    mapped != libc::MAP_FAILED
}

pub(super) fn protect(at: u64, len: u64, prot: i32) {
    // SAFETY: see the head of this file.
    unsafe { libc::mprotect(at as *mut _, len as usize, prot) };
}

pub(super) fn advise(at: u64, len: u64, advice: i32) -> bool {
    // SAFETY: see the head of this file.
    unsafe { libc::madvise(at as *mut _, len as usize, advice) == 0 }
}

pub(super) fn lock(at: u64, len: u64) {
    // SAFETY: see the head of this file.
    unsafe { libc::mlock(at as *const _, len as usize) };
}

pub(super) fn seal(at: u64, len: u64) -> bool {
    const MSEAL: i64 = 462;
    // SAFETY: see the head of this file.
    unsafe { libc::syscall(MSEAL, at, len, 0) == 0 }
}

/// Attaches a new System V segment that is destroyed with its last mapping.
pub(super) fn attach_system_v(at: u64, len: u64) -> bool {
    // SAFETY: see the head of this file.
    unsafe {
        let id = libc::shmget(libc::IPC_PRIVATE, len as usize, libc::IPC_CREAT | 0o600);
        if id < 0 {
            return false;
        }
        let attached = libc::shmat(id, at as *const _, 0);
        libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
        attached as u64 == at
    }
}

/// Registers a range with a new userfaultfd for write protection. The descriptor stays open.
pub(super) fn register_userfaultfd(at: u64, len: u64) -> bool {
    const USER_MODE_ONLY: i32 = 1;
    const API: u64 = 0xc018_aa3f;
    const REGISTER: u64 = 0xc020_aa00;
    const WRITE_PROTECT: u64 = 2;
    // SAFETY: the arrays have the sizes of the kernel's `uffdio_api` and `uffdio_register`.
    unsafe {
        let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | USER_MODE_ONLY) as i32;
        let mut api = [0xaau64, 0, 0];
        let mut register = [at, len, WRITE_PROTECT, 0];
        fd >= 0
            && libc::ioctl(fd, API as _, api.as_mut_ptr()) == 0
            && libc::ioctl(fd, REGISTER as _, register.as_mut_ptr()) == 0
    }
}

/// Writes a word. The page must be writable.
pub(super) fn poke(at: u64, value: u64) {
    // SAFETY: the layout has just mapped the page for writing.
    unsafe { (at as *mut u64).write_volatile(value) };
}

/// Reads a byte, which populates the page. It must be readable.
pub(super) fn peek(at: u64) {
    // SAFETY: the layout has just mapped the page for reading.
    unsafe { (at as *const u8).read_volatile() };
}

/// A child that takes longer is killed.
const CHILD_SECONDS: u32 = 20;

/// Makes an alarm interrupt `waitpid`.
pub fn let_alarms_interrupt_waitpid() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the handler does nothing; without SA_RESTART it interrupts system calls.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
    }
}

/// Runs `work` in a forked child and returns its status, as returned by `waitpid`.
pub fn in_child(work: impl FnOnce() -> i32) -> Result<i32> {
    // SAFETY: the process has one thread, so the child may call anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context("fork"),
        0 => {
            // SAFETY: kills this process if its parent dies.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let status = work();
            // SAFETY: exits without flushing the parent's buffers again.
            unsafe { libc::_exit(status) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for the child forked above, and kills it after the limit.
            unsafe {
                libc::alarm(CHILD_SECONDS);
                while libc::waitpid(child, &raw mut status, 0) < 0 {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error).context("waitpid");
                    }
                    libc::kill(child, libc::SIGKILL);
                }
                libc::alarm(0);
            }
            Ok(status)
        }
    }
}

/// Words that a child writes for its parent, in shared memory. The first is their number.
pub struct SharedWords {
    words: &'static mut [u64],
}

impl SharedWords {
    /// Maps room for `room - 1` words.
    pub fn new(room: usize) -> Result<Self> {
        let len = room * size_of::<u64>();
        // SAFETY: new memory that is never unmapped; children that share it end before it is read.
        unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if at == libc::MAP_FAILED {
                return Err(io::Error::last_os_error()).context("mmap");
            }
            Ok(Self { words: std::slice::from_raw_parts_mut(at.cast(), room) })
        }
    }

    /// Removes all words.
    pub fn clear(&mut self) {
        self.words[0] = 0;
    }

    /// Appends words, or none if they do not fit: then the state is missing.
    pub fn append(&mut self, words: &[u64]) {
        let used = self.words[0] as usize + 1;
        if let Some(room) = self.words.get_mut(used..used + words.len()) {
            room.copy_from_slice(words);
            self.words[0] += words.len() as u64;
        }
    }

    /// The words appended since the last [`SharedWords::clear`].
    pub fn written(&self) -> &[u64] {
        let used = self.words[0] as usize;
        &self.words[1..=used]
    }
}

/// Executes the program again if its randomly placed stack is near the end of the address space,
/// where cases have destinations.
pub fn reexec_until_stack_is_low() {
    const TOP: u64 = 1 << 47;
    const FAR_ENOUGH: u64 = 1 << 30;
    if stack_address() < TOP - FAR_ENOUGH {
        return;
    }
    let arguments: Vec<CString> =
        std::env::args_os().filter_map(|argument| CString::new(argument.as_bytes()).ok()).collect();
    let mut pointers: Vec<*const libc::c_char> =
        arguments.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: a list of C strings that ends with null. On failure the program goes on.
    unsafe { libc::execv(c"/proc/self/exe".as_ptr(), pointers.as_ptr()) };
}

fn stack_address() -> u64 {
    let here = 0u8;
    (&raw const here) as u64
}

/// Start and length of the mapping with this name.
pub(super) fn find_mapping(name: &str) -> Option<(u64, u64)> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with(name))?;
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    Some((start, u64::from_str_radix(end, 16).ok()? - start))
}

/// `memfd_create`, or `memfd_secret`.
pub(super) fn memfd(secret: bool, len: u64) -> Result<i32> {
    const MEMFD_SECRET: i64 = 447;
    // SAFETY: creates a descriptor; no memory is affected.
    let fd = unsafe {
        if secret {
            libc::syscall(MEMFD_SECRET, 0) as i32
        } else {
            libc::memfd_create(c"content".as_ptr(), 0)
        }
    };
    // SAFETY: as above.
    if fd < 0 || unsafe { libc::ftruncate(fd, len as i64) } != 0 {
        bail!("no memfd: {}", io::Error::last_os_error());
    }
    Ok(fd)
}

/// Creates a BPF array that can be mapped.
pub(super) fn bpf_map(pages: u32) -> Option<i32> {
    const ARRAY: u32 = 2;
    const MMAPABLE: u32 = 1 << 10;
    let mut attributes = [0u32; 32];
    attributes[..5].copy_from_slice(&[ARRAY, 4, 4096, pages, MMAPABLE]);
    // SAFETY: `BPF_MAP_CREATE` reads the attributes; the unused ones are zero.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, 0, attributes.as_ptr(), size_of_val(&attributes)) };
    (fd >= 0).then_some(fd as i32)
}

/// Tries to create another device node of `/dev/zero`.
pub(super) fn make_zero_device(path: &CStr) {
    // SAFETY: passes a C string.
    unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 5)) };
}

/// Mounts a ramfs for this process and its children; returns whether it succeeded.
pub(super) fn mount_ramfs(directory: &CString) -> bool {
    let none = c"none".as_ptr();
    let null = std::ptr::null();
    // SAFETY: passes C strings.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), null, libc::MS_REC | libc::MS_PRIVATE, null.cast())
                == 0
            && libc::mount(none, directory.as_ptr(), c"ramfs".as_ptr(), 0, null.cast()) == 0
    }
}

/// Opens a file for reading, relative to a directory.
pub(super) fn open_in(directory: i32, path: &CStr) -> Option<File> {
    // SAFETY: passes a C string; the new descriptor has no other owner.
    unsafe {
        let fd = libc::openat(directory, path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        (fd >= 0).then(|| File::from_raw_fd(fd))
    }
}

/// Unmounts `/proc` for this process and its children.
pub(super) fn unmount_proc() -> Result<()> {
    let null = std::ptr::null();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: passes C strings.
    let done = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(c"none".as_ptr(), c"/".as_ptr(), null, private, null.cast()) == 0
            && libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) == 0
    };
    if !done {
        return Err(io::Error::last_os_error())
            .context("/proc cannot be unmounted; this needs root");
    }
    Ok(())
}

/// Makes every later open fail with EMFILE; returns whether it succeeded.
pub(super) fn fill_descriptor_table() -> bool {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads the structure.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) == 0 }
}

/// Allows only `mremap` and the observer's system calls from now on; returns whether it succeeded.
pub(super) fn filter_system_calls() -> bool {
    const ALLOWED: [i64; 10] = [
        libc::SYS_mremap,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_brk,
        libc::SYS_read,
        libc::SYS_pread64,
        libc::SYS_lseek,
        libc::SYS_close,
        libc::SYS_exit_group,
        libc::SYS_fcntl, // debug builds of std check a descriptor before closing it
    ];
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let answer = libc::BPF_RET | libc::BPF_K;
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for number in ALLOWED {
        let mut is_this_one = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number as u32);
        is_this_one.jf = 1;
        program.extend([is_this_one, statement(answer, libc::SECCOMP_RET_ALLOW)]);
    }
    program.push(statement(answer, libc::SECCOMP_RET_KILL_PROCESS));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    }
}
