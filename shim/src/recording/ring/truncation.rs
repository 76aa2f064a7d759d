//! A trace file that somebody truncates while it is written must not end the host: beyond a file's end a mapping
//! has no memory, and the next store there is a `SIGBUS`.
//!
//! Where nobody handles that signal when the trace is opened, a handler of ours does. A store of ours into the
//! trace's mapping finds zeros from then on, and the trace has ended. Any other `SIGBUS` does what it would have
//! done: the default action is put back, and the same signal sent again. A program that sets a handler of its own
//! has its own, and no trace to truncate.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};

use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE};

use super::state::{BASE, MAPPED, TRUNCATED, is_open};
use crate::emulate::move_lock;
use crate::process::address_space::page_size;
use crate::process::fork_state::WIPED;
use crate::recording::return_address;
use crate::sys::{self, SignalAction, SignalSet};

/// Whether it has put memory where the file had ended, in this process or one that it was forked from.
static MET: AtomicBool = AtomicBool::new(false);

const SIGBUS_ALONE: SignalSet = 1 << (libc::SIGBUS - 1);

/// How a handler comes back: where the kernel has no way of its own, by ours, which a flag of `asm/signal.h` says.
#[cfg(target_arch = "x86_64")]
const WAY_BACK: (u64, Option<unsafe extern "C" fn()>) = (0x0400_0000, Some(return_from_handler));
#[cfg(not(target_arch = "x86_64"))]
const WAY_BACK: (u64, Option<unsafe extern "C" fn()>) = (0, None);

/// Handles `SIGBUS` from now on, unless it is handled or ignored already. At load.
pub(super) fn watch() {
    if !sys::signal_action(libc::SIGBUS).is_ok_and(|found| found.handler.is_none()) {
        return;
    }
    let (flag, restorer) = WAY_BACK;
    let action = SignalAction {
        handler: Some(on_bus_error),
        flags: (libc::SA_SIGINFO | libc::SA_ONSTACK) as u64 | flag,
        restorer,
        blocked: SignalSet::MAX,
    };
    if sys::set_signal_action(libc::SIGBUS, &action).is_ok() {
        // One that is blocked when it is met ends the process.
        move_lock::leave_open(SIGBUS_ALONE);
    }
}

/// Whether it has.
pub(super) fn has_been_met() -> bool {
    MET.load(Ordering::Relaxed)
}

/// Nothing is recorded any more in this process.
pub(super) fn end_trace() {
    let epoch = WIPED.trace_epoch.load(Ordering::Relaxed);
    if is_open(epoch) {
        WIPED.trace_epoch.store(TRUNCATED, Ordering::Release);
    }
}

/// Runs on whatever stack the signal came on, calls nothing of libc, and leaves errno alone.
unsafe extern "C" fn on_bus_error(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO, for as long as it runs.
    let (info, context) = unsafe { (&*info, &*context.cast::<libc::ucontext_t>()) };
    // SAFETY: a SIGBUS has an address; one that was sent has none, and another code.
    let address = unsafe { info.si_addr() }.addr();
    if info.si_code == libc::BUS_ADRERR
        && return_address::is_own_code(interrupted_instruction(context))
        && put_memory_behind(address)
    {
        return;
    }
    let _ = sys::set_signal_action(signal, &SignalAction::DEFAULT);
    sys::send_again(signal, info);
}

/// Ends the trace, and maps memory from an address in it to its end; false when that cannot be done.
fn put_memory_behind(address: usize) -> bool {
    let start = BASE.load(Ordering::Acquire).addr();
    let end = start + HEADER_SIZE + MAPPED.load(Ordering::Relaxed) as usize * CHUNK_SIZE;
    if !(start..end).contains(&address) {
        return false;
    }
    // First: what is claimed from here on would be lost without being counted.
    end_trace();
    MET.store(true, Ordering::Relaxed);
    let page = address & !(page_size() as usize - 1);
    sys::map_zeros_over(page, end - page).is_ok()
}

#[cfg(target_arch = "x86_64")]
fn interrupted_instruction(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize
}

#[cfg(target_arch = "aarch64")]
fn interrupted_instruction(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.pc as usize
}

/// Where a handler returns to. The very instructions of libc's own: debuggers know a signal's frame by them.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn return_from_handler() {
    core::arch::naked_asm!("mov rax, {number}", "syscall", number = const libc::SYS_rt_sigreturn);
}
