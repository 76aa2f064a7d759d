//! One call on its way into the trace: its own record, and those of its parts and gaps.

pub(crate) mod caller_modules;
pub(crate) mod clock;
pub(crate) mod identity;
pub(crate) mod return_address;
pub(crate) mod ring;

use core::ffi::c_void;

use mremap_plan::{Range, Request, Vma};
use mremap_trace::{Call, FRAMES_PER_RECORD, Gap, Outcome, Part, Record, Stack, Summary, Under};

use self::ring::Claim;
use crate::hooks::real::{self, Next};
use crate::process::config;
use crate::recording::return_address::Caller;
use crate::sys;

/// A call being recorded; does nothing when there is no trace.
pub(crate) struct CallRecord {
    call: Call,
    caller: Caller,
    claim: Option<Claim>,
    summary: Summary,
}

/// Passes a call on and records it. The way of nearly all calls: no more is done than has to be.
#[inline]
pub(crate) fn pass_through(request: &Request, next: Next, caller: Caller) -> *mut c_void {
    caller_modules::ensure_recorded(caller.address);
    let ticks = clock::ticks();
    let answer = next.forward_marked(request);
    let duration = clock::ticks().wrapping_sub(ticks);
    let call = || Call {
        outcome: Outcome::PassedThrough,
        ticks,
        duration,
        old: request.old,
        old_len: request.old_len,
        new_len: request.new_len,
        flags: request.flags.0,
        new: request.new,
        result: sys::to_raw(real::result_of(answer)) as i64,
        caller: caller.address,
    };
    if config::stack_depth() == 0
        && let Some(claim) = ring::claim_in_own_chunk(1)
    {
        claim.store(0, &Record::Call(call()));
    } else {
        keep(&call(), &caller, None);
    }
    answer
}

/// Writes a call that has ended, and its stack where asked for.
#[inline(never)]
fn keep(call: &Call, caller: &Caller, claimed: Option<Claim>) {
    match claimed.map_or_else(|| ring::claim(1), Ok) {
        Ok(claim) => {
            claim.store(0, &Record::Call(*call));
            if config::stack_depth() != 0 {
                append_stack(claim.number(), caller);
            }
        }
        Err(loss) => ring::count_lost(loss),
    }
}

impl CallRecord {
    /// Starts the clock. The slot is claimed when the call has ended, or when its first part is recorded.
    #[inline]
    pub(crate) fn begin(request: &Request, caller: Caller) -> Self {
        if ring::is_wanted() {
            caller_modules::ensure_recorded(caller.address);
        }
        let call = Call {
            outcome: Outcome::Begun,
            ticks: if ring::is_wanted() { clock::ticks() } else { 0 },
            duration: 0,
            old: request.old,
            old_len: request.old_len,
            new_len: request.new_len,
            flags: request.flags.0,
            new: request.new,
            result: 0,
            caller: caller.address,
        };
        Self { call, caller, claim: None, summary: Summary::default() }
    }

    /// Whether anything is kept of this call.
    #[allow(clippy::unused_self)]
    pub(crate) fn is_kept(&self) -> bool {
        ring::is_wanted()
    }

    pub(crate) fn ticks(&self) -> u64 {
        if self.is_kept() { clock::ticks() } else { 0 }
    }

    pub(crate) fn parts(&self) -> u32 {
        self.summary.parts
    }

    /// The parts of an emulated move follow: the call is written now, so that a process killed half-way
    /// leaves behind what it was doing.
    pub(crate) fn emulation_begins(&mut self) {
        self.survey_begins();
        if let Some(claim) = &self.claim {
            claim.store(0, &Record::Call(self.call));
        }
    }

    /// Parts and gaps follow.
    pub(crate) fn survey_begins(&mut self) {
        if self.is_kept() {
            self.claim = ring::claim(1).ok();
            self.summary.call = self.claim.as_ref().map_or(0, Claim::number);
        }
    }

    /// The VMAs were found this way in the end.
    pub(crate) fn found_by(&mut self, source: u32) {
        self.summary.source = source;
    }

    pub(crate) fn retried(&mut self) {
        self.summary.retries += 1;
    }

    /// A part was moved, or could not be, as `result` says.
    #[inline]
    pub(crate) fn part(&mut self, part: Range, vma: &Vma, started: u64, result: sys::Result) {
        if result.is_ok() {
            self.summary.parts += 1;
            self.summary.bytes += part.len();
        }
        if self.claim.is_some() {
            self.append_part(part, vma, started, result.err().map_or(0, |errno| errno.0 as u32));
        }
    }

    #[inline(never)]
    fn append_part(&self, part: Range, vma: &Vma, started: u64, errno: u32) {
        let protection = vma.protection.map_or(0, |known| {
            u8::from(known.read)
                | u8::from(known.write) << 1
                | u8::from(known.execute) << 2
                | u8::from(known.shared) << 3
                | 1 << 7
        });
        ring::append(&Record::Part(Part {
            call: self.summary.call,
            errno,
            start: part.start,
            end: part.end,
            vma_start: vma.range.start,
            vma_end: vma.range.end,
            offset: vma.offset,
            duration: clock::ticks().wrapping_sub(started).min(u64::from(u32::MAX)) as u32,
            protection,
        }));
    }

    /// A gap was stepped over.
    #[inline]
    pub(crate) fn gap(&mut self, gap: Range, target: u64) {
        self.summary.gaps += 1;
        if self.claim.is_some() {
            self.append_gap(gap, target);
        }
    }

    #[inline(never)]
    fn append_gap(&self, gap: Range, target: u64) {
        let under = match sys::mmap_of_no_type(target, gap.len()).0 {
            libc::EEXIST => Under::Mapped,
            libc::EINVAL | libc::EAGAIN => Under::Empty,
            _ => Under::Unknown,
        };
        ring::append(&Record::Gap(Gap {
            call: self.summary.call,
            start: gap.start,
            end: gap.end,
            under,
        }));
    }

    /// The call has returned.
    #[inline]
    pub(crate) fn finish(mut self, outcome: Outcome, result: sys::Result) {
        if !self.is_kept() {
            return;
        }
        self.call.outcome = outcome;
        self.call.result = sys::to_raw(result) as i64;
        self.call.duration = clock::ticks().wrapping_sub(self.call.ticks);
        if self.claim.is_some() {
            ring::append(&Record::Summary(self.summary));
        }
        keep(&self.call, &self.caller, self.claim.take());
    }
}

/// The return addresses above a call's own, in as many records as it takes.
#[cold]
fn append_stack(call: u32, caller: &Caller) {
    let mut stack = Stack { call, first: 1, ..Stack::default() };
    let mut left = config::stack_depth();
    caller.walk_up(|address| {
        caller_modules::ensure_recorded(address);
        if let Some(frame) = stack.frames.get_mut(usize::from(stack.count)) {
            *frame = address;
            stack.count += 1;
        }
        if usize::from(stack.count) == FRAMES_PER_RECORD {
            ring::append(&Record::Stack(stack));
            stack.first += stack.count;
            stack.count = 0;
        }
        left -= 1;
        left > 0
    });
    if stack.count > 0 {
        ring::append(&Record::Stack(stack));
    }
}
