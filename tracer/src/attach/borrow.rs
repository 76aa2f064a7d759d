//! A thread that is stopped where it holds no lock of libc, calls functions for the tracer, and
//! goes on as if nothing had happened.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use mremap_plan::Range;
use mremap_settings::order::{CODE, Order};

use super::frame::{self, Context};
use super::held::{Held, wait_for, words_of};
use super::target::{self, Image, Target};
use crate::arch::{self, RESTARTS_BY_BLOCK, RESTARTS_FIRST, RESTARTS_LAST, Registers};
use crate::procfs;
use crate::ptrace::{self, Event, Pid, request_with};

/// For how long a suitable thread is looked for.
const LONGEST_SEARCH: Duration = Duration::from_secs(5);
/// How long a call may take, and how long it may wait for the loader's lock.
const LONGEST_CALL: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The memory that is mapped for the calls: a stack, a frame above it, arguments.
const ROOM: u64 = 512 << 10;
const FRAME: u64 = (256 << 10) + 8;
const ARGUMENTS: u64 = 384 << 10;
/// Bytes below the stack pointer that belong to the running function.
const RED_ZONE: u64 = 128;
/// Bytes of a stack searched for frames of signals.
const SEARCHED: usize = 1 << 20;
/// `NT_X86_XSTATE` of `linux/elf.h`.
const XSTATE: usize = 0x202;
/// Flags register with interrupts on and all else off.
const PLAIN_FLAGS: u64 = 0x202;

/// Calls in which a thread waits for something that is neither the allocator's nor the loader's.
const WAITS: [i64; 23] = [
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_pause,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_io_getevents,
    // One of them with a time limit, begun anew after an earlier stop.
    libc::SYS_restart_syscall,
];

/// A thread of the target that is stopped.
pub(super) struct Borrowed<'a> {
    target: &'a Target,
    pub(super) held: &'a mut Held,
    pub(super) thread: Pid,
    context: Context,
    /// errno, and where it is.
    errno: (u64, [u8; 4]),
    /// Where on its own stack a frame can be put.
    own_frame: u64,
    /// The memory mapped for the calls; 0 before.
    room: u64,
    since: Instant,
    /// The thread has been left in a call, or is gone.
    is_lost: bool,
}

impl<'a> Borrowed<'a> {
    /// Finds a thread in a state in which it can call `dlopen`.
    pub(super) fn find(target: &'a Target, held: &'a mut Held) -> Result<Self> {
        let begun = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            for thread in procfs::threads(target.pid) {
                let since = Instant::now();
                match held.stop(thread)? {
                    Some(Event::GroupStop(_)) => {
                        bail!("{0}: was stopped; continue it first: kill -CONT {0}", target.pid);
                    }
                    Some(Event::Trapped) => {}
                    _ => {
                        held.release(thread);
                        continue;
                    }
                }
                if let Some((context, own_frame)) = examine(target, thread) {
                    let at = context.registers.fs_base.wrapping_add(target.libc.errno);
                    let mut errno = [0; 4];
                    if ptrace::read_memory(thread, at, &mut errno) {
                        let errno = (at, errno);
                        let (room, is_lost) = (0, false);
                        return Ok(Self {
                            target,
                            held,
                            thread,
                            context,
                            errno,
                            own_frame,
                            room,
                            since,
                            is_lost,
                        });
                    }
                }
                held.release(thread);
            }
            if begun.elapsed() > LONGEST_SEARCH {
                bail!(
                    "{}: at no moment of {} s was a thread where it surely holds no lock of libc: \
                     each was in the allocator, in a signal handler, or on a stack of its own; try \
                     again",
                    target.pid,
                    LONGEST_SEARCH.as_secs()
                );
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(7));
        }
    }

    /// Maps memory for the calls that follow.
    pub(super) fn make_room(&mut self) -> Result<()> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let arguments = [0, ROOM, protection as u64, flags as u64, u64::MAX, 0];
        let mapped = self.system_call(self.own_frame, libc::SYS_mmap, arguments)?;
        if mapped as i64 == -1 || mapped > u64::MAX - 4096 {
            bail!("{}: no memory could be mapped in it", self.target.pid);
        }
        self.room = mapped;
        Ok(())
    }

    /// Loads the library; returns its address.
    pub(super) fn load(&mut self, image: &Image) -> Result<u64> {
        let pid = self.target.pid;
        let is_visible = image.is_visible_to(pid);
        let copy = if is_visible { None } else { Some(self.copy_in(image)?) };
        let path = match copy {
            None => image.path.as_os_str().as_bytes().to_vec(),
            Some(fd) => format!("/proc/self/fd/{fd}").into_bytes(),
        };
        let name = self.put(0, &[path.as_slice(), b"\0"].concat())?;
        let (dlopen, flags) = self.target.libc.dlopen;
        self.call(self.room + FRAME, dlopen, 0, [name, flags, 0, 0, 0, 0])?;
        if let Some(fd) = copy {
            self.system_call(self.room + FRAME, libc::SYS_close, [fd, 0, 0, 0, 0, 0])?;
        }
        image.find_in(pid)?.with_context(|| {
            format!(
                "{pid}: its loader refused {}: it may not read or execute it, needs a newer libc, or \
                 has no room in thread-local storage",
                image.path.display()
            )
        })
    }

    /// Makes a file of memory with the library in it; returns its descriptor in the target.
    fn copy_in(&mut self, image: &Image) -> Result<u64> {
        let pid = self.target.pid;
        let name = self.put(0, format!("{}\0", image.name()).as_bytes())?;
        let arguments = [name, u64::from(libc::MFD_CLOEXEC), 0, 0, 0, 0];
        let fd = self.system_call(self.room + FRAME, libc::SYS_memfd_create, arguments)?;
        let copied = std::fs::write(format!("/proc/{}/fd/{fd}", self.thread), &image.bytes);
        copied.with_context(|| format!("{pid}: the library could not be copied into it"))?;
        Ok(fd)
    }

    /// Calls a function of the library with an order. Returns the order as the function left it.
    ///
    /// # Errors
    /// The library has not done what was asked, with its reason.
    pub(super) fn give(
        &mut self,
        function: u64,
        mut order: Order,
        settings: &[CString],
    ) -> Result<Order> {
        let mut at = (size_of::<Order>() as u64).next_multiple_of(64);
        let mut addresses = Vec::new();
        for setting in settings {
            addresses.extend_from_slice(&self.put(at, setting.as_bytes_with_nul())?.to_ne_bytes());
            at += setting.as_bytes_with_nul().len() as u64;
        }
        addresses.extend_from_slice(&[0; 8]);
        order.settings = self.put(at.next_multiple_of(8), &addresses)?;
        let address = self.put(0, bytes_of(&mut order))?;
        self.call(self.room + FRAME, function, 0, [address, 0, 0, 0, 0, 0])?;
        if !ptrace::read_memory(self.thread, address, bytes_of(&mut order)) {
            bail!("{}: has ended", self.target.pid);
        }
        if order.is_done == 0 {
            let len = (order.message_len as usize).min(order.message.len());
            bail!("{}: {}", self.target.pid, String::from_utf8_lossy(&order.message[..len]));
        }
        Ok(order)
    }

    /// Writes arguments to the mapped memory; returns their address.
    fn put(&self, offset: u64, bytes: &[u8]) -> Result<u64> {
        let address = self.room + ARGUMENTS + offset;
        if ARGUMENTS + offset + bytes.len() as u64 > ROOM {
            bail!("the settings are too long");
        }
        if !ptrace::write_memory(self.thread, address, bytes) {
            bail!("{}: has ended", self.target.pid);
        }
        Ok(address)
    }

    /// Replaces code, while all threads stand still.
    pub(super) fn replace(&self, at: u64, former: [u8; CODE], new: [u8; CODE]) -> Result<()> {
        let mut found = [0; CODE];
        if !ptrace::read_memory(self.thread, at, &mut found) || found != former {
            bail!("{}: another tool has changed libc's mremap meanwhile", self.target.pid);
        }
        ptrace::write_code(self.thread, at, u64::from_ne_bytes(new)).map_err(|_| {
            anyhow::Error::msg(format!("{}: libc's code cannot be changed", self.target.pid))
        })
    }

    /// Lets the thread go on with what it did. Returns for how long it did not.
    pub(super) fn give_back(mut self) -> Duration {
        if self.room != 0 && !self.is_lost {
            let room = [self.room, ROOM, 0, 0, 0, 0];
            let _ = self.system_call(self.own_frame, libc::SYS_munmap, room);
        }
        self.restore();
        self.since.elapsed()
    }

    fn restore(&mut self) {
        if !self.is_lost {
            let (at, errno) = self.errno;
            ptrace::write_memory(self.thread, at, &errno);
            // The registers last: until then the thread restores all of this itself, should this
            // process be killed.
            let _ = set_vectors(self.thread, &mut self.context.vectors);
            let _ = ptrace::set_blocked_signals(self.thread, self.context.blocked);
            let _ = arch::write(self.thread, &Registers::of_raw(self.context.registers));
            self.held.release(self.thread);
            self.is_lost = true;
        }
    }

    /// Makes a system call; returns its result.
    fn system_call(&mut self, frame: u64, number: i64, arguments: [u64; 6]) -> Result<u64> {
        self.call(frame, self.target.libc.syscall, number as u64, arguments)
    }

    /// Calls the function at `function` with a stack that ends at `frame`. Returns the result of
    /// the last system call made by `libc.syscall`.
    fn call(
        &mut self,
        frame: u64,
        function: u64,
        accumulator: u64,
        arguments: [u64; 6],
    ) -> Result<u64> {
        let (pid, libc) = (self.target.pid, &self.target.libc);
        let bytes = frame::encode(&self.context, frame, libc.restorer);
        if self.is_lost || !ptrace::write_memory(self.thread, frame, &bytes) {
            bail!("{pid}: has ended");
        }
        let mut registers = self.context.registers;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] =
            arguments;
        registers.rcx = registers.r10;
        (registers.rip, registers.rsp, registers.rax) = (function, frame, accumulator);
        (registers.orig_rax, registers.eflags) = (u64::MAX, PLAIN_FLAGS);
        let gone = |_| anyhow::Error::msg(format!("{pid}: has ended"));
        // The registers first: only a thread that makes the call unblocks the signals again.
        arch::write(self.thread, &Registers::of_raw(registers)).map_err(gone)?;
        let set_id_signal = libc.set_id_signal;
        // The thread's own stack may have no room for a handler.
        let has_room = frame != self.own_frame;
        let admitted = if has_room { 1 << (set_id_signal - 1) } else { 0 };
        ptrace::set_blocked_signals(self.thread, !admitted).map_err(gone)?;
        let mut signal = 0;
        let begun = Instant::now();
        // musl's dlopen takes a second lock before it opens a file.
        let (mut result, mut has_opened) = (u64::MAX, libc.musl.is_some());
        loop {
            ptrace::resume_to_syscall(self.thread, signal).map_err(gone)?;
            signal = 0;
            let event = loop {
                let event = wait_for(self.thread, Duration::from_millis(50));
                let waited = begun.elapsed();
                if event.is_some() {
                    break event;
                } else if waited > LONGEST_CALL || waited > LONGEST_WAIT && !has_opened {
                    break None;
                }
            };
            match event {
                None => return Err(self.give_up(has_opened)),
                Some(Event::Exited(_) | Event::Killed(_)) => {
                    self.is_lost = true;
                    self.held.forget(self.thread);
                    bail!("{pid}: has ended");
                }
                // Not at a signal, which must reach the thread: another one waits for the answer.
                Some(Event::Syscall) if begun.elapsed() > LONGEST_CALL => {
                    return Err(self.give_up(has_opened));
                }
                Some(Event::Syscall) => {}
                Some(Event::Signal(it)) if it == set_id_signal => {
                    signal = it;
                    continue;
                }
                Some(Event::Signal(signal)) => {
                    self.restore();
                    bail!("{pid}: a call of its libc was stopped by signal {signal}");
                }
                Some(_) => continue,
            }
            let now = *arch::read(self.thread).map_err(gone)?.raw();
            let number = now.orig_rax as i64;
            // A handler has another stack pointer.
            if now.rip == libc.after_restorer() && now.rsp == frame + 8 {
                break;
            } else if now.rip == libc.syscall + 2 && now.rsp == frame {
                result = now.rax;
            }
            has_opened |= number == libc::SYS_openat || number == libc::SYS_open;
        }
        // A handler that begins now would not end: the thread makes another call next.
        ptrace::set_blocked_signals(self.thread, u64::MAX).map_err(gone)?;
        self.stay().map_err(gone)?;
        Ok(result)
    }

    /// At the entry of the system call that would return to the thread's own work: skips it, and
    /// stops where the kernel restarts interrupted calls. The thread would make it again next.
    fn stay(&mut self) -> std::result::Result<(), ptrace::Gone> {
        let mut registers = *arch::read(self.thread)?.raw();
        registers.rip = self.target.libc.restorer;
        arch::skip_call(self.thread, &Registers::of_raw(registers), 0)?;
        ptrace::interrupt(self.thread)?;
        loop {
            ptrace::resume(self.thread, 0)?;
            match wait_for(self.thread, LONGEST_CALL) {
                Some(Event::Trapped | Event::GroupStop(_)) => return Ok(()),
                Some(event) if event.is_end() => return Err(ptrace::Gone(Some(event))),
                Some(_) => {}
                None => return Err(ptrace::Gone(None)),
            }
        }
    }

    /// Ends a call that takes too long. Before the loader has opened a file it waits for its first
    /// lock and holds none, so the thread is taken out of it. Later, or inside a handler, it must
    /// finish, and goes back to its own work by itself.
    fn give_up(&mut self, has_opened: bool) -> anyhow::Error {
        let _ = ptrace::interrupt(self.thread);
        let mut stopped = wait_for(self.thread, Duration::from_secs(1));
        while let Some(Event::Signal(signal)) = stopped {
            let _ = ptrace::resume(self.thread, signal);
            stopped = wait_for(self.thread, Duration::from_secs(1));
        }
        let pid = self.target.pid;
        if stopped.is_some() && !has_opened && !self.is_handling_signal() {
            self.restore();
            return anyhow::Error::msg(format!(
                "{pid}: another thread holds the loader's lock for long; try again later"
            ));
        }
        // The thread that holds the lock may wait until this one handles a signal.
        let _ = ptrace::set_blocked_signals(self.thread, self.context.blocked);
        self.is_lost = true;
        self.held.release(self.thread);
        anyhow::Error::msg(format!(
            "{pid}: thread {} still waits in a call of the loader; it goes on by itself afterwards, and \
             nothing is recorded",
            self.thread
        ))
    }

    /// Whether the thread is in the handler that it may run inside a call: its signal is blocked.
    fn is_handling_signal(&self) -> bool {
        let signal = 1 << (self.target.libc.set_id_signal - 1);
        ptrace::blocked_signals(self.thread).is_ok_and(|blocked| blocked & signal != 0)
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Reads what a stopped thread is to go on with, and where a frame can be put on its stack; `None`
/// when it may hold a lock of libc, or its stack is not known.
fn examine(target: &Target, thread: Pid) -> Option<(Context, u64)> {
    let registers = *arch::read(thread).ok()?.raw();
    if !is_safe(target, &registers) {
        return None;
    }
    let stack = stack_of(target.pid, &registers)?;
    if is_in_handler(target, thread, &registers) || is_in_sequence(thread) {
        return None;
    }
    let context = Context {
        registers,
        vectors: vectors(thread).ok()?,
        blocked: ptrace::blocked_signals(thread).ok()?,
    };
    let frame = registers.rsp.checked_sub(RED_ZONE + frame::room(&context))? / 16 * 16 + 8;
    // Below the frame is room for what it never needs: system calls have no stack here.
    (frame > stack.start + 4096).then_some((context, frame))
}

/// Whether a thread holds no lock of the allocator or the loader, judging by where it is.
fn is_safe(target: &Target, registers: &libc::user_regs_struct) -> bool {
    let number = registers.orig_rax as i64;
    let is_interrupted =
        matches!(registers.rax as i64, RESTARTS_FIRST..=RESTARTS_LAST | RESTARTS_BY_BLOCK);
    if number >= 0 && is_interrupted {
        // Condition variables, semaphores and joins; glibc's own locks wait by FUTEX_WAIT, and
        // musl's where the thread cannot be cancelled.
        let waits_for_program = number == libc::SYS_futex
            && match registers.rsi as i32 & 0x7f {
                libc::FUTEX_WAIT_BITSET => true,
                libc::FUTEX_WAIT => is_cancellable(target, registers.rip),
                _ => false,
            };
        let is_wait = waits_for_program || WAITS.contains(&number);
        return is_wait
            && (target.is_wait_of_libc(registers.rip) || !target.may_hold_lock(registers.rip));
    }
    !target.may_hold_lock(registers.rip)
}

/// Whether a thread waits in a call of musl's that may be cancelled.
fn is_cancellable(target: &Target, address: u64) -> bool {
    target.libc.musl.as_ref().is_some_and(|musl| musl.cancellable == address)
}

/// The stack that a thread was started with; `None` when it runs on another one. libc puts a
/// thread's own storage at the upper end of its stack.
fn stack_of(pid: Pid, registers: &libc::user_regs_struct) -> Option<Range> {
    let maps = target::mappings(pid).ok()?;
    let stack = maps.iter().find(|it| it.range.contains(registers.rsp))?;
    let is_own = stack.path == b"[stack]"
        || stack.range.contains(registers.fs_base) && registers.fs_base > registers.rsp;
    is_own.then_some(stack.range)
}

/// Whether the thread runs a signal handler that interrupted libc; or one of musl's own, which
/// waits for a thread that holds the lock of the list of threads; or a handler of `fork`.
fn is_in_handler(target: &Target, thread: Pid, registers: &libc::user_regs_struct) -> bool {
    let may_be_own =
        registers.orig_rax as i64 == libc::SYS_futex && is_cancellable(target, registers.rip);
    let mut words = words_of(thread, registers.rsp, SEARCHED);
    words.any(|(at, word)| {
        let mut interrupted = [0; 8];
        target.libc.fork.contains(word)
            || word == target.libc.restorer
                && (may_be_own
                    || ptrace::read_memory(thread, at + frame::RIP as u64, &mut interrupted)
                        && target.may_hold_lock(u64::from_ne_bytes(interrupted)))
    })
}

/// Whether the thread is inside a restartable sequence, which the kernel would no longer restart.
fn is_in_sequence(thread: Pid) -> bool {
    /// `PTRACE_GET_RSEQ_CONFIGURATION` of `linux/ptrace.h`, new in 5.13.
    const GET_CONFIGURATION: libc::c_uint = 0x420f;
    // Address, size, signature, flags.
    let mut configuration = [0u64; 3];
    // Answers with the size, which is no failure.
    let _ =
        request_with(GET_CONFIGURATION, thread, size_of_val(&configuration), &mut configuration);
    let mut sequence = [0; 8];
    let at = configuration[0];
    at != 0 && ptrace::read_memory(thread, at + 8, &mut sequence) && sequence != [0; 8]
}

fn vectors(thread: Pid) -> std::result::Result<Vec<u8>, ptrace::Gone> {
    let mut state = vec![0; 64 << 10];
    let mut vector = libc::iovec { iov_base: state.as_mut_ptr().cast(), iov_len: state.len() };
    request_with(libc::PTRACE_GETREGSET, thread, XSTATE, &mut vector)?;
    state.truncate(vector.iov_len);
    Ok(state)
}

fn set_vectors(thread: Pid, state: &mut [u8]) -> std::result::Result<(), ptrace::Gone> {
    let mut vector = libc::iovec { iov_base: state.as_mut_ptr().cast(), iov_len: state.len() };
    request_with(libc::PTRACE_SETREGSET, thread, XSTATE, &mut vector)
}

fn bytes_of(order: &mut Order) -> &mut [u8] {
    // SAFETY: numbers and bytes without padding, for which any bytes are valid.
    unsafe { std::slice::from_raw_parts_mut((&raw mut *order).cast::<u8>(), size_of::<Order>()) }
}
