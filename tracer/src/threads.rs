//! The traced threads and the processes that they belong to.

use std::collections::HashMap;

use crate::call::InFlight;
use crate::ptrace::{self, Event, Pid};
use crate::recorder::Recorder;

/// What a thread is doing, as far as the tracer left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Runs, or sleeps in a system call.
    Running,
    /// Stopped with its group, and listening for the end of that.
    Listening,
    /// Stopped, its event not handled yet.
    Stopped,
}

/// A traced thread.
pub(crate) struct Thread {
    /// Thread group: the key of its [`Process`].
    pub(crate) process: Pid,
    pub(crate) state: State,
    /// The call that it is in, if the tracer waits for its exit.
    pub(crate) call: Option<InFlight>,
    /// Waits in vfork for its child to let go of the address space; does not stop until then.
    pub(crate) is_in_vfork: bool,
}

/// A process image.
pub(crate) struct Process {
    pub(crate) recorder: Recorder,
    /// A userfaultfd was made here or in a process that this one was forked from.
    pub(crate) made_userfaultfd: bool,
}

/// All that is traced.
#[derive(Default)]
pub(crate) struct Threads {
    threads: HashMap<Pid, Thread>,
    processes: HashMap<Pid, Process>,
}

impl Threads {
    pub(crate) fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    pub(crate) fn get_mut(&mut self, thread: Pid) -> Option<&mut Thread> {
        self.threads.get_mut(&thread)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Pid> {
        self.threads.keys().copied()
    }

    pub(crate) fn knows(&self, thread: Pid) -> bool {
        self.threads.contains_key(&thread)
    }

    /// The process that a thread belongs to.
    pub(crate) fn process_of(&mut self, thread: Pid) -> Option<&mut Process> {
        self.processes.get_mut(&self.threads.get(&thread)?.process)
    }

    pub(crate) fn process(&mut self, pid: Pid) -> Option<&mut Process> {
        self.processes.get_mut(&pid)
    }

    pub(crate) fn add_process(&mut self, pid: Pid, process: Process) {
        self.processes.insert(pid, process);
    }

    /// Adds a thread of a process that is known.
    pub(crate) fn add(&mut self, thread: Pid, process: Pid) {
        let added = Thread { process, state: State::Running, call: None, is_in_vfork: false };
        self.threads.insert(thread, added);
    }

    /// Forgets a thread, and its process with the last thread.
    pub(crate) fn remove(&mut self, thread: Pid) {
        if let Some(removed) = self.threads.remove(&thread)
            && !self.threads.values().any(|other| other.process == removed.process)
        {
            self.processes.remove(&removed.process);
        }
    }

    /// Only `leader` is left of its process: it has executed a program.
    pub(crate) fn keep_only(&mut self, leader: Pid) {
        self.threads.retain(|&thread, known| known.process != leader || thread == leader);
    }

    /// Threads other than `thread` that run in its address space. Those that wait in vfork are left
    /// out: they run again only when their child has let go of it.
    pub(crate) fn sharers(&self, thread: Pid) -> Vec<Pid> {
        let Some(own) = self.threads.get(&thread) else { return Vec::new() };
        let shares = |other: Pid, known: &Thread| {
            known.process == own.process || ptrace::share_memory(thread, other).unwrap_or(false)
        };
        let others = self.threads.iter().filter(|&(&other, known)| {
            other != thread && !known.is_in_vfork && shares(other, known)
        });
        others.map(|(&other, _)| other).collect()
    }

    /// Notes what an event leaves a thread in.
    pub(crate) fn note(&mut self, thread: Pid, event: Event) {
        if let Some(known) = self.threads.get_mut(&thread)
            && !event.is_end()
        {
            known.state = State::Stopped;
        }
    }
}
