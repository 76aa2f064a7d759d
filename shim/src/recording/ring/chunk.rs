//! One chunk of the mapped file: how slots are claimed in it, and how a later thread takes it over.
//!
//! ```text
//!              CAS, no writers            + VOIDING                CAS
//!   in use ───────────────────────> closed ──────────> void ─────────────────> in use,
//!   claims: one addition each       still read         counted as overwritten  a new number
//! ```
//!
//! One word holds the chunk's number, its writers and its claimed slots. A claim is one atomic
//! addition to it. The former value shows whether the chunk is still the one that the thread knew.

use core::sync::atomic::{AtomicU64, Ordering};

use mremap_trace::layout::{self, HEADER_SIZE, SLOT_SIZE, SLOT_WORDS, SLOTS_PER_CHUNK};
use mremap_trace::{ChunkHeader, ClaimWord, Outcome, Record};

use super::state::{BASE, WRITER_INCREMENT, file_len};
use crate::process::fork_state::FORK_STATE;
use crate::process::thread::Slots;
use crate::recording::clock::Reading;

/// Bits of a slot's last word below its tag.
const TAG_SHIFT: u32 = 56;
/// Added to the claim word of a closed chunk, makes it void.
const VOIDING: u64 = (ClaimWord::VOID - ClaimWord::CLOSED) as u64;
/// Index of the claim word in slot 0.
const CLAIMS_WORD: usize = layout::chunk::CLAIMS / 8;

/// The chunk at a position of the file.
#[derive(Clone, Copy)]
pub(super) struct Chunk(pub(super) &'static Slots);

impl Chunk {
    /// # Safety
    /// There is a trace, `position` is mapped, and its page is allocated.
    pub(super) unsafe fn at(position: u32) -> Self {
        let base = BASE.load(Ordering::Acquire);
        // SAFETY: by the contract above. Chunks are aligned to their slots and, like the header
        // once the trace is open, accessed only atomically. The mapping stays for the life of the
        // process.
        Self(unsafe { &*base.add(file_len(position)).cast::<Slots>() })
    }

    fn claims(self) -> &'static AtomicU64 {
        &self.0[0][CLAIMS_WORD]
    }

    fn overwritten(self) -> &'static AtomicU64 {
        &self.0[0][layout::chunk::OVERWRITTEN / 8]
    }

    fn overwritten_next(self) -> &'static AtomicU64 {
        &self.0[0][layout::chunk::OVERWRITTEN_NEXT / 8]
    }

    /// Claims `count` slots, if this is still chunk number `number` and has room. A signal handler
    /// may interrupt its thread anywhere here and claim too: each addition yields slots of its own.
    #[inline]
    pub(super) fn claim(self, epoch: u32, number: u32, count: u32) -> Option<Claim> {
        let writer = WRITER_INCREMENT.load(Ordering::Relaxed);
        let addition = u64::from(count) + writer;
        let former = ClaimWord(self.claims().fetch_add(addition, Ordering::Acquire));
        // One comparison for both conditions: the value is large if the numbers differ.
        let first = former.claimed_in(number);
        if first <= u64::from(SLOTS_PER_CHUNK - count) {
            return Some(Claim { chunk: self, first: first as u32, writer, epoch });
        }
        self.give_back(former, addition, count, epoch);
        None
    }

    /// Undoes a claim that did not fit. In a chunk that is being taken over, where nobody else
    /// claims, the addition is subtracted. In any other one the slots that are left become padding.
    #[cold]
    fn give_back(self, former: ClaimWord, addition: u64, count: u32, epoch: u32) {
        let first = former.claimed();
        if first >= ClaimWord::CLOSED {
            self.claims().fetch_sub(addition, Ordering::Release);
            return;
        }
        let claim = Claim { chunk: self, first, writer: addition - u64::from(count), epoch };
        let end = (first + count).min(SLOTS_PER_CHUNK);
        for index in 0..end.saturating_sub(first) {
            claim.store(index as usize, &Record::Padding);
        }
    }

    /// Makes this the chunk number `number` of the thread `tid`, emptied, and calls
    /// `count_overwritten` with the number of calls that were in it. Returns false if it has a
    /// writer.
    pub(super) fn take_over(
        self,
        number: u32,
        tid: u32,
        reading: &Reading,
        count_overwritten: impl FnOnce(u64),
    ) -> bool {
        let claims = self.claims();
        let former = ClaimWord(claims.load(Ordering::Relaxed));
        // A closed or void chunk was left by a thread that could not open it: it holds nothing.
        let claimed = match former.claimed() {
            ClaimWord::CLOSED.. => 0,
            claimed => claimed.min(SLOTS_PER_CHUNK),
        };
        // The taker counts as a writer, which keeps other takers away.
        let closed =
            ClaimWord::new(former.number(), ClaimWord::CLOSED + claimed).0 + ClaimWord::ONE_WRITER;
        // Acquire pairs with the Release in `Claim::drop`: the last writer's stores are complete.
        if former.writers() != 0
            || claims
                .compare_exchange(former.0, closed, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return false;
        }
        let is_new = former.0 == 0;
        let calls = if is_new { 0 } else { self.calls() };
        let overwritten = self.overwritten().load(Ordering::Relaxed) + calls;
        self.overwritten_next().store(overwritten, Ordering::Relaxed);
        // Linearization point: before this addition the calls are in the trace, after it they are
        // counted as overwritten. Release: whoever sees the chunk void sees the count.
        claims.fetch_add(VOIDING, Ordering::Release);
        count_overwritten(calls);
        if !is_new {
            self.empty();
        }
        self.store_header(number, tid, reading, overwritten);
        // Release: whoever sees slots claimed sees the header. This fails if the former owner has
        // just tried to claim here. It has then seen that the chunk is not its own, and subtracts
        // what it added.
        let open = ClaimWord::new(number, 1).0;
        let void = closed + VOIDING;
        let opened = claims.compare_exchange(void, open, Ordering::Release, Ordering::Relaxed);
        if opened.is_err() {
            claims.fetch_sub(ClaimWord::ONE_WRITER, Ordering::Release);
        }
        opened.is_ok()
    }

    fn calls(self) -> u64 {
        let tags = self.tags().map(|last| (last.load(Ordering::Relaxed) >> TAG_SHIFT) as u8);
        tags.filter(|&tag| Outcome::from_raw(tag).is_some()).count() as u64
    }

    fn empty(self) {
        for last in self.tags() {
            if last.load(Ordering::Relaxed) != 0 {
                last.store(0, Ordering::Relaxed);
            }
        }
    }

    /// The words that hold the slots' tags.
    fn tags(self) -> impl Iterator<Item = &'static AtomicU64> {
        self.0.iter().skip(1).map(|slot| &slot[SLOT_WORDS - 1])
    }

    fn store_header(self, number: u32, tid: u32, reading: &Reading, overwritten: u64) {
        let mut bytes = [0; SLOT_SIZE];
        ChunkHeader {
            tid,
            number,
            claimed: 0,
            ticks: reading.ticks,
            monotonic_ns: reading.monotonic_ns,
            realtime_ns: reading.realtime_ns,
            overwritten,
            overwritten_next: overwritten,
        }
        .encode(&mut bytes);
        for (index, (word, bytes)) in self.0[0].iter().zip(bytes.as_chunks().0).enumerate() {
            if index != CLAIMS_WORD {
                word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
            }
        }
    }
}

/// Slots that were claimed and are about to be stored.
pub(crate) struct Claim {
    chunk: Chunk,
    first: u32,
    /// What this claim added to the chunk's count of writers.
    writer: u64,
    epoch: u32,
}

impl Claim {
    /// Whether the claim was made in this process. A signal handler may have forked in the middle
    /// of one: the slots are the parent's, and the file mapped there may be another.
    #[inline]
    fn is_of_this_process(&self) -> bool {
        self.epoch == FORK_STATE.trace_epoch.load(Ordering::Relaxed)
    }

    /// File-wide number of the first slot.
    pub(crate) fn number(&self) -> u32 {
        let chunks = BASE.load(Ordering::Relaxed).addr() + HEADER_SIZE;
        let distance = (&raw const *self.chunk.0).addr().wrapping_sub(chunks);
        (distance / SLOT_SIZE) as u32 + self.first
    }

    /// Stores a record in slot `index` of the claim, its tag last.
    #[inline]
    pub(crate) fn store(&self, index: usize, record: &Record) {
        self.store_words(index, &record.encode());
    }

    /// Stores an encoded record.
    #[inline]
    pub(super) fn store_words(&self, index: usize, words: &[u64; SLOT_WORDS]) {
        if !self.is_of_this_process() {
            return;
        }
        let Some(slot) = self.chunk.0.get(self.first as usize + index) else {
            return;
        };
        let (last, body) = (SLOT_WORDS - 1, &words[..SLOT_WORDS - 1]);
        for (word, value) in slot.iter().zip(body) {
            word.store(*value, Ordering::Relaxed);
        }
        // Release: whoever sees the tag sees the words. Pairs with readers of the file.
        slot[last].store(words[last], Ordering::Release);
    }

    /// The same claim without its first slot.
    pub(super) fn without_first(mut self) -> Self {
        self.first += 1;
        self
    }

    /// Never ends the claim, which keeps the chunk from being taken over.
    pub(super) fn pin(mut self) {
        self.writer = 0;
    }
}

impl Drop for Claim {
    #[inline]
    fn drop(&mut self) {
        if self.writer != 0 && self.is_of_this_process() {
            // Release pairs with the Acquire in `take_over`.
            self.chunk.claims().fetch_sub(self.writer, Ordering::Release);
        }
    }
}
