//! Decides what to do with a call: forward it, refuse it, or emulate the move part by part.

pub(crate) mod capability;
pub(crate) mod exposure;
pub(crate) mod mapping_limit;
pub(crate) mod move_lock;
mod reservation;
pub(crate) mod self_protect;
mod stage;

use mremap_plan::{Flags, Judgement, Move, Plan, Request, Step};
use mremap_trace::Outcome;

use self::capability::Capability;
use self::exposure::Exposure;
use self::move_lock::MoveLock;
use self::reservation::Reservation;
use self::stage::Moved;
use crate::discover::Source;
use crate::hooks::real::{self, Real};
use crate::process::address_space::{self, page_size};
use crate::process::config::{self, Mode};
use crate::process::diagnostics;
use crate::recording::CallRecord;
use crate::recording::return_address::Caller;
use crate::recording::ring;
use crate::sys::probe::{self, OneVma};
use crate::sys::{self, Errno};

/// Retries in a row of a part that another thread changed between discovery and move.
const MAX_RETRIES: u32 = 100;

/// Whether a call is forwarded unchanged, with nothing to decide.
#[inline]
pub(crate) fn passes_through(request: &Request) -> bool {
    !request.flags.contains(Flags::FIXED) || config::mode() == Mode::PassThrough
}

/// Handles a call that cannot simply be forwarded. Not inlined, so that the hook's own frame stays
/// small enough for [`crate::recording::return_address`].
#[inline(never)]
pub(crate) fn handle(request: &Request, real: Real, caller: Caller) -> sys::Result {
    let mut record = CallRecord::begin(request, caller);
    let (outcome, result) = decide(request, real, &mut record);
    if matches!(outcome, Outcome::Emulated | Outcome::Refused) && !real.is_known() {
        ring::count_early();
    }
    record.finish(outcome, result);
    result
}

fn decide(request: &Request, real: Real, record: &mut CallRecord) -> (Outcome, sys::Result) {
    let untagged = request.without_tag();
    let request = if cfg!(target_arch = "aarch64") { &untagged } else { request };
    if !request.is_move(address_space::smallest()) {
        return (Outcome::PassedThrough, real.call(request));
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
        return (Outcome::Native, real.call(request));
    }
    match judgement {
        Judgement::Move(wanted) => emulate(wanted, real, record),
        Judgement::Refused(errno) => (Outcome::Refused, Err(errno)),
        Judgement::NotAMove => (Outcome::PassedThrough, real.call(request)),
    }
}

/// Carries out a move on a kernel that moves one VMA at a time. The range must be known before the
/// kernel is called: by the time that it refuses with `EFAULT`, it has unmapped the destination.
fn emulate(wanted: Move, real: Real, record: &mut CallRecord) -> (Outcome, sys::Result) {
    // Nearly always one VMA, for which one call is atomic by itself. During another thread's move
    // it must wait for the lock.
    let may_be_one = !move_lock::is_taken();
    if may_be_one && probe::is_one_vma(wanted.source.start, wanted.len) == OneVma::Yes {
        survey(wanted, record);
        let errno = real::errno();
        let request = part_request(&wanted, wanted.source.start, wanted.len);
        let result = real.call(&request);
        return match result {
            Err(Errno::EFAULT) => retry_one_vma(wanted, errno, record),
            _ => (Outcome::OneVma, result),
        };
    }
    move_under_lock(wanted, may_be_one, Reservation::NONE, record)
}

/// Moves a range that was one VMA until another thread split it.
#[cold]
#[inline(never)]
fn retry_one_vma(wanted: Move, errno: i32, record: &mut CallRecord) -> (Outcome, sys::Result) {
    let mut reservation = Reservation::NONE;
    if !reservation.take(wanted.source, wanted.target_of(wanted.source)) {
        report_lost_race();
        return (Outcome::OneVma, Err(Errno::EFAULT));
    }
    record.retried();
    let (outcome, result) = move_under_lock(wanted, false, reservation, record);
    if result.is_ok() {
        real::set_errno(errno);
    }
    (outcome, result)
}

fn move_under_lock(
    wanted: Move,
    crosses: bool,
    reservation: Reservation,
    record: &mut CallRecord,
) -> (Outcome, sys::Result) {
    record.emulation_begins();
    let lock = MoveLock::acquire();
    let exposure = Exposure::begin();
    let moved = move_parts(wanted, crosses, reservation, record);
    let exposure = exposure.end();
    // While the lock is held, nothing is stored into the trace.
    let _signals = lock.release();
    record.store_move_records();
    exposure.report();
    if record.has_lost_race() {
        report_lost_race();
    }
    moved
}

/// Moves a range under the lock. `crosses`: it is known not to be one VMA.
#[inline(never)] // its source's buffers stay off the stack of a call that is passed through
fn move_parts(
    wanted: Move,
    crosses: bool,
    reservation: Reservation,
    record: &mut CallRecord,
) -> (Outcome, sys::Result) {
    let mut source = Source::new();
    source.open();
    if crosses {
        source.range_crosses_boundaries();
    }
    let (outcome, result) = move_each_part(wanted, &mut source, reservation, record);
    record.found_by(source.method());
    mapping_limit::take_back_spare();
    // The kernel checks the limit on mappings before it looks at a VMA.
    if result.is_err() && record.parts() == 0 && mapping_limit::is_reached() {
        return (Outcome::Refused, Err(Errno(libc::ENOMEM)));
    }
    (outcome, result)
}

/// `remap_move` of `mm/mremap.c`, with one system call for each part.
#[inline(always)]
#[allow(clippy::inline_always)] // one frame, as small as it can be
fn move_each_part(
    wanted: Move,
    source: &mut Source,
    mut reservation: Reservation,
    record: &mut CallRecord,
) -> (Outcome, sys::Result) {
    let mut plan = Plan::new(wanted);
    let mut retries = 0;
    loop {
        let part = match plan.next_step(source) {
            Ok(Step::Part(part)) => part,
            Ok(Step::Gap(gap)) => {
                record.gap(gap, wanted.target(gap.start));
                reservation.pass(wanted.target_of(gap), true);
                continue;
            }
            Ok(Step::Done) => return (Outcome::Emulated, Ok(wanted.destination as usize)),
            Ok(Step::Refused(errno)) => return (refused_after(record), Err(errno)),
            Err(_) if source.fall_back() => continue,
            Err(errno) => return (Outcome::Emulated, Err(errno)),
        };
        if may_not_stay_behind(&wanted, part.start) {
            return (refused_after(record), Err(Errno::EINVAL));
        }
        let (target, ticks) = (wanted.target_of(part), record.ticks());
        if !reservation.admits(target) {
            record.lose_race();
            record.part(part, plan.vma(), ticks, Err(Errno::EFAULT));
            return (Outcome::Emulated, Err(Errno::EFAULT));
        }
        mapping_limit::prepare(target);
        let Moved { result, has_reached_target } =
            stage::move_part(&part_request(&wanted, part.start, part.len()));
        let is_worth_a_retry = match result {
            // Another thread changed the VMA.
            Err(Errno::EFAULT) if retries < MAX_RETRIES => {
                if has_reached_target {
                    // It is empty now.
                    reservation.take(part, target);
                }
                true
            }
            Err(Errno(libc::ENOMEM)) => record.parts() > 0 && mapping_limit::make_room(),
            _ => false,
        };
        if is_worth_a_retry {
            retries += 1;
            record.retried();
            plan.rewind(part.start);
            source.restart();
            continue;
        }
        record.part(part, plan.vma(), ticks, result);
        if result.is_err() {
            mapping_limit::abandon(target);
            return (Outcome::Emulated, result);
        }
        retries = 0;
        reservation.pass(target, false);
        move_lock::note_progress();
    }
}

#[cold]
#[inline(never)] // a message's buffers stay off the stack of other moves
fn report_lost_race() {
    diagnostics::inform(
        "a move stays partial: another thread mapped memory at the target of a part that lost a race",
        "",
        None,
    );
}

/// Whether the VMA at `start` makes a move with `MREMAP_DONTUNMAP` fail with `EINVAL`:
/// `VM_DONTEXPAND` or `VM_PFNMAP` memory (`check_prep_vma` since 6.17), which answers no probe.
/// Older kernels unmap its target first.
fn may_not_stay_behind(wanted: &Move, start: u64) -> bool {
    wanted.flags.contains(Flags::DONTUNMAP)
        && probe::is_one_vma(start, page_size()) == OneVma::No
        && probe::is_mapped(start)
}

/// A refusal before any part was moved has changed nothing.
fn refused_after(record: &CallRecord) -> Outcome {
    if record.parts() == 0 { Outcome::Refused } else { Outcome::Emulated }
}

/// One part as a call of its own. Its lengths are whole pages, since some kernels compare them
/// before rounding.
fn part_request(wanted: &Move, start: u64, len: u64) -> Request {
    Request {
        old: start,
        old_len: len,
        new_len: len,
        flags: wanted.flags,
        new: wanted.target(start),
    }
}

/// Records the VMAs of a move that the kernel will carry out whole, if the trace's detail is
/// `vmas`.
#[inline(never)]
fn survey(wanted: Move, record: &mut CallRecord) {
    if !config::records_vmas() || !record.is_kept() {
        return;
    }
    record.survey_begins();
    // No fork may inherit a descriptor of `/proc`.
    let lock = MoveLock::acquire();
    let mut source = Source::new();
    source.open();
    let mut plan = Plan::new(wanted);
    while let Ok(step) = plan.next_step(&mut source) {
        match step {
            Step::Part(part) => record.part(part, plan.vma(), record.ticks(), Ok(0)),
            Step::Gap(gap) => record.gap(gap, wanted.target(gap.start)),
            Step::Refused(_) | Step::Done => break,
        }
    }
    record.found_by(source.method());
    let _signals = lock.release();
    record.store_move_records();
}
