//! Signals of `run`. Those of the terminal reach the program by themselves and must not end `run`;
//! those sent to `run` alone are forwarded. `attach --reach all` ends by them in order.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::io::retry_on_intr;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// Process id of the program; 0 before it runs and after it has ended.
static CHILD: AtomicI32 = AtomicI32::new(0);
/// A signal received before the program ran; 0 for none.
static EARLY: AtomicI32 = AtomicI32::new(0);

extern "C" fn forward(signal: libc::c_int) {
    let child = CHILD.load(Ordering::SeqCst);
    if child > 0 {
        // SAFETY: `kill` is async-signal-safe, and the child is not reaped before CHILD is cleared.
        unsafe { libc::kill(child, signal) };
    } else {
        EARLY.store(signal, Ordering::SeqCst);
    }
}

/// Whether a signal has asked this command to end.
static STOP: AtomicBool = AtomicBool::new(false);

/// The alarm interrupts a system call that the signal came just before.
extern "C" fn stop(_signal: libc::c_int) {
    STOP.store(true, Ordering::SeqCst);
    // SAFETY: `alarm` is async-signal-safe.
    unsafe { libc::alarm(1) };
}

extern "C" fn ignore(_signal: libc::c_int) {}

/// Installs the handlers. `SIG_IGN` would be inherited by the program, so a handler that does
/// nothing is installed instead. A signal that is ignored already, as under `nohup`, stays ignored.
pub fn forward_to_child() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        install(signal, ignore, libc::SA_RESTART);
    }
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
        install(signal, forward, libc::SA_RESTART);
    }
}

/// Has the signals that would end this process set a flag, and interrupt system calls. One that is
/// ignored already, as under `nohup`, stays ignored.
#[cfg(target_arch = "x86_64")]
pub fn stop_instead_of_ending() -> &'static AtomicBool {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP] {
        install(signal, stop, 0);
    }
    install(libc::SIGALRM, ignore, 0);
    &STOP
}

/// `flags`: `SA_RESTART`, or 0 to have the signal interrupt system calls.
fn install(signal: libc::c_int, handler: extern "C" fn(libc::c_int), flags: libc::c_int) {
    // SAFETY: the handlers use atomics, `kill` and `alarm` alone, which are async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction != libc::SIG_IGN
        {
            action.sa_sigaction = handler as *const () as libc::sighandler_t;
            action.sa_flags = flags;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// Forwards signals to this process from now on, those received before first; 0 ends that.
pub fn set_child(child: i32) {
    CHILD.store(child, Ordering::SeqCst);
    let early = EARLY.swap(0, Ordering::SeqCst);
    if child != 0 && early != 0 {
        forward(early);
    }
}

/// Forwards signals to the program until it has ended. Does not reap it.
pub fn forward_until_exit(child: u32) {
    set_child(child as i32);
    if let Some(pid) = Pid::from_raw(child as i32) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        // An error leaves the waiting to the `Child`.
        let _ended = retry_on_intr(|| waitid(WaitId::Pid(pid), options));
    }
    set_child(0);
}
