//! One growth chain: the same mapping grown again and again.

/// A mapping's life as far as `mremap` shows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chain {
    /// Where it lay before the first call.
    pub first: u64,
    /// Where it lies.
    pub last: u64,
    /// Its length before the first call.
    pub first_len: u64,
    /// Its length.
    pub last_len: u64,
    /// The longest it was.
    pub most_len: u64,
    /// Calls that made it grow.
    pub growths: u64,
    /// Calls after which it lay elsewhere.
    pub moves: u64,
    /// Nanoseconds in its calls.
    pub time: u64,
    /// Nanoseconds from the trace's start to its first call.
    pub begin: u64,
    /// And to its last one.
    pub end: u64,
    /// Return address of its last growth.
    pub caller: u64,
    /// Thread of its last growth.
    pub tid: u32,
}

impl Chain {
    /// Growths that doubling would have needed.
    pub fn growths_by_doubling(&self) -> u64 {
        let mut len = self.first_len.max(1);
        let mut growths = 0;
        while len < self.most_len {
            len = len.saturating_mul(2);
            growths += 1;
        }
        growths
    }

    /// Calls that doubling would have saved.
    pub fn calls_saved(&self) -> u64 {
        self.growths.saturating_sub(self.growths_by_doubling())
    }

    /// Nanoseconds that doubling would have saved, a call at its average.
    pub fn time_saved(&self) -> u64 {
        let saved = u128::from(self.time) * u128::from(self.calls_saved());
        u64::try_from(saved / u128::from(self.growths.max(1))).unwrap_or(u64::MAX)
    }

    /// This chain and a later one that goes on with it, as one.
    pub fn joined_by(&self, later: &Self) -> Self {
        Self {
            last: later.last,
            last_len: later.last_len,
            most_len: self.most_len.max(later.most_len),
            growths: self.growths + later.growths,
            moves: self.moves + later.moves,
            time: self.time.saturating_add(later.time),
            end: later.end,
            caller: later.caller,
            tid: later.tid,
            ..*self
        }
    }
}
