//! One call of `mremap` at its entry, and the decision how it is handled.

use mremap_plan::{AddressSpace, Judgement, Move, Range, Request};
use mremap_trace::{Capability, Outcome};

use crate::Mode;
use crate::arch::{self, Registers};
use crate::ptrace::{Gone, Pid};
use crate::recorder::Begun;

/// A call at its entry.
pub(crate) struct Call {
    pub(crate) thread: Pid,
    /// The thread's registers at the entry.
    pub(crate) registers: Registers,
    pub(crate) begun: Begun,
}

impl Call {
    /// Reads the call that a thread is about to make.
    pub(crate) fn of_thread(thread: Pid) -> Result<Self, Gone> {
        let registers = arch::read(thread)?;
        let begun = Begun::new(&registers.request(), &registers);
        Ok(Self { thread, registers, begun })
    }
}

/// A call that the kernel is carrying out while the tracer waits for its exit.
pub(crate) struct InFlight {
    pub(crate) call: Call,
    pub(crate) outcome: Outcome,
}

/// What to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The kernel carries it out as it is.
    Forward(Outcome),
    /// The kernel moves several VMAs; record them if asked to.
    Native(Move),
    /// Refused by Linux 6.17 before anything is touched: the kernel is not called.
    Refuse(i64),
    /// A move on a kernel that moves one VMA at a time.
    Emulate(Move),
}

/// Judges a call.
pub(crate) fn judge(
    request: &Request,
    space: AddressSpace,
    mode: Mode,
    capability: Capability,
) -> Verdict {
    let request = if cfg!(target_arch = "aarch64") { request.without_tag() } else { *request };
    if mode == Mode::PassThrough || !request.is_move(space) {
        return Verdict::Forward(Outcome::PassedThrough);
    }
    let judgement = request.judge(space);
    if mode == Mode::Auto && capability == Capability::MultiVma {
        return match judgement {
            Judgement::Move(wanted) => Verdict::Native(wanted),
            _ => Verdict::Forward(Outcome::Native),
        };
    }
    match judgement {
        Judgement::Move(wanted) => Verdict::Emulate(wanted),
        Judgement::Refused(errno) => Verdict::Refuse(-i64::from(errno.0)),
        Judgement::NotAMove => Verdict::Forward(Outcome::PassedThrough),
    }
}

/// The request that moves one part. Its lengths are whole pages: old kernels compare them before
/// they round.
pub(crate) fn part_request(wanted: &Move, part: Range) -> Request {
    Request {
        old: part.start,
        old_len: part.len(),
        new_len: part.len(),
        flags: wanted.flags,
        new: wanted.target(part.start),
    }
}
