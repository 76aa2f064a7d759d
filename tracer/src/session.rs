//! The tracer's loop: one event of one thread after the other, until no traced thread is left.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use mremap_plan::{AddressSpace, Flags};
use mremap_trace::{Detail, Outcome};

use crate::call::{Call, InFlight, Verdict, judge};
use crate::moves::{self, Postponed};
use crate::procfs::status_number;
use crate::ptrace::{self, End, Event, Gone, Pid};
use crate::recorder::{Context, Recorder};
use crate::stops::Stops;
use crate::threads::{Process, State, Threads};
use crate::{Launch, Settings, StartError, arch, capability, filter, procfs, refusal, spawn};

/// How long a move waits for a thread in uninterruptible sleep. It cannot touch memory before it
/// stops.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// How long the threads may take to be released: one that waits in vfork does not stop. When the
/// tracer exits, the kernel releases it.
const LONGEST_RELEASE: Duration = Duration::from_secs(1);

/// How the first process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// A program under the tracer.
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
    /// By when all threads are to be released; `None` while they are traced.
    release: Option<Instant>,
}

impl Program {
    /// Starts a program; see [`crate::start`].
    pub(crate) fn start(launch: &Launch, settings: Settings) -> Result<Self, StartError> {
        let first = spawn::spawn(launch, settings.kills_on_exit)?;
        let mut program = Self::new(first, settings, Stops::ByFilter);
        program.threads.add(first, first);
        let _ = ptrace::resume(first, 0);
        Ok(program)
    }

    /// Begins to trace a process that runs; see [`crate::follow`].
    pub(crate) fn follow(pid: Pid, settings: Settings) -> Result<Self> {
        let mut program = Self::new(pid, settings, Stops::AtEveryCall);
        program.seize_all()?;
        Ok(program)
    }

    fn new(first: Pid, settings: Settings, stops: Stops) -> Self {
        ptrace::send_no_signals_for_stops();
        let context = Context { settings, stops, capability: capability::of_kernel() };
        let space = AddressSpace {
            page_size: capability::page_size() as u64,
            task_size: capability::task_size(),
        };
        let mut threads = Threads::default();
        // What a process did before it was traced is not known.
        let made_userfaultfd = stops == Stops::AtEveryCall;
        let recorder = Recorder::new(first, 0, false);
        threads.add_process(first, Process { recorder, made_userfaultfd });
        Self {
            first,
            context,
            space,
            threads,
            early: HashMap::new(),
            queue: VecDeque::new(),
            ended: None,
            release: None,
        }
    }

    /// Traces the threads of the first process, and those that they make meanwhile. Each stops once
    /// from here on.
    fn seize_all(&mut self) -> Result<()> {
        let options = self.context.stops.options(self.context.settings.kills_on_exit);
        let mut seen = HashSet::new();
        loop {
            let threads = procfs::threads(self.first).into_iter();
            let new: Vec<Pid> = threads.filter(|&thread| seen.insert(thread)).collect();
            if new.is_empty() {
                return Ok(());
            }
            for thread in new {
                match ptrace::seize(thread, options) {
                    Ok(()) => {
                        self.threads.add(thread, self.first);
                        let _ = ptrace::interrupt(thread);
                    }
                    // It has ended, or a traced thread has made it: an event will tell of it.
                    Err(_) if matches!(procfs::state(thread), None | Some('Z' | 'X')) => {}
                    Err(_) if procfs::is_traced_by_us(thread) => {}
                    Err(error) => bail!("{}", refusal::explain_seize(self.first, &error)),
                }
            }
        }
    }

    /// Process id of the program.
    pub fn pid(&self) -> Pid {
        self.first
    }

    /// Traces until the last process of the tree has ended. Returns how the first one did.
    ///
    /// # Errors
    /// The program could not be waited for.
    pub fn run(self) -> Result<Ended> {
        let ended = self.run_until(&AtomicBool::new(false))?;
        ended.context("the program ended without a status")
    }

    /// As [`Self::run`], until `stop` is set: then every thread goes on untraced, and the result is
    /// `None`. A signal's handler that sets it must interrupt system calls, and do so twice: the
    /// first time may be just before one.
    ///
    /// # Errors
    /// The program could not be waited for.
    pub fn run_until(mut self, stop: &AtomicBool) -> Result<Option<Ended>> {
        while !self.threads.is_empty() {
            if self.release.is_none() && stop.load(Ordering::SeqCst) {
                self.release = Some(Instant::now() + LONGEST_RELEASE);
                self.threads.all().for_each(|thread| drop(ptrace::interrupt(thread)));
            }
            let next = match (self.queue.pop_front(), self.release) {
                (Some(event), _) => Ok(Some(event)),
                (None, None) => ptrace::wait_for_any(),
                (None, Some(deadline)) if Instant::now() > deadline => break,
                (None, Some(_)) => ptrace::poll(-1),
            };
            match next {
                Ok(Some((thread, event))) => self.handle(thread, event),
                Ok(None) if self.release.is_none() => {}
                Ok(None) => std::thread::sleep(Duration::from_micros(200)),
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => break,
                Err(error) => return Err(error).context("waiting for the program"),
            }
        }
        Ok(self.ended)
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
        if event.interrupts_only_if_traced() {
            arch::restart_interrupted(thread);
        }
        match event {
            Event::Exited(_) | Event::Killed(_) => {
                self.end(thread, event);
                Ok(())
            }
            Event::Signal(signal) if self.release.is_some() => self.let_go(thread, signal),
            Event::GroupStop(_) if self.release.is_some() => self.let_go(thread, 0),
            Event::Trapped => {
                if self.release.is_some() {
                    self.let_go(thread, 0)
                } else {
                    self.resume(thread, 0)
                }
            }
            Event::Signal(signal) => self.resume(thread, signal),
            Event::GroupStop(_) => {
                if let Some(known) = self.threads.get_mut(thread) {
                    known.state = State::Listening;
                }
                ptrace::listen(thread)
            }
            Event::Seccomp => self.enter_marked_call(thread),
            Event::Syscall => self.stop_at_syscall(thread),
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
                return ptrace::resume_to_syscall(thread, 0);
            }
        }
        self.context.stops.resume(thread, signal)
    }

    /// Lets a stopped thread go on untraced.
    fn let_go(&mut self, thread: Pid, signal: i32) -> Result<(), Gone> {
        let detached = ptrace::detach(thread, signal);
        self.forget(thread);
        detached
    }

    fn end(&mut self, thread: Pid, event: Event) {
        if thread == self.first {
            self.ended = match event {
                Event::Exited(status) => Some(Ended::Exited(status)),
                Event::Killed(signal) => Some(Ended::Killed(signal)),
                _ => self.ended,
            };
        }
        self.forget(thread);
    }

    fn forget(&mut self, thread: Pid) {
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
            // No move may wait for a stop that has come already.
            self.threads.note(child, event);
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

    /// Handles the entry or the exit of a system call.
    fn stop_at_syscall(&mut self, thread: Pid) -> Result<(), Gone> {
        if self.context.stops == Stops::ByFilter {
            return self.leave_call(thread);
        }
        let end = ptrace::end_of_syscall(thread)?;
        // This stop has taken the place of one that was asked for: to release the thread, or to
        // restart the call that the asking has interrupted.
        let is_interrupted = matches!(end, End::Exit(result) if result == i64::from(-libc::EINTR));
        if is_interrupted || self.release.is_some() {
            let _ = ptrace::interrupt(thread);
        }
        match end {
            End::Exit(_) => self.leave_call(thread),
            End::Entry(call) if filter::marks(&call) => self.enter_marked_call(thread),
            End::Entry(_) => self.resume(thread, 0),
        }
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
                self.set_kills_on_exit(thread, true)?;
                let Some(process) = self.threads.process_of(thread) else { return Ok(()) };
                let (moved, postponed) = moves::carry_out(
                    &self.context,
                    &mut process.recorder,
                    &mut call,
                    &wanted,
                    reads_flags,
                )?;
                self.finish(&call, moved.outcome, moved.result);
                self.set_kills_on_exit(thread, false)?;
                self.resend(thread, &postponed);
                self.resume(thread, 0)
            }
        }
    }

    /// While a move is half done the process must not outlive the tracer.
    fn set_kills_on_exit(&self, thread: Pid, is_moving: bool) -> Result<(), Gone> {
        if self.context.settings.kills_on_exit {
            return Ok(());
        }
        ptrace::set_options(thread, self.context.stops.options(is_moving))
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
            if ptrace::is_second_entry(thread, result) {
                return self.forward(call, outcome);
            }
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
