//! `mremap-analyzer attach` and `detach`: brings the preload library into a process that runs
//! already, and makes its libc call it.
//!
//! ```text
//! target   may it be attached to? where is its libc, and what does that consist of?
//!   |
//! borrow   stops one thread where it holds no lock of libc, and has it call functions:
//!   |      mmap, dlopen, mremap_shim_attach; the other threads run
//! held     stops all threads, to change eight bytes of libc's mremap
//! ```
//!
//! A borrowed thread returns by `rt_sigreturn` from a frame like a signal's. So it goes on where it
//! was even when the tracer is killed meanwhile.

mod borrow;
mod frame;
mod held;
mod target;

use std::ffi::CString;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use mremap_settings::order::{ATTACH, CODE, DETACH, Order};

use crate::ptrace::Pid;
use borrow::Borrowed;
use held::Held;
use target::Target;

/// How often all threads are stopped before it is given up that none is inside the changed bytes.
const MAX_STOPS: u32 = 500;

/// Limit on checks whether threads have left the library.
const MAX_WAITS: u32 = 50;

/// For how long an attachment disturbed the process.
#[derive(Clone, Copy, Debug)]
pub struct Disturbance {
    /// All threads stood still.
    pub stopped: Duration,
    /// One thread loaded and called the library instead of doing its own work.
    pub borrowed: Duration,
}

/// Loads `library` into the process and begins to record. `settings` are `MREMAP_SHIM_NAME=value`.
///
/// # Errors
/// Why the process cannot be attached to. It goes on as before.
pub fn attach(pid: Pid, library: &Path, settings: &[CString]) -> Result<Disturbance> {
    let target = Target::inspect(pid)?;
    let image = target::Image::read(library, &target)?;
    hurry();
    let mut held = Held::new(pid);
    let mut thread = Borrowed::find(&target, &mut held)?;
    let attached = (|| {
        thread.make_room()?;
        let was_loaded = image.find_in(pid)?;
        let base = match was_loaded {
            Some(base) => base,
            None => thread.load(&image)?,
        };
        let order = Order {
            entry: target.libc.mremap,
            was_loaded: u64::from(was_loaded.is_some()),
            ..Order::EMPTY
        };
        let done = thread.give(image.function(base, ATTACH)?, order, settings)?;
        thread.patch(done.at, done.plain, done.jump).inspect_err(|_| {
            let _ =
                image.function(base, DETACH).and_then(|end| thread.give(end, Order::EMPTY, &[]));
        })
    })();
    finish(thread, attached)
}

/// Ends recording and restores libc's code. The library stays, and does nothing.
///
/// # Errors
/// Why the process cannot be detached from.
pub fn detach(pid: Pid, library: &Path) -> Result<Disturbance> {
    let target = Target::inspect(pid)?;
    let image = target::Image::read(library, &target)?;
    let base = image.find_in(pid)?.with_context(|| format!("{pid}: is not attached"))?;
    hurry();
    let mut held = Held::new(pid);
    let mut thread = Borrowed::find(&target, &mut held)?;
    let detached = (|| {
        thread.make_room()?;
        let end = image.function(base, DETACH)?;
        let done = thread.give(end, Order::EMPTY, &[])?;
        if done.is_redirected == 0 {
            return Ok(Duration::ZERO);
        }
        let stopped = thread.patch(done.at, done.jump, done.plain)?;
        thread.wait_for_calls()?;
        thread.give(end, Order::EMPTY, &[])?;
        Ok(stopped)
    })();
    finish(thread, detached)
}

/// Puts this process before others where it may: stopped threads wait for it on a busy machine.
fn hurry() {
    // SAFETY: no preconditions. Only this process's own priority changes.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
}

fn finish(thread: Borrowed<'_>, stopped: Result<Duration>) -> Result<Disturbance> {
    let borrowed = thread.give_back();
    Ok(Disturbance { stopped: stopped?, borrowed })
}

impl Borrowed<'_> {
    /// Replaces `former` by `new` at `at`, while every thread stands still and none is inside.
    /// Returns for how long they stood still.
    fn patch(&mut self, at: u64, former: [u8; CODE], new: [u8; CODE]) -> Result<Duration> {
        let pid = self.held.pid;
        for _ in 0..MAX_STOPS {
            let begun = Instant::now();
            self.held.stop_all()?;
            let is_free = self.held.is_nobody_inside(at + 1..at + 5);
            let written = if is_free { Some(self.replace(at, former, new)) } else { None };
            self.held.release_all_but(self.thread);
            if let Some(written) = written {
                return written.map(|()| begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("{pid}: a thread was always inside libc's mremap; try again")
    }

    /// Waits until no thread is inside the library, and so every call has been recorded. Gives up
    /// on a thread that stays there: a signal handler may never return.
    fn wait_for_calls(&mut self) -> Result<()> {
        let Some(code) = target::library_code(self.held.pid)? else { return Ok(()) };
        for _ in 0..MAX_WAITS {
            self.held.stop_all()?;
            let is_free = self.held.is_nobody_inside(code.start..code.end);
            self.held.release_all_but(self.thread);
            if is_free {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
