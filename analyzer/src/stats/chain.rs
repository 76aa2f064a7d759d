//! One growth chain: a mapping that `mremap` grew several times.

/// A mapping followed over several calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chain {
    /// Its address before the first call.
    pub first: u64,
    /// Its address after the last call.
    pub last: u64,
    /// Its length before the first call.
    pub first_len: u64,
    /// Its length after the last call.
    pub last_len: u64,
    /// Its greatest length.
    pub max_len: u64,
    /// Calls that made it grow.
    pub growths: u64,
    /// Calls that made it longer than it had been.
    pub records: u64,
    /// Calls that changed its address.
    pub moves: u64,
    /// Total time of its calls, nanoseconds.
    pub time: u64,
    /// Start of its first call, nanoseconds since the trace's start.
    pub begin: u64,
    /// Start of its last call, nanoseconds since the trace's start.
    pub end: u64,
    /// Return address of its last growth.
    pub caller: u64,
    /// Thread of its last growth.
    pub tid: u32,
}

impl Chain {
    /// Number of growths had its length doubled each time.
    pub fn growths_by_doubling(&self) -> u64 {
        let mut len = self.first_len.max(1);
        let mut growths = 0;
        while len < self.max_len {
            len = len.saturating_mul(2);
            growths += 1;
        }
        growths
    }

    /// Number of calls that doubling saves. Growths after the program shrank the mapping are not
    /// among them.
    pub fn calls_saved(&self) -> u64 {
        self.records.saturating_sub(self.growths_by_doubling())
    }

    /// Nanoseconds that doubling saves, at the average time of a call.
    pub fn time_saved(&self) -> u64 {
        let saved = u128::from(self.time) * u128::from(self.calls_saved());
        u64::try_from(saved / u128::from(self.growths.max(1))).unwrap_or(u64::MAX)
    }

    /// Joins this chain and the later one that continues it.
    pub fn joined_by(&self, later: &Self) -> Self {
        Self {
            last: later.last,
            last_len: later.last_len,
            max_len: self.max_len.max(later.max_len),
            growths: self.growths + later.growths,
            records: self.records + if later.max_len > self.max_len { later.records } else { 0 },
            moves: self.moves + later.moves,
            time: self.time.saturating_add(later.time),
            end: later.end,
            caller: later.caller,
            tid: later.tid,
            ..*self
        }
    }
}
