//! Signals of `run`. Those of the terminal reach the program by themselves and must not end `run`;
//! those sent to `run` alone are forwarded.

use std::sync::atomic::{AtomicI32, Ordering};

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

extern "C" fn ignore(_signal: libc::c_int) {}

/// Installs the handlers. `SIG_IGN` would be inherited by the program, so a handler that does
/// nothing is installed instead. A signal that is ignored already, as under `nohup`, stays ignored.
pub fn forward_to_child() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        install(signal, ignore);
    }
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
        install(signal, forward);
    }
}

fn install(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: the handlers use atomics and `kill` alone, which are async-signal-safe.
    unsafe {
        if libc::signal(signal, handler as *const () as libc::sighandler_t) == libc::SIG_IGN {
            libc::signal(signal, libc::SIG_IGN);
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
