//! The records of a call that is not simply forwarded: the call itself, its parts and gaps, their
//! summary.

use mremap_plan::{Range, Request, Vma};
use mremap_trace::{Call, FoundBy, Gap, Outcome, Part, Record, Summary, Under};

use super::move_records::MoveRecords;
use super::return_address::Caller;
use super::ring::{self, Claim};
use super::{caller_modules, clock, store};
use crate::process::seccomp;
use crate::sys::{self, probe};

/// A call being recorded. Without a trace every method returns at once.
pub(crate) struct CallRecord {
    call: Call,
    caller: Caller,
    claim: Option<Claim>,
    /// Holds the records of parts and gaps while the move lock is held.
    move_records: Option<MoveRecords>,
    has_lost_race: bool,
    summary: Summary,
}

impl CallRecord {
    /// Starts the clock. A slot is claimed when the call ends, or before its first part.
    #[inline]
    pub(crate) fn begin(request: &Request, caller: Caller) -> Self {
        if ring::is_wanted() {
            caller_modules::ensure_recorded(caller.address);
        }
        let call = Call {
            outcome: Outcome::Begun,
            ticks: if ring::is_wanted() { clock::ticks_of_call() } else { 0 },
            duration: 0,
            old: request.old,
            old_len: request.old_len,
            new_len: request.new_len,
            flags: request.flags.0,
            new: request.new,
            result: 0,
            caller: caller.address,
        };
        Self {
            call,
            caller,
            claim: None,
            move_records: None,
            has_lost_race: false,
            summary: Summary::default(),
        }
    }

    /// Whether calls are recorded at all.
    #[allow(clippy::unused_self)]
    pub(crate) fn is_kept(&self) -> bool {
        ring::is_wanted()
    }

    /// The clock; 0 when calls are not recorded.
    pub(crate) fn ticks(&self) -> u64 {
        if self.is_kept() { clock::ticks() } else { 0 }
    }

    /// Parts moved so far.
    pub(crate) fn parts(&self) -> u32 {
        self.summary.parts
    }

    /// Stores the call as begun: a process that is killed in its move leaves this record. Called
    /// before the move lock is acquired, like [`Self::survey_begins`].
    pub(crate) fn emulation_begins(&mut self) {
        self.survey_begins();
        if let Some(claim) = &self.claim {
            claim.store(0, &Record::Call(self.call));
        }
    }

    /// Claims the call's slot. The parts and gaps that follow refer to it, and are kept until
    /// [`Self::store_move_records`].
    pub(crate) fn survey_begins(&mut self) {
        if !self.is_kept() || !ring::is_intact() {
            return;
        }
        if self.claim.is_none() {
            self.claim = ring::claim(1).ok();
            self.summary.call = self.claim.as_ref().map_or(0, Claim::number);
        }
        self.move_records = self.claim.is_some().then(MoveRecords::new);
    }

    /// Stores the parts and gaps. Called once the move lock is released.
    pub(crate) fn store_move_records(&mut self) {
        if let Some(mut move_records) = self.move_records.take() {
            move_records.store();
        }
    }

    /// Sets the method that found the last VMAs.
    pub(crate) fn found_by(&mut self, source: FoundBy) {
        self.summary.source = source;
    }

    /// Notes that another thread mapped memory at the target of a part.
    pub(crate) fn lose_race(&mut self) {
        self.has_lost_race = true;
    }

    pub(crate) fn has_lost_race(&self) -> bool {
        self.has_lost_race
    }

    /// Counts a part that is discovered again.
    pub(crate) fn retried(&mut self) {
        self.summary.retries += 1;
    }

    /// Records a part that was moved, or that could not be moved. `started` is the clock before its
    /// move.
    #[inline]
    pub(crate) fn part(&mut self, part: Range, vma: &Vma, started: u64, result: sys::Result) {
        if result.is_ok() {
            self.summary.parts += 1;
            self.summary.bytes += part.len();
        }
        if self.move_records.is_some() {
            self.append_part(part, vma, started, result.err().map_or(0, |errno| errno.0 as u32));
        }
    }

    /// Appends a part or a gap once the move lock is released.
    fn append(&mut self, record: &Record) {
        if let Some(move_records) = &mut self.move_records {
            move_records.push(record);
        }
    }

    #[inline(never)]
    fn append_part(&mut self, part: Range, vma: &Vma, started: u64, errno: u32) {
        let protection = vma.protection.map_or(0, |known| {
            u8::from(known.read)
                | u8::from(known.write) << 1
                | u8::from(known.execute) << 2
                | u8::from(known.shared) << 3
                | 1 << 7
        });
        self.append(&Record::Part(Part {
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

    /// Records a gap and what is mapped at its target.
    #[inline]
    pub(crate) fn gap(&mut self, gap: Range, target: u64) {
        self.summary.gaps += 1;
        if self.move_records.is_some() {
            self.append_gap(gap, target);
        }
    }

    #[inline(never)]
    fn append_gap(&mut self, gap: Range, target: u64) {
        // Under a filter, or where the probe is blind, it would take a system call for each page.
        let is_cheap = !seccomp::is_filtered() && probe::sees_mappings();
        let is_free = is_cheap.then(|| probe::is_free(target, gap.len()).ok()).flatten();
        let under = match is_free {
            Some(false) => Under::Mapped,
            Some(true) => Under::Empty,
            None => Under::Unknown,
        };
        self.append(&Record::Gap(Gap {
            call: self.summary.call,
            start: gap.start,
            end: gap.end,
            under,
        }));
    }

    /// Records the result of the call, after the summary of its parts.
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
        store(&self.call, &self.caller, self.claim.take());
    }
}
