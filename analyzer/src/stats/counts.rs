//! Totals by outcome, failure and thread, and of moves with recorded VMAs.

use mremap_trace::{FoundBy, Summary};

use super::bytes::Bytes;
use super::histogram::Histogram;

/// Calls with one outcome.
#[derive(Clone, Debug, Default)]
pub struct OutcomeStats {
    /// Durations, nanoseconds.
    pub times: Histogram,
    /// Calls that failed.
    pub failed: u64,
}

impl OutcomeStats {
    /// Adds the calls of another one.
    pub fn merge(&mut self, other: &Self) {
        self.times.merge(&other.times);
        self.failed += other.failed;
    }
}

/// Calls that failed for the same reason.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// Their number.
    pub calls: u64,
    /// Return address of the first one.
    pub caller: u64,
}

/// Totals of a thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadStats {
    /// Calls.
    pub calls: u64,
    /// Time in them, nanoseconds.
    pub time: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Bytes of calls. Failed ones count only what they moved before they failed.
    pub bytes: Bytes,
}

impl ThreadStats {
    /// Adds the calls of another one.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.time = self.time.saturating_add(other.time);
        self.failed += other.failed;
        self.bytes.add(&other.bytes);
    }
}

/// Moves with recorded VMAs.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    /// Parts a move.
    pub parts: Histogram,
    /// Gaps a move.
    pub gaps: Histogram,
    /// Bytes moved a move.
    pub bytes: Histogram,
    /// Retries a move: parts whose VMA had to be found again.
    pub retries: Histogram,
    /// Moves by VMA source, indexed by the summary's `source`.
    pub sources: [u64; FoundBy::ALL.len()],
}

impl Moves {
    /// Adds a move.
    pub fn add(&mut self, summary: &Summary) {
        self.parts.add(summary.parts.into());
        self.gaps.add(summary.gaps.into());
        self.bytes.add(summary.bytes);
        self.retries.add(summary.retries.into());
        if let Some(moves) = self.sources.get_mut(summary.source as usize) {
            *moves += 1;
        }
    }

    /// Adds the moves of another one.
    pub fn merge(&mut self, other: &Self) {
        self.parts.merge(&other.parts);
        self.gaps.merge(&other.gaps);
        self.bytes.merge(&other.bytes);
        self.retries.merge(&other.retries);
        for (moves, more) in self.sources.iter_mut().zip(other.sources) {
            *moves += more;
        }
    }
}
