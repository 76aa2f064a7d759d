//! The small sums: outcomes, failures, threads, moves.

use mremap_trace::Summary;

use super::histogram::Histogram;

/// Calls with one outcome.
#[derive(Clone, Debug, Default)]
pub struct OutcomeStats {
    /// Nanoseconds of each call.
    pub times: Histogram,
    /// Calls that failed.
    pub failed: u64,
}

impl OutcomeStats {
    /// Takes all calls of another one.
    pub fn merge(&mut self, other: &Self) {
        self.times.merge(&other.times);
        self.failed += other.failed;
    }
}

/// Calls that failed with one errno.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// How many.
    pub calls: u64,
    /// The address of the call site that the first of them came from.
    pub caller: u64,
}

/// One thread's share.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadStats {
    /// Its calls.
    pub calls: u64,
    /// Nanoseconds in them.
    pub time: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Bytes of calls that succeeded.
    pub bytes: u64,
}

impl ThreadStats {
    /// Takes another one's calls.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.time = self.time.saturating_add(other.time);
        self.failed += other.failed;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Moves that were taken apart.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    /// VMAs of each.
    pub parts: Histogram,
    /// Gaps of each.
    pub gaps: Histogram,
    /// Bytes of each.
    pub bytes: Histogram,
    /// Parts discovered again, of each.
    pub retries: Histogram,
    /// Moves by where their VMAs were learnt from, in the order of the summary's numbers.
    pub sources: [u64; 5],
}

impl Moves {
    /// Takes a move.
    pub fn add(&mut self, summary: &Summary) {
        self.parts.add(summary.parts.into());
        self.gaps.add(summary.gaps.into());
        self.bytes.add(summary.bytes);
        self.retries.add(summary.retries.into());
        if let Some(moves) = self.sources.get_mut(summary.source as usize) {
            *moves += 1;
        }
    }

    /// Takes another one's moves.
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
