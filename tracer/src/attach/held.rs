//! The threads of a process that are stopped, each for as short as can be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::ptrace::{self, Event, Pid};
use crate::{arch, procfs, refusal};

/// How long a thread may take to stop. One that takes longer sleeps in the kernel, as in `vfork`,
/// and stops before it executes another instruction.
const LONGEST: Duration = Duration::from_millis(100);
/// Bytes of a stack that are searched.
const SEARCHED: usize = 64 << 10;

/// Threads that this process traces.
pub(super) struct Held {
    pub(super) pid: Pid,
    /// The event that each stopped with; `None` while it has not.
    threads: BTreeMap<Pid, Option<Event>>,
}

impl Held {
    pub(super) fn new(pid: Pid) -> Self {
        Self { pid, threads: BTreeMap::new() }
    }

    /// Stops a thread. Returns its event; `None` when it does not stop soon or is gone.
    pub(super) fn stop(&mut self, thread: Pid) -> Result<Option<Event>> {
        self.ask(thread)?;
        Ok(self.wait(thread))
    }

    /// Stops all threads, and those that they make meanwhile.
    pub(super) fn stop_all(&mut self) -> Result<()> {
        loop {
            let new: Vec<Pid> = procfs::threads(self.pid)
                .into_iter()
                .filter(|task| !self.threads.contains_key(task))
                .collect();
            if new.is_empty() {
                return Ok(());
            }
            for &thread in &new {
                self.ask(thread)?;
            }
            for &thread in &new {
                self.wait(thread);
            }
        }
    }

    fn ask(&mut self, thread: Pid) -> Result<()> {
        if !self.threads.contains_key(&thread) {
            match ptrace::seize(thread, libc::PTRACE_O_TRACESYSGOOD) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
                // The kernel says so of a thread that has ended, too.
                Err(_) if matches!(procfs::state(thread), None | Some('Z' | 'X')) => return Ok(()),
                Err(error) => bail!("{}", refusal::explain_seize(self.pid, &error)),
            }
            self.threads.insert(thread, None);
        }
        let _ = ptrace::interrupt(thread);
        Ok(())
    }

    fn wait(&mut self, thread: Pid) -> Option<Event> {
        let known = self.threads.get_mut(&thread)?;
        if known.is_some() {
            return *known;
        }
        let event = wait_for(thread, LONGEST)?;
        if event.is_end() {
            self.threads.remove(&thread);
            return None;
        }
        *known = Some(event);
        if event == Event::Trapped {
            arch::restart_interrupted(thread);
        }
        Some(event)
    }

    /// The thread runs, or has ended, by other means.
    pub(super) fn forget(&mut self, thread: Pid) {
        self.threads.remove(&thread);
    }

    /// Lets a thread go on, untraced. A signal that was on its way is delivered.
    pub(super) fn release(&mut self, thread: Pid) {
        if let Some(Some(event)) = self.threads.get(&thread) {
            let signal = if let Event::Signal(signal) = event { *signal } else { 0 };
            let _ = ptrace::detach(thread, signal);
            self.threads.remove(&thread);
        }
    }

    pub(super) fn release_all_but(&mut self, kept: Pid) {
        let threads: Vec<Pid> = self.threads.keys().copied().filter(|&it| it != kept).collect();
        for thread in threads {
            self.wait(thread);
            self.release(thread);
        }
    }

    /// Whether no stopped thread executes these instructions or will return to them.
    pub(super) fn is_nobody_inside(&self, code: Range<u64>) -> bool {
        self.threads.keys().all(|&thread| {
            let Ok(registers) = arch::read(thread) else { return true };
            !code.contains(&registers.instruction_pointer())
                && !words_of(thread, registers.stack_pointer(), SEARCHED)
                    .any(|(_, word)| code.contains(&word))
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release_all_but(0);
    }
}

/// Waits for the next event of a thread.
pub(super) fn wait_for(thread: Pid, longest: Duration) -> Option<Event> {
    let begun = Instant::now();
    loop {
        match ptrace::poll(thread) {
            Ok(Some((_, event))) => return Some(event),
            Ok(None) => {}
            Err(_) => return Some(Event::Exited(0)),
        }
        match begun.elapsed() {
            waited if waited > longest => return None,
            waited if waited < Duration::from_micros(200) => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}

/// The words of a stack from `from` on, at most `most` bytes, with their addresses.
pub(super) fn words_of(
    thread: Pid,
    from: u64,
    max: usize,
) -> impl Iterator<Item = (u64, u64)> + use<> {
    let mut bytes = vec![0; max];
    let read = ptrace::read_some(thread, from, &mut bytes);
    bytes.truncate(read);
    (0..read / 8).map(move |index| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[8 * index..8 * index + 8]);
        (from + 8 * index as u64, u64::from_ne_bytes(word))
    })
}
