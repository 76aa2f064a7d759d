//! `mremap-analyzer attach` and `detach`: a tracer calls these functions on a thread of a process
//! that runs already. They run beside the other threads. The tracer changes libc's code afterwards,
//! while all threads are stopped.
//!
//! `dlopen` has run `on_load` before, so the real functions and the fork handlers are known. The
//! other hooks are in nobody's way: no caller is bound to them.

use core::ffi::c_char;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use mremap_settings::order::{CODE, Order};

use super::load::{describe, read_settings};
use crate::discover::backing;
use crate::hooks::evidence;
use crate::hooks::libc_calls::{self, JUMP_SIZE, Jump};
use crate::process::config::{self, Mode};
use crate::process::diagnostics::inform;
use crate::process::{fork_state, seccomp};
use crate::recording::{clock, identity, ring};
use crate::sys::text::Text;

type Message = Text<400>;

/// Whether a tracer has attached before. Without that, a library that is loaded was preloaded.
static IS_KNOWN: AtomicBool = AtomicBool::new(false);
/// Where libc's code was, or is, changed; 0 before the first time.
static AT: AtomicUsize = AtomicUsize::new(0);
static PLAIN: AtomicU64 = AtomicU64::new(0);
static JUMP: AtomicU64 = AtomicU64::new(0);

/// Opens a trace, and tells where libc's code is to be changed.
///
/// # Safety
/// `order` is valid, and so is what it points to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mremap_shim_attach(order: *mut Order) {
    // SAFETY: by the contract above.
    let order = unsafe { &mut *order };
    let mut why = Message::EMPTY;
    // SAFETY: likewise.
    let is_done = unsafe { attach(order, &mut why) }.is_some();
    answer(order, is_done, &why);
}

/// Tells where libc's code is to be restored, as long as it is not. Ends the trace when it is.
///
/// # Safety
/// `order` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mremap_shim_detach(order: *mut Order) {
    // SAFETY: by the contract above.
    let order = unsafe { &mut *order };
    let mut why = Message::EMPTY;
    let (is_redirected, is_recording) = (is_redirected(), ring::is_wanted());
    order.is_redirected = u64::from(is_redirected);
    if !is_redirected && is_recording {
        inform("detached", "", None);
        ring::close();
    } else if !is_redirected {
        why.push(b"the library is not attached");
    }
    answer(order, is_redirected || is_recording, &why);
}

fn answer(order: &mut Order, is_done: bool, why: &Message) {
    order.at = AT.load(Ordering::Relaxed) as u64;
    order.plain = PLAIN.load(Ordering::Relaxed).to_ne_bytes();
    order.jump = JUMP.load(Ordering::Relaxed).to_ne_bytes();
    order.is_done = u64::from(is_done);
    order.message_len = why.len as u64;
    order.message = why.bytes;
}

/// Implements [`mremap_shim_attach`]. On failure returns `None`, with the reason in `why`.
///
/// # Safety
/// The settings of the order are those that it promises.
unsafe fn attach(order: &Order, why: &mut Message) -> Option<()> {
    if let Some(refusal) = refusal(order) {
        why.push(refusal);
        return None;
    }
    let environment = order.settings as *mut *const c_char;
    // SAFETY: by the contract above.
    let trace = unsafe { read_settings(environment, |_| {}) };
    evidence::assume_all();
    if config::mode() != Mode::PassThrough {
        backing::prepare();
    }
    let jump = libc_calls::prepare(order.entry as usize);
    let Jump { at, code } = jump.map_err(|refusal| refusal.describe(why)).ok()?;
    // A tracer that was killed may have left one.
    ring::close();
    clock::choose();
    fork_state::forget_trace();
    // SAFETY: no trace is open, so nobody reads what is known of this process.
    unsafe { identity::gather(trace.directory, core::iter::empty()) };
    ring::open(&trace).map_err(|error| describe(&error, trace.directory, why)).ok()?;
    // SAFETY: the function at `at` is longer than this, and readable.
    let plain = unsafe { *(at as *const [u8; CODE]) };
    let mut jump = plain;
    for (to, byte) in jump.iter_mut().zip(code) {
        *to = byte;
    }
    const { assert!(JUMP_SIZE <= CODE) };
    PLAIN.store(u64::from_ne_bytes(plain), Ordering::Relaxed);
    JUMP.store(u64::from_ne_bytes(jump), Ordering::Relaxed);
    AT.store(at, Ordering::Relaxed);
    Some(())
}

/// Why the library cannot record here.
fn refusal(order: &Order) -> Option<&'static [u8]> {
    if !IS_KNOWN.swap(true, Ordering::Relaxed) && order.was_loaded != 0 {
        Some(b"it was started with the library (LD_PRELOAD)")
    } else if is_redirected() {
        Some(b"the library is attached already; detach it first")
    } else if seccomp::is_any_thread_filtered() {
        Some(b"a seccomp filter may forbid the library's system calls")
    } else {
        None
    }
}

/// Whether libc's `mremap` jumps to our hook because of a tracer.
fn is_redirected() -> bool {
    let at = AT.load(Ordering::Relaxed);
    // SAFETY: libc's code, which stays mapped and readable.
    at != 0 && unsafe { *(at as *const u64) } == JUMP.load(Ordering::Relaxed)
}
