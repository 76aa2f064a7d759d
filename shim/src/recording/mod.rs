//! The trace: how a call becomes a record in a mapped file.
//!
//! ```text
//!  hooks, a call that is forwarded ──> pass_through ──> one slot ────────────────┐
//!                                                                                v
//!  emulate, any other call ──> CallRecord: begin, part, gap, ..., finish ──> ring::claim
//!                                                                                │
//!      chunk of this thread, or a new one ──> Claim::store (the tag last) ──> mapped file
//! ```
//!
//! A record needs the clock, the return address, and the module of the caller; a trace's header
//! says what `identity` gathered at load. Nothing here allocates, waits for another thread's
//! record, or calls libc.

mod call_record;
pub(crate) mod caller_modules;
pub(crate) mod clock;
pub(crate) mod identity;
pub(crate) mod move_records;
pub(crate) mod return_address;
pub(crate) mod ring;
mod same_process;
#[cfg(target_arch = "x86_64")]
pub(crate) mod stack_words;

pub(crate) use call_record::CallRecord;

use core::ffi::c_void;

use mremap_plan::Request;
use mremap_trace::{Call, FRAMES_PER_RECORD, Outcome, Record, Stack};

use self::return_address::Caller;
use self::ring::Claim;
use crate::hooks::real::{self, Real};
use crate::process::config;
use crate::sys;

/// Forwards a call and records it. Nearly every recorded call takes this path.
#[inline]
pub(crate) fn pass_through(request: &Request, real: Real, caller: Caller) -> *mut c_void {
    caller_modules::ensure_recorded(caller.address);
    let ticks = clock::ticks_of_call();
    let answer = real.forward_marked(request);
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
        store(&call(), &caller, None);
    }
    answer
}

/// Stores a call that has returned, in a slot that was claimed for it or in a new one, and its
/// stack if the settings want it. Counts the call as lost where there is no room.
#[inline(never)]
fn store(call: &Call, caller: &Caller, claimed: Option<Claim>) {
    match claimed.map_or_else(|| ring::claim(1), Ok) {
        Ok(claim) => {
            claim.store(0, &Record::Call(*call));
            if config::stack_depth() != 0 {
                append_stack(claim.number(), caller);
                // Arm's compilers keep frame pointers.
                #[cfg(target_arch = "x86_64")]
                stack_words::append(claim.number(), caller);
            }
        }
        Err(loss) => ring::count_lost(loss),
    }
}

/// Appends the return addresses above the caller's own, six to a record.
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
