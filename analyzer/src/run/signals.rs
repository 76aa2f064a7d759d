//! Signals of `run`: what the terminal sends reaches the program by itself and must not end us; what is sent
//! to us alone is passed on.

use std::sync::atomic::{AtomicI32, Ordering};

/// The program; 0 before it runs and once it has ended.
static CHILD: AtomicI32 = AtomicI32::new(0);
/// A signal that came before the program ran; 0 for none.
static EARLY: AtomicI32 = AtomicI32::new(0);

extern "C" fn pass_on(signal: libc::c_int) {
    let child = CHILD.load(Ordering::SeqCst);
    if child > 0 {
        // SAFETY: `kill` is async-signal-safe, and the child is not reaped before CHILD is cleared.
        unsafe { libc::kill(child, signal) };
    } else {
        EARLY.store(signal, Ordering::SeqCst);
    }
}

extern "C" fn outlive(_signal: libc::c_int) {}

/// Installs the handlers. They are handlers and not "ignore", which the program would inherit; what is
/// ignored already (as under `nohup`) stays so, for us and for the program.
pub fn pass_on_to_child() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        install(signal, outlive);
    }
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
        install(signal, pass_on);
    }
}

fn install(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: both handlers only touch atomics and call `kill`, all of it async-signal-safe.
    unsafe {
        if libc::signal(signal, handler as *const () as libc::sighandler_t) == libc::SIG_IGN {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

/// Passes signals on to the program until it has ended; leaves it to be reaped by its `Child`.
pub fn wait_and_pass_on(child: u32) {
    CHILD.store(child as i32, Ordering::SeqCst);
    let early = EARLY.swap(0, Ordering::SeqCst);
    if early != 0 {
        pass_on(early);
    }
    loop {
        // SAFETY: `waitid` writes a `siginfo_t`, for which all bits zero are valid, and does not reap.
        let answer = unsafe {
            let mut ended: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, child, &raw mut ended, libc::WEXITED | libc::WNOWAIT)
        };
        let interrupted = std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted;
        if answer == 0 || !interrupted {
            break;
        }
    }
    CHILD.store(0, Ordering::SeqCst);
}
