//! A move carried out part by part: each part is an `mremap` that the calling thread is made to
//! execute, while every other thread of its address space is stopped.

use mremap_plan::{Errno, Flags, Move, Plan, Range, Step};
use mremap_trace::Outcome;

use crate::arch::{self, Registers, SYSCALL_INSTRUCTION};
use crate::call::{Call, part_request};
use crate::ptrace::{self, Event, Gone, Pid};
use crate::recorder::{Begun, Context, Recorder, monotonic_ns};
use crate::stops::Stops;
use crate::vmas::{Detail, Vmas};

/// How an emulated move ended.
pub(crate) struct Moved {
    pub(crate) outcome: Outcome,
    /// The destination, or minus the errno.
    pub(crate) result: i64,
}

/// A signal that stopped the thread while it made its calls, to be sent again.
pub(crate) type Postponed = Vec<i32>;

/// A thread at the entry of its `mremap`, which is made to execute others instead.
struct Injector {
    thread: Pid,
    stops: Stops,
    entry: Registers,
    /// The system call instruction to go back to.
    instruction: u64,
    is_at_entry: bool,
    postponed: Postponed,
}

/// Carries a move out. On return the thread is stopped, about to leave its call with the result.
/// `reads_flags`: a userfaultfd may be registered.
///
/// # Errors
/// [`Gone`] when the thread was killed: parts moved before stay moved.
pub(crate) fn carry_out(
    context: &Context,
    recorder: &mut Recorder,
    call: &mut Call,
    wanted: &Move,
    reads_flags: bool,
) -> Result<(Moved, Postponed), Gone> {
    let (thread, entry) = (call.thread, call.registers);
    let needs_flags = reads_flags || wanted.flags.contains(Flags::DONTUNMAP);
    let detail = if needs_flags { Detail::Flags } else { Detail::Plain };
    let (Ok(vmas), Ok(destination)) = (
        Vmas::read(thread, wanted.source, detail),
        Vmas::read(thread, wanted.target_of(wanted.source), Detail::Plain),
    ) else {
        // A process without /proc, or gone: nothing is touched.
        return refuse(thread, &entry, -i64::from(libc::EFAULT));
    };
    let is_one = vmas.is_one_vma(wanted.source);
    let mut injector = Injector {
        thread,
        stops: context.stops,
        entry,
        instruction: instruction_outside(thread, &entry, wanted),
        is_at_entry: true,
        postponed: Postponed::new(),
    };
    if !is_one {
        recorder.parts_follow(context, call);
    }
    let blocked = ptrace::blocked_signals(thread)?;
    ptrace::set_blocked_signals(thread, u64::MAX)?;
    let moved = injector.walk(recorder, call, wanted, vmas, &destination, is_one)?;
    injector.leave(moved.result)?;
    ptrace::set_blocked_signals(thread, blocked)?;
    Ok((moved, injector.postponed))
}

/// Ends the call without the kernel.
fn refuse(thread: Pid, entry: &Registers, result: i64) -> Result<(Moved, Postponed), Gone> {
    arch::skip_call(thread, entry, result)?;
    Ok((Moved { outcome: Outcome::Refused, result }, Postponed::new()))
}

impl Injector {
    /// `remap_move` of `mm/mremap.c`, one injected call for each part.
    fn walk(
        &mut self,
        recorder: &mut Recorder,
        call: &mut Call,
        wanted: &Move,
        mut vmas: Vmas,
        destination: &Vmas,
        is_one: bool,
    ) -> Result<Moved, Gone> {
        let moved_outcome = if is_one { Outcome::OneVma } else { Outcome::Emulated };
        let mut plan = Plan::new(*wanted);
        loop {
            // The list was read whole before: it cannot fail any more.
            let step = plan.next_step(&mut vmas).unwrap_or(Step::Refused(Errno::EFAULT));
            let (outcome, result) = match step {
                Step::Gap(gap) => {
                    let is_mapped = destination.touches(wanted.target_of(gap));
                    recorder.gap(call, gap, is_mapped);
                    continue;
                }
                Step::Done => (moved_outcome, wanted.destination as i64),
                Step::Refused(errno) => (outcome_of_refusal(&call.begun), -i64::from(errno.0)),
                Step::Part(_)
                    if wanted.flags.contains(Flags::DONTUNMAP) && vmas.last_refuses_dontunmap() =>
                {
                    (outcome_of_refusal(&call.begun), -i64::from(Errno::EINVAL.0))
                }
                Step::Part(part) => {
                    let started = monotonic_ns();
                    let result = self.call(wanted, part)?;
                    if !is_one {
                        recorder.part(call, part, plan.vma(), started, result);
                    }
                    if result >= 0 {
                        continue;
                    }
                    (moved_outcome, result)
                }
            };
            return Ok(Moved { outcome, result });
        }
    }

    /// Makes the thread move one part. Returns the result.
    fn call(&mut self, wanted: &Move, part: Range) -> Result<i64, Gone> {
        let request = part_request(wanted, part);
        if self.is_at_entry {
            arch::write(self.thread, &self.entry.with_request(&request))?;
        } else {
            let next = self.entry.about_to_call(&request, self.instruction);
            arch::write(self.thread, &next)?;
            self.stops.resume(self.thread, 0)?;
            self.wait_for(self.stops.entry())?;
        }
        let mut result = self.finish_call()?;
        if ptrace::is_second_entry(self.thread, result) {
            result = self.finish_call()?;
        }
        self.is_at_entry = false;
        Ok(result)
    }

    /// Continues from the entry of a call to its exit. Returns the result.
    fn finish_call(&mut self) -> Result<i64, Gone> {
        ptrace::resume_to_syscall(self.thread, 0)?;
        self.wait_for(Event::Syscall)?;
        arch::read_result(self.thread)
    }

    /// Waits until the thread stops by `wanted`. Signals that cannot be blocked wait for the end.
    fn wait_for(&mut self, wanted: Event) -> Result<(), Gone> {
        loop {
            let (_, event) = ptrace::wait(self.thread).map_err(|_| Gone(None))?;
            match event {
                _ if event == wanted => return Ok(()),
                Event::Signal(signal) => self.postponed.push(signal),
                Event::GroupStop(signal) => self.postponed.push(-signal),
                _ if event.is_end() => return Err(Gone(Some(event))),
                _ => {}
            }
            self.stops.resume(self.thread, 0)?;
        }
    }

    /// Gives the call its result, and the thread its own registers back.
    fn leave(&self, result: i64) -> Result<(), Gone> {
        if self.is_at_entry {
            arch::skip_call(self.thread, &self.entry, result)
        } else {
            arch::write(self.thread, &self.entry.with_result(result))
        }
    }
}

/// A refusal before any part moved touched nothing.
fn outcome_of_refusal(begun: &Begun) -> Outcome {
    if begun.parts() == 0 { Outcome::Refused } else { Outcome::Emulated }
}

/// The call's own system call instruction, or another one if the move takes it away.
fn instruction_outside(thread: Pid, entry: &Registers, wanted: &Move) -> u64 {
    let own = entry.instruction_pointer() - SYSCALL_INSTRUCTION.len() as u64;
    let touched = [wanted.source, wanted.target_of(wanted.source)];
    if touched.iter().all(|range| !range.contains(own)) {
        return own;
    }
    let code = Vmas::code_outside(thread, &touched).unwrap_or_default();
    code.iter().find_map(|range| find_instruction(thread, *range)).unwrap_or(own)
}

fn find_instruction(thread: Pid, range: Range) -> Option<u64> {
    const WINDOW: usize = 64 << 10;
    let mut bytes = vec![0; WINDOW.min(range.len() as usize)];
    let mut start = range.start;
    while start < range.end {
        bytes.truncate((range.end - start) as usize);
        if !ptrace::read_memory(thread, start, &mut bytes) {
            return None;
        }
        let mut words = bytes.chunks_exact(SYSCALL_INSTRUCTION.len());
        if let Some(index) = words.position(|word| word == SYSCALL_INSTRUCTION) {
            return Some(start + (index * SYSCALL_INSTRUCTION.len()) as u64);
        }
        start += bytes.len() as u64;
    }
    None
}

/// Records the VMAs of a move that the kernel carries out whole.
pub(crate) fn survey(context: &Context, recorder: &mut Recorder, call: &mut Call, wanted: &Move) {
    let thread = call.thread;
    let Ok(mut vmas) = Vmas::read(thread, wanted.source, Detail::Plain) else { return };
    let target = wanted.target_of(wanted.source);
    let Ok(destination) = Vmas::read(thread, target, Detail::Plain) else { return };
    recorder.parts_follow(context, call);
    let mut plan = Plan::new(*wanted);
    while let Ok(step) = plan.next_step(&mut vmas) {
        match step {
            Step::Part(part) => {
                recorder.part(call, part, plan.vma(), monotonic_ns(), 0);
            }
            Step::Gap(gap) => {
                let is_mapped = destination.touches(wanted.target_of(gap));
                recorder.gap(call, gap, is_mapped);
            }
            Step::Refused(_) | Step::Done => break,
        }
    }
}
