//! Bytes requested, relocated and grown in place. `docs/json.md` defines them for users.

use mremap_trace::{Call, Outcome, Summary};

/// Bytes of one call, or of many. Sums wrap in 128 bits, so that a correction can be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    requested: u128,
    relocated: u128,
    grown_in_place: u128,
}

impl Bytes {
    /// Bytes of a call. `summary` has the parts of a move whose VMAs were recorded: without it the
    /// whole range counts as relocated, gaps included.
    pub fn of(call: &Call, page_size: u32, summary: Option<&Summary>) -> Self {
        let requested = u128::from(call.old_len.max(call.new_len));
        let pages = |len: u64| rounded(len, page_size);
        let (old_len, new_len) = (pages(call.old_len), pages(call.new_len));
        let moved = call.result as u64 != call.old;
        let (relocated, grown_in_place) = match (call.outcome, call.errno(), summary) {
            (Outcome::Emulated, _, Some(summary)) => (summary.bytes, 0),
            (Outcome::Begun, ..) | (_, Some(_), _) => (0, 0),
            (_, None, Some(summary)) if moved => (summary.bytes, 0),
            (_, None, None) if moved => (old_len.min(new_len), 0),
            (_, None, _) => (0, new_len.saturating_sub(old_len)),
        };
        Self { requested, relocated: relocated.into(), grown_in_place: grown_in_place.into() }
    }

    /// A total.
    pub fn new(requested: u128, relocated: u128, grown_in_place: u128) -> Self {
        Self { requested, relocated, grown_in_place }
    }

    /// The larger of both lengths, as the program passed them.
    pub fn requested(&self) -> u64 {
        clamped(self.requested)
    }

    /// Memory whose address changed.
    pub fn relocated(&self) -> u64 {
        clamped(self.relocated)
    }

    /// Memory added to mappings whose address did not change.
    pub fn grown_in_place(&self) -> u64 {
        clamped(self.grown_in_place)
    }

    /// Adds the bytes of other calls.
    pub fn add(&mut self, other: &Self) {
        self.requested = self.requested.wrapping_add(other.requested);
        self.relocated = self.relocated.wrapping_add(other.relocated);
        self.grown_in_place = self.grown_in_place.wrapping_add(other.grown_in_place);
    }

    /// How a call's summary changes what [`Bytes::of`] returned without it.
    pub fn correction(call: &Call, page_size: u32, summary: &Summary) -> Self {
        let (assumed, known) =
            (Self::of(call, page_size, None), Self::of(call, page_size, Some(summary)));
        Self {
            requested: 0,
            relocated: known.relocated.wrapping_sub(assumed.relocated),
            grown_in_place: known.grown_in_place.wrapping_sub(assumed.grown_in_place),
        }
    }
}

/// A length in whole pages, in bytes; the last page below 2^64 at most.
pub fn rounded(len: u64, page_size: u32) -> u64 {
    let within_page = u64::from(page_size.saturating_sub(1));
    len.saturating_add(within_page) & !within_page
}

fn clamped(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use mremap_trace::{Call, Outcome, Summary};

    use super::Bytes;

    const PAGE: u64 = 4096;
    const OLD: u64 = 1 << 30;

    fn call(outcome: Outcome, lens: (u64, u64), result: i64) -> Call {
        Call {
            outcome,
            ticks: 0,
            duration: 0,
            old: OLD,
            old_len: lens.0,
            new_len: lens.1,
            flags: 1,
            new: 0,
            result,
            caller: 0,
        }
    }

    #[test]
    fn counts_what_moved_and_what_grew() {
        use Outcome::{Begun, Emulated, Native, PassedThrough};
        let (here, there) = (OLD as i64, 1 << 40);
        let part = Summary { bytes: 3 * PAGE, ..Summary::default() };
        for (outcome, lens, result, summary, expected) in [
            (PassedThrough, (PAGE, 5 * PAGE), here, None, (0, 4 * PAGE)),
            (PassedThrough, (PAGE - 1, PAGE), here, None, (0, 0)),
            (PassedThrough, (PAGE, 5 * PAGE), there, None, (PAGE, 0)),
            (PassedThrough, (5 * PAGE, PAGE), there, None, (PAGE, 0)),
            (PassedThrough, (5 * PAGE, PAGE), here, None, (0, 0)),
            (PassedThrough, (0, PAGE), there, None, (0, 0)),
            (PassedThrough, (PAGE, 5 * PAGE), -12, None, (0, 0)),
            (Native, (5 * PAGE, 5 * PAGE), there, None, (5 * PAGE, 0)),
            (Native, (5 * PAGE, 5 * PAGE), there, Some(&part), (3 * PAGE, 0)),
            (Native, (5 * PAGE, 5 * PAGE), -14, Some(&part), (0, 0)),
            (Emulated, (5 * PAGE, 5 * PAGE), there, Some(&part), (3 * PAGE, 0)),
            (Emulated, (5 * PAGE, 5 * PAGE), -14, Some(&part), (3 * PAGE, 0)),
            (Begun, (5 * PAGE, 5 * PAGE), 0, None, (0, 0)),
        ] {
            let call = call(outcome, lens, result);
            let bytes = Bytes::of(&call, 4096, summary);
            let found = (bytes.relocated(), bytes.grown_in_place());
            assert_eq!(found, expected, "{call:?}");
            assert_eq!(bytes.requested(), lens.0.max(lens.1));
            let mut corrected = Bytes::of(&call, 4096, None);
            if let Some(summary) = summary {
                corrected.add(&Bytes::correction(&call, 4096, summary));
            }
            assert_eq!(corrected, bytes, "{call:?}");
        }
    }
}
