//! A trace file that is truncated while it is written must not end the program: beyond a file's end
//! a mapping has no memory, and a store there raises `SIGBUS`.
//!
//! If that signal has its default action when the trace is opened, it gets a handler. After a store
//! of this library into the trace's mapping, the handler maps zeros there and ends the trace. For
//! any other `SIGBUS` it restores the default action and sends the signal again. A program that
//! sets a handler of its own replaces this one.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};

use super::state::{TRUNCATED, is_open, mapping};
use crate::process::address_space::page_size;
use crate::process::fork_state::FORK_STATE;
use crate::recording::return_address;
use crate::sys::{self, SignalAction, SignalSet};

/// Whether the handler has mapped zeros, in this process or one that it was forked from.
static MET: AtomicBool = AtomicBool::new(false);

/// `SA_RESTORER` of `asm/signal.h`, and what it promises. Only x86-64 needs one.
#[cfg(target_arch = "x86_64")]
const RESTORER: (u64, Option<unsafe extern "C" fn()>) = (0x0400_0000, Some(return_from_handler));
#[cfg(not(target_arch = "x86_64"))]
const RESTORER: (u64, Option<unsafe extern "C" fn()>) = (0, None);

/// Sets the handler, unless `SIGBUS` is handled or ignored. At load.
pub(super) fn watch() {
    if !sys::signal_action(libc::SIGBUS).is_ok_and(|found| found.handler.is_none()) {
        return;
    }
    let (flag, restorer) = RESTORER;
    let action = SignalAction {
        handler: Some(on_bus_error),
        flags: (libc::SA_SIGINFO | libc::SA_ONSTACK) as u64 | flag,
        restorer,
        blocked: SignalSet::MAX,
    };
    let _ = sys::set_signal_action(libc::SIGBUS, &action);
}

/// Whether a truncation was met and handled.
pub(super) fn has_been_met() -> bool {
    MET.load(Ordering::Relaxed)
}

/// Ends recording in this process.
pub(super) fn end_trace() {
    let epoch = FORK_STATE.trace_epoch.load(Ordering::Relaxed);
    if is_open(epoch) {
        FORK_STATE.trace_epoch.store(TRUNCATED, Ordering::Release);
    }
}

/// The handler. It calls nothing of libc and leaves errno alone.
unsafe extern "C" fn on_bus_error(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO, valid while it runs.
    let (info, context) = unsafe { (&*info, &*context.cast::<libc::ucontext_t>()) };
    // SAFETY: a SIGBUS has an address. One sent by a process has none; its code differs.
    let address = unsafe { info.si_addr() }.addr();
    if info.si_code == libc::BUS_ADRERR
        && return_address::is_own_code(interrupted_instruction(context))
        && map_zeros_from(address)
    {
        return;
    }
    let _ = sys::set_signal_action(signal, &SignalAction::DEFAULT);
    sys::send_again(signal, info);
}

/// Ends the trace and maps zeros from an address in its mapping to the end. Returns false if it
/// cannot.
fn map_zeros_from(address: usize) -> bool {
    let trace = mapping();
    if !trace.contains(address as u64) {
        return false;
    }
    // First, since what is claimed from here on would be lost without being counted.
    end_trace();
    MET.store(true, Ordering::Relaxed);
    let page = address & !(page_size() as usize - 1);
    sys::map_zeros_over(page, trace.end as usize - page).is_ok()
}

#[cfg(target_arch = "x86_64")]
fn interrupted_instruction(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize
}

#[cfg(target_arch = "aarch64")]
fn interrupted_instruction(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.pc as usize
}

/// Where a handler returns to. The same instructions as libc's: debuggers recognize a signal's
/// frame by them.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn return_from_handler() {
    core::arch::naked_asm!("mov rax, {number}", "syscall", number = const libc::SYS_rt_sigreturn);
}
