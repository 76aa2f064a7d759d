//! One chunk of the mapped file: how slots are claimed in it, and how a later thread takes it over.
//!
//! One word holds the chunk's number, its writers and its claimed slots. A claim is one atomic addition to it
//! and learns from the former value whether the chunk is still the one its thread knew; whoever takes a chunk
//! over exchanges the whole word, and only while nobody is writing. It is then closed, its records what they were, until
//! they have been counted; then void, emptied, and opened under its new number.

use core::sync::atomic::{AtomicU64, Ordering};

use mremap_trace::layout::{self, CHUNK_SIZE, HEADER_SIZE, SLOT_SIZE, SLOT_WORDS, SLOTS_PER_CHUNK};
use mremap_trace::{ChunkHeader, ClaimWord, Record};

use super::state::{BASE, WRITER};
use crate::process::fork_state::WIPED;
use crate::process::thread::Slots;
use crate::recording::clock;

/// Bits of a slot's last word that hold its tag.
const TAG_SHIFT: u32 = 56;
/// Tags of calls are 1 to this.
const LAST_CALL_TAG: u64 = 6;
/// What makes a closed chunk void.
const VOIDING: u64 = (ClaimWord::VOID - ClaimWord::CLOSED) as u64;
/// Which word of slot 0 holds the claims.
const CLAIMS_WORD: usize = layout::chunk::CLAIMS / 8;

/// A position in the file.
#[derive(Clone, Copy)]
pub(super) struct Chunk(pub(super) &'static Slots);

impl Chunk {
    /// # Safety
    /// A trace is mapped at `base` for ever, reaches beyond `position`, and the position's space is there.
    pub(super) unsafe fn at(base: *mut u8, position: u32) -> Self {
        // SAFETY: by the contract above; chunks are aligned to their slots, and after the header only ever
        // accessed atomically.
        let slots =
            unsafe { &*base.add(HEADER_SIZE + position as usize * CHUNK_SIZE).cast::<Slots>() };
        Self(slots)
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

    /// `count` slots of this chunk, if it is still number `number` and has room. A handler may interrupt its
    /// own thread anywhere here: the one atomic addition gives each its own slots.
    #[inline]
    pub(super) fn claim(self, epoch: u32, number: u32, count: u32) -> Option<Claim> {
        let writer = WRITER.load(Ordering::Relaxed);
        let addition = u64::from(count) + writer;
        let former = ClaimWord(self.claims().fetch_add(addition, Ordering::Acquire));
        // Small only if the numbers are the same: one comparison for both.
        let first = former.claimed_in(number);
        if first <= u64::from(SLOTS_PER_CHUNK - count) {
            return Some(Claim { chunk: self, first: first as u32, writer, epoch });
        }
        self.give_back(former, addition, count, epoch);
        None
    }

    /// Slots that could not be used: undone in a chunk that is being taken over, where nobody else claims;
    /// marked as padding in any other.
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

    /// Empties the chunk, tells `overwritten` how many calls were in it, and makes it number `number`, filled by
    /// thread `tid`. False when somebody is still at it.
    pub(super) fn take_over(self, number: u32, tid: u32, overwritten: impl FnOnce(u64)) -> bool {
        let claims = self.claims();
        let former = ClaimWord(claims.load(Ordering::Relaxed));
        // Left so by somebody who could not open it again: it holds nothing.
        let claimed = match former.claimed() {
            ClaimWord::CLOSED.. => 0,
            claimed => claimed.min(SLOTS_PER_CHUNK),
        };
        // Whoever takes it over is a writer, too: nobody else may while it is being emptied.
        let closed =
            ClaimWord::new(former.number(), ClaimWord::CLOSED + claimed).0 + ClaimWord::ONE_WRITER;
        // Acquire pairs with the Release in `Claim::drop`: what the last writer stored is behind us.
        if former.writers() != 0
            || claims
                .compare_exchange(former.0, closed, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return false;
        }
        let is_new = former.0 == 0;
        let calls = if is_new { 0 } else { self.calls() };
        let in_all = self.overwritten().load(Ordering::Relaxed) + calls;
        self.overwritten_next().store(in_all, Ordering::Relaxed);
        // At this instant the calls are no more in the trace and are counted: whenever this process is killed, they are
        // the one or the other. Release: who sees the chunk void sees the count.
        claims.fetch_add(VOIDING, Ordering::Release);
        overwritten(calls);
        if !is_new {
            self.empty();
        }
        self.store_header(number, tid, in_all);
        // Release: who sees slots claimed sees the header. It fails when the former owner has just tried to
        // claim here; it will have seen that the chunk is not its own, so leave it to that, void.
        let open = ClaimWord::new(number, 1).0;
        let void = closed + VOIDING;
        let opened = claims.compare_exchange(void, open, Ordering::Release, Ordering::Relaxed);
        if opened.is_err() {
            claims.fetch_sub(ClaimWord::ONE_WRITER, Ordering::Release);
        }
        opened.is_ok()
    }

    fn calls(self) -> u64 {
        let tags = self.tags().map(|last| last.load(Ordering::Relaxed) >> TAG_SHIFT);
        tags.filter(|tag| (1..=LAST_CALL_TAG).contains(tag)).count() as u64
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

    fn store_header(self, number: u32, tid: u32, overwritten: u64) {
        let now = clock::now();
        let mut bytes = [0; SLOT_SIZE];
        ChunkHeader {
            tid,
            number,
            claimed: 0,
            ticks: now.ticks,
            monotonic_ns: now.monotonic_ns,
            realtime_ns: now.realtime_ns,
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

/// Slots claimed for one record.
pub(crate) struct Claim {
    chunk: Chunk,
    first: u32,
    /// What this claim added to the chunk's count of writers.
    writer: u64,
    epoch: u32,
}

impl Claim {
    /// False in a child that was forked by a handler in the middle of a claim: the slots are the parent's, and
    /// the file mapped there may be the parent's, or another.
    #[inline]
    fn is_of_this_process(&self) -> bool {
        self.epoch == WIPED.trace_epoch.load(Ordering::Relaxed)
    }

    /// File-wide number of the first slot.
    pub(crate) fn number(&self) -> u32 {
        let chunks = BASE.load(Ordering::Relaxed).addr() + HEADER_SIZE;
        let distance = (&raw const *self.chunk.0).addr().wrapping_sub(chunks);
        (distance / SLOT_SIZE) as u32 + self.first
    }

    /// Writes a record to the claim's slot `index`, its tag last.
    #[inline]
    pub(crate) fn store(&self, index: usize, record: &Record) {
        if !self.is_of_this_process() {
            return;
        }
        let Some(slot) = self.chunk.0.get(self.first as usize + index) else {
            return;
        };
        let words = record.encode();
        let (last, body) = (SLOT_WORDS - 1, &words[..SLOT_WORDS - 1]);
        for (place, word) in slot.iter().zip(body) {
            place.store(*word, Ordering::Relaxed);
        }
        // Release: who sees the tag sees the words. Pairs with a reader of the mapped file.
        slot[last].store(words[last], Ordering::Release);
    }

    /// Keeps the chunk from being taken over for ever: its claim never ends.
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
