//! The tracer's loop: one event of one thread after the other, until no traced thread is left.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mremap_plan::{AddressSpace, Flags};
use mremap_trace::{Detail, Outcome};

use crate::call::{Call, InFlight, Verdict, judge};
use crate::moves::{self, Postponed};
use crate::procfs::status_number;
use crate::ptrace::{self, Event, Gone, Pid};
use crate::recorder::{Context, Recorder};
use crate::threads::{Process, State, Threads};
use crate::{Launch, Settings, StartError, arch, capability, procfs, spawn};

/// How long a move waits for a thread in uninterruptible sleep. It cannot touch memory before it
/// stops.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// How the first process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// A program under the tracer, stopped before its first instruction.
pub struct Program {
    first: Pid,
    context: Context,
    space: AddressSpace,
    threads: Threads,
    /// First stops of threads that their parents have not reported yet.
    early: HashMap<Pid, Event>,
    /// Events that arrived during a move.
    queue: VecDeque<(Pid, Event)>,
    ended: Option<Ended>,
}

impl Program {
    /// Starts a program; see [`crate::start`].
    pub(crate) fn start(launch: &Launch, settings: Settings) -> Result<Self, StartError> {
        let first = spawn::spawn(launch, settings.kills_on_exit)?;
        ptrace::send_no_signals_for_stops();
        let context = Context { settings, capability: capability::of_kernel() };
        let space = AddressSpace {
            page_size: capability::page_size() as u64,
            task_size: capability::task_size(),
        };
        let mut threads = Threads::default();
        threads.add_process(
            first,
            Process { recorder: Recorder::new(first, 0, false), made_userfaultfd: false },
        );
        threads.add(first, first);
        Ok(Self {
            first,
            context,
            space,
            threads,
            early: HashMap::new(),
            queue: VecDeque::new(),
            ended: None,
        })
    }

    /// Process id of the program.
    pub fn pid(&self) -> Pid {
        self.first
    }

    /// Traces until the last process of the tree has ended. Returns how the first one did.
    ///
    /// # Errors
    /// The program could not be waited for.
    pub fn run(mut self) -> Result<Ended> {
        let _ = ptrace::resume(self.first, 0);
        while !self.threads.is_empty() {
            let next = match self.queue.pop_front() {
                Some(event) => Ok(event),
                None => ptrace::wait(-1),
            };
            match next {
                Ok((thread, event)) => self.handle(thread, event),
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => break,
                Err(error) => return Err(error).context("waiting for the program"),
            }
        }
        self.ended.context("the program ended without a status")
    }

    /// Handles one event. If the thread is gone by then, its last event is handled: now, if it has
    /// been waited for, or when it arrives.
    fn handle(&mut self, thread: Pid, event: Event) {
        if !self.threads.knows(thread) && !event.is_end() && event != Event::Exec {
            self.early.insert(thread, event);
            return;
        }
        self.threads.note(thread, event);
        if let Err(Gone(Some(last))) = self.respond(thread, event) {
            self.end(thread, last);
        }
    }

    fn respond(&mut self, thread: Pid, event: Event) -> Result<(), Gone> {
        match event {
            Event::Exited(_) | Event::Killed(_) => {
                self.end(thread, event);
                Ok(())
            }
            Event::Signal(signal) => self.resume(thread, signal),
            Event::GroupStop(_) => {
                if let Some(known) = self.threads.get_mut(thread) {
                    known.state = State::Listening;
                }
                ptrace::listen(thread)
            }
            Event::Trapped => self.resume(thread, 0),
            Event::Seccomp => self.enter_marked_call(thread),
            Event::SyscallExit => self.leave_call(thread),
            Event::NewChild { is_vfork } => self.add_child(thread, is_vfork),
            Event::VforkDone => {
                if let Some(known) = self.threads.get_mut(thread) {
                    known.is_in_vfork = false;
                }
                self.resume(thread, 0)
            }
            Event::Exec => self.replace_image(thread),
        }
    }

    fn resume(&mut self, thread: Pid, signal: i32) -> Result<(), Gone> {
        if let Some(known) = self.threads.get_mut(thread) {
            known.state = State::Running;
            // A stop during its call must not hide the exit of the call.
            if known.call.is_some() && signal == 0 {
                return ptrace::resume_to_syscall(thread);
            }
        }
        ptrace::resume(thread, signal)
    }

    fn end(&mut self, thread: Pid, event: Event) {
        if thread == self.first {
            self.ended = match event {
                Event::Exited(status) => Some(Ended::Exited(status)),
                Event::Killed(signal) => Some(Ended::Killed(signal)),
                _ => self.ended,
            };
        }
        self.early.remove(&thread);
        if let Some(process) = self.threads.process_of(thread) {
            process.recorder.thread_ended(thread);
        }
        self.threads.remove(thread);
    }

    /// Adds a new thread or process, which is traced already. Its first stop may have come before.
    fn add_child(&mut self, parent: Pid, is_vfork: bool) -> Result<(), Gone> {
        let child = ptrace::event_message(parent)? as Pid;
        let group = status_number(child, "Tgid:").map_or(child, |group| group as Pid);
        let only_first = self.context.settings.trace.as_ref().is_some_and(|trace| trace.only_first);
        let forked_from = self.threads.get_mut(parent).map_or(0, |known| known.process);
        if self.threads.process(group).is_none() {
            let made_userfaultfd =
                self.threads.process(forked_from).is_some_and(|process| process.made_userfaultfd);
            let recorder = Recorder::new(group, forked_from, only_first);
            self.threads.add_process(group, Process { recorder, made_userfaultfd });
        }
        self.threads.add(child, group);
        if let Some(known) = self.threads.get_mut(parent) {
            known.is_in_vfork = is_vfork;
        }
        if let Some(event) = self.early.remove(&child) {
            self.queue.push_back((child, event));
        }
        self.resume(parent, 0)
    }

    /// Starts over after an exec: the process has a new image, and one thread with the leader's id.
    fn replace_image(&mut self, leader: Pid) -> Result<(), Gone> {
        self.threads.keep_only(leader);
        let only_first = self.context.settings.trace.as_ref().is_some_and(|trace| trace.only_first);
        let is_off = only_first && leader != self.first;
        let recorder = Recorder::new(leader, 0, is_off);
        self.threads.add_process(leader, Process { recorder, made_userfaultfd: false });
        self.threads.add(leader, leader);
        self.resume(leader, 0)
    }

    /// Handles the entry of a call that the filter marks.
    fn enter_marked_call(&mut self, thread: Pid) -> Result<(), Gone> {
        let mut call = Call::of_thread(thread)?;
        if call.registers.call_number() != libc::SYS_mremap {
            // The filter marks nothing else but what makes a userfaultfd.
            if let Some(process) = self.threads.process_of(thread) {
                process.made_userfaultfd = true;
            }
            return self.resume(thread, 0);
        }
        let request = call.registers.request();
        let Some(process) = self.threads.process_of(thread) else {
            return self.resume(thread, 0);
        };
        let mode = self.context.settings.mode;
        match judge(&request, self.space, mode, self.context.capability) {
            Verdict::Forward(outcome) => self.forward(call, outcome),
            Verdict::Native(wanted) => {
                let trace = self.context.settings.trace.as_ref();
                if trace.is_some_and(|trace| trace.detail == Detail::Vmas) {
                    moves::survey(&self.context, &mut process.recorder, &mut call, &wanted);
                }
                self.forward(call, Outcome::Native)
            }
            Verdict::Refuse(result) => {
                arch::skip_call(thread, &call.registers, result)?;
                self.finish(&call, Outcome::Refused, result);
                self.resume(thread, 0)
            }
            Verdict::Emulate(wanted) => {
                let reads_flags =
                    process.made_userfaultfd || wanted.flags.contains(Flags::DONTUNMAP);
                self.stop_sharers(thread);
                let Some(process) = self.threads.process_of(thread) else { return Ok(()) };
                let (moved, postponed) = moves::carry_out(
                    &self.context,
                    &mut process.recorder,
                    &mut call,
                    &wanted,
                    reads_flags,
                )?;
                self.finish(&call, moved.outcome, moved.result);
                self.resend(thread, &postponed);
                self.resume(thread, 0)
            }
        }
    }

    /// Lets the kernel carry a call out, and waits for its exit if it is recorded.
    fn forward(&mut self, call: Call, outcome: Outcome) -> Result<(), Gone> {
        let thread = call.thread;
        if self.context.settings.trace.is_some()
            && let Some(known) = self.threads.get_mut(thread)
        {
            known.call = Some(InFlight { call, outcome });
        }
        self.resume(thread, 0)
    }

    fn leave_call(&mut self, thread: Pid) -> Result<(), Gone> {
        let in_flight = self.threads.get_mut(thread).and_then(|known| known.call.take());
        if let Some(InFlight { call, outcome }) = in_flight {
            let result = arch::read_result(thread)?;
            self.finish(&call, outcome, result);
        }
        self.resume(thread, 0)
    }

    fn finish(&mut self, call: &Call, outcome: Outcome, result: i64) {
        if let Some(process) = self.threads.process_of(call.thread) {
            process.recorder.finish(&self.context, call, outcome, result);
        }
    }

    /// Stops every other thread of the address space. The event that stops a thread is queued, and
    /// the thread stays stopped until it is handled.
    fn stop_sharers(&mut self, thread: Pid) {
        for other in self.threads.sharers(thread) {
            let is_stopped =
                self.threads.get_mut(other).is_some_and(|known| known.state == State::Stopped);
            if is_stopped || ptrace::interrupt(other).is_err() {
                continue;
            }
            let deadline = Instant::now() + LONGEST_WAIT;
            loop {
                match ptrace::poll(other) {
                    Ok(Some((_, event))) => {
                        self.threads.note(other, event);
                        self.queue.push_back((other, event));
                        break;
                    }
                    Ok(None) => match procfs::state(other) {
                        Some('Z' | 'X') | None => break,
                        Some('D') if Instant::now() > deadline => break,
                        _ => std::thread::sleep(Duration::from_micros(20)),
                    },
                    Err(_) => break,
                }
            }
        }
    }

    /// Sends the signals again that arrived during the move: only stops, which cannot be blocked.
    fn resend(&mut self, thread: Pid, postponed: &Postponed) {
        let Some(process) = self.threads.get_mut(thread).map(|known| known.process) else {
            return;
        };
        for &signal in postponed {
            if signal < 0 {
                // It left its group's stop, and stops again if the group is still stopped.
                let _ = ptrace::interrupt(thread);
            } else {
                // SAFETY: sends a signal to a thread that is traced and not reaped.
                unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
            }
        }
    }
}
