//! What to do with a call: pass it on, refuse it, or carry the move out part by part.

pub(crate) mod capability;
pub(crate) mod exposure;
pub(crate) mod mapping_limit;
pub(crate) mod move_lock;
pub(crate) mod self_protect;

use mremap_plan::{Flags, Judgement, Move, Plan, Range, Request, Step};
use mremap_trace::Outcome;

use self::capability::Capability;
use self::exposure::Window;
use self::move_lock::Exclusive;
use crate::discover::Source;
use crate::hooks::real::Next;
use crate::process::address_space::{self, page_size};
use crate::process::config::{self, Mode};
use crate::process::diagnostics;
use crate::recording::CallRecord;
use crate::recording::return_address::Caller;
use crate::recording::ring;
use crate::sys::probe::{self, OneVma};
use crate::sys::{self, Errno};

/// A part that another thread changed between discovery and move is discovered again this often.
const MOST_RETRIES: u32 = 8;

/// Whether a call goes on as it is, with nothing to decide.
#[inline]
pub(crate) fn passes_through(request: &Request) -> bool {
    !request.flags.contains(Flags::FIXED) || config::mode() == Mode::PassThrough
}

/// Serves a call that [`passes_through`] does not say of: an address, or minus the errno. Not inlined, so that the hook's own frame stays small
/// enough for [`crate::recording::return_address`].
#[inline(never)]
pub(crate) fn serve(request: &Request, next: Next, caller: Caller) -> sys::Result {
    let mut record = CallRecord::begin(request, caller);
    let (outcome, result) = decide(request, next, &mut record);
    if matches!(outcome, Outcome::Emulated | Outcome::Refused) && !next.is_known() {
        ring::count_early();
    }
    record.finish(outcome, result);
    result
}

fn decide(request: &Request, next: Next, record: &mut CallRecord) -> (Outcome, sys::Result) {
    let untagged = request.without_tag();
    let request = if cfg!(target_arch = "aarch64") { &untagged } else { request };
    if !request.is_move(address_space::smallest()) {
        return (Outcome::PassedThrough, next.call(request));
    }
    let judgement = request.judge(address_space::for_request(request));
    if let Judgement::Move(wanted) = judgement
        && self_protect::is_touched_by(&wanted)
    {
        diagnostics::inform(
            "a move of this library's own memory, or over it, was refused",
            "",
            None,
        );
        return (Outcome::Refused, Err(Errno(libc::EPERM)));
    }
    if config::mode() == Mode::Auto && capability::of_kernel() == Capability::MultiVma {
        if let Judgement::Move(wanted) = judgement {
            survey(wanted, record);
        }
        return (Outcome::Native, next.call(request));
    }
    match judgement {
        Judgement::Move(wanted) => emulate(wanted, next, record),
        Judgement::Refused(errno) => (Outcome::Refused, Err(errno)),
        Judgement::NotAMove => (Outcome::PassedThrough, next.call(request)),
    }
}

/// A move on a kernel that moves one VMA at a time. The range must be known before the kernel is called:
/// refusing with `EFAULT`, it would have unmapped the destination already.
fn emulate(wanted: Move, next: Next, record: &mut CallRecord) -> (Outcome, sys::Result) {
    // One VMA, as nearly always: one call, atomic by itself. While another thread is in the middle of a
    // move, wait for it like everyone else.
    let may_be_one = !move_lock::is_taken();
    if may_be_one && probe::is_one_vma(wanted.source.start, wanted.len) == OneVma::Yes {
        survey(wanted, record);
        return (
            Outcome::OneVma,
            next.call(&part_request(&wanted, wanted.source.start, wanted.len)),
        );
    }
    let _exclusive = Exclusive::enter();
    let window = Window::open();
    let answer = move_parts(wanted, may_be_one, record);
    window.close();
    answer
}

/// `remap_move` of `mm/mremap.c`, one system call for each part.
#[inline(never)] // its source's buffers stay off the stack of a call that is passed through
fn move_parts(
    wanted: Move,
    is_known_to_cross: bool,
    record: &mut CallRecord,
) -> (Outcome, sys::Result) {
    let mut source = Source::new();
    // Emulating by choice, maybe on a kernel that moves several VMAs as one; the trace tells of each.
    let must_be_known = record.is_kept() && config::mode() != Mode::Auto;
    source.open_for_move(&wanted, is_known_to_cross, must_be_known);
    record.emulation_begins();
    let (outcome, result) = move_parts_of(wanted, &mut source, record);
    record.found_by(source.method());
    mapping_limit::take_back_spare();
    // The kernel looks at the limit on mappings before it looks at a VMA.
    if result.is_err() && record.parts() == 0 && mapping_limit::is_reached() {
        return (Outcome::Refused, Err(Errno(libc::ENOMEM)));
    }
    (outcome, result)
}

#[inline(always)]
#[allow(clippy::inline_always)] // one frame, as small as it can be
fn move_parts_of(
    wanted: Move,
    source: &mut Source,
    record: &mut CallRecord,
) -> (Outcome, sys::Result) {
    let mut plan = Plan::new(wanted);
    let mut retries = 0;
    loop {
        match plan.next_step(source) {
            // A source that fails (a sandbox, a driver's strange line) is replaced by the one that asks
            // nothing but `mremap` and `mmap`.
            Err(failed) if !source.fall_back() => return (Outcome::Emulated, Err(failed)),
            Err(_) => {}
            Ok(Step::Gap(gap)) => record.gap(gap, wanted.target(gap.start)),
            Ok(Step::Done) => return (Outcome::Emulated, Ok(wanted.destination as usize)),
            Ok(Step::Refused(errno)) => return (refused_after(record), Err(errno)),
            Ok(Step::Part(part)) => {
                if may_not_stay_behind(&wanted, part.start) {
                    return (refused_after(record), Err(Errno::EINVAL));
                }
                mapping_limit::prepare(wanted.target_of(part));
                let ticks = record.ticks();
                let result = sys::mremap(&part_request(&wanted, part.start, part.len()));
                if result.is_err() && source.was_supposed() {
                    if !brings_back(&wanted, part) {
                        source.suppose_no_more();
                    }
                    plan.rewind(part.start);
                    continue;
                }
                let is_changed = result == Err(Errno::EFAULT) && retries < MOST_RETRIES;
                let may_be_at_limit = result == Err(Errno(libc::ENOMEM)) && record.parts() > 0;
                if is_changed || may_be_at_limit && mapping_limit::make_room() {
                    retries += 1;
                    record.retried();
                    plan.rewind(part.start);
                    source.restart();
                    continue;
                }
                record.part(part, plan.vma(), ticks, result);
                if result.is_err() {
                    return (Outcome::Emulated, result);
                }
            }
        }
    }
}

/// A part that was supposed to be one VMA could not be moved. It may have been several, and the kernel one that moves as
/// many as it can (6.17, emulation forced): brings back those; whether the target is free again. It was free; a kernel that
/// moves none has left it so, and must not be asked, since it would unmap the source.
#[cold]
fn brings_back(wanted: &Move, part: Range) -> bool {
    let target = wanted.target_of(part);
    if !probe::is_mapped(target.start) {
        return true;
    }
    let result = sys::mremap(&Request {
        old: target.start,
        old_len: target.len(),
        new_len: target.len(),
        flags: Flags(Flags::MAYMOVE.0 | Flags::FIXED.0),
        new: part.start,
    });
    result.is_ok()
}

/// `MREMAP_DONTUNMAP` of `VM_DONTEXPAND` or `VM_PFNMAP` memory is `EINVAL`, of `check_prep_vma` since 6.17;
/// older kernels unmap the target first. Such memory answers no question about its growth.
fn may_not_stay_behind(wanted: &Move, start: u64) -> bool {
    wanted.flags.contains(Flags::DONTUNMAP)
        && probe::is_one_vma(start, page_size()) == OneVma::No
        && probe::is_mapped(start)
}

/// A refusal before any part moved touched nothing.
fn refused_after(record: &CallRecord) -> Outcome {
    if record.parts() == 0 { Outcome::Refused } else { Outcome::Emulated }
}

/// One part as a call of its own. Lengths are whole pages, so that what rounds equal is equal on kernels
/// that compare before they round.
fn part_request(wanted: &Move, start: u64, len: u64) -> Request {
    Request {
        old: start,
        old_len: len,
        new_len: len,
        flags: wanted.flags,
        new: wanted.target(start),
    }
}

/// With the detail `vmas`: records the VMAs of a move that the kernel will carry out whole.
#[inline(never)]
fn survey(wanted: Move, record: &mut CallRecord) {
    if !config::records_vmas() || !record.is_kept() {
        return;
    }
    let mut source = Source::new();
    source.open();
    let mut plan = Plan::new(wanted);
    record.survey_begins();
    while let Ok(step) = plan.next_step(&mut source) {
        match step {
            Step::Part(part) => record.part(part, plan.vma(), record.ticks(), Ok(0)),
            Step::Gap(gap) => record.gap(gap, wanted.target(gap.start)),
            Step::Refused(_) | Step::Done => break,
        }
    }
    record.found_by(source.method());
}
