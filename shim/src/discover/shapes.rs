//! What the last VMAs looked like that moves have met, so that the next ones can be guessed: a range is often moved
//! again, and layouts repeat themselves.
//!
//! A guess is what stood `distance` VMAs ago: one where all are alike, two where guards and stacks take turns, as
//! many as the last move had where its range is moved again. Nothing is ever done on a guess that was not asked about.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use mremap_plan::Range;

/// VMAs that are remembered: four pages of them, untouched until a move needs them.
const ROOM: u32 = 1024;
/// How far back the like of a VMA is looked for.
const NEAR: u32 = 64;
/// VMAs that came as a period foretells, and make it one to trust.
const SURE: u32 = 8;

/// How a VMA lies: bytes free before it, and its length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) gap: u64,
    pub(super) len: u64,
}

impl Shape {
    /// Of a VMA behind one that ends at `from`.
    pub(super) fn of(range: Range, from: u64) -> Self {
        Self {
            gap: range.start.saturating_sub(from),
            len: range.end.saturating_sub(range.start.max(from)),
        }
    }

    /// Where such a VMA would be behind one that ends at `from`, cut at `until`.
    #[inline]
    pub(super) fn behind(self, from: u64, until: u64) -> Range {
        let start = from.saturating_add(self.gap);
        let end = start.saturating_add(self.len).min(until);
        Range { start, end }
    }
}

struct Seen {
    gap: AtomicU64,
    len: AtomicU64,
}

/// The last VMAs of this process's moves. Two moves at a time may mix theirs, and a signal's handler may add some at any
/// moment: a bad guess costs a question, and what a question has confirmed is not looked up here.
static SEEN: [Seen; ROOM as usize] =
    [const { Seen { gap: AtomicU64::new(0), len: AtomicU64::new(0) } }; ROOM as usize];

/// VMAs ever seen, modulo 2^32.
static COUNT: AtomicU32 = AtomicU32::new(0);
/// The count when the last move began.
static LAST_MOVE: AtomicU32 = AtomicU32::new(0);

fn seen(number: u32) -> Shape {
    let [gap, len] = SEEN
        .get((number % ROOM) as usize)
        .map_or([0; 2], |seen| [&seen.gap, &seen.len].map(|word| word.load(Ordering::Relaxed)));
    Shape { gap, len }
}

/// The VMAs of one move among those remembered, and the guess of what comes next.
pub(super) struct Shapes {
    /// Number of the first one.
    first: u32,
    /// Number of the next one.
    next: u32,
    /// How far back its like is; 0 without a guess.
    distance: u32,
}

impl Shapes {
    /// Of no move yet.
    pub(super) fn new() -> Self {
        Self { first: 0, next: 0, distance: 0 }
    }

    /// A move begins: it is guessed to be like the last one.
    pub(super) fn begin(&mut self) {
        self.next = COUNT.load(Ordering::Relaxed);
        self.first = self.next;
        let last = self.next.wrapping_sub(LAST_MOVE.load(Ordering::Relaxed));
        LAST_MOVE.store(self.next, Ordering::Relaxed);
        self.distance = if last <= ROOM { last } else { 0 };
    }

    /// What the next one may be.
    #[inline]
    pub(super) fn guess(&self) -> Option<Shape> {
        let guess = seen(self.next.wrapping_sub(self.distance));
        (self.distance != 0 && guess.len != 0).then_some(guess)
    }

    /// What may come behind the next one, if that one is as guessed; none: its like.
    #[inline]
    pub(super) fn guess_behind(&self) -> Option<Shape> {
        let number = self.next.wrapping_add(1).wrapping_sub(self.distance);
        (self.distance > 1 && number != self.first).then(|| seen(number))
    }

    /// Whether the next one is guessed to be like the last.
    pub(super) fn is_guess_alike(&self) -> bool {
        self.distance == 1
    }

    /// The next one is as guessed: so.
    #[inline]
    pub(super) fn confirm(&mut self, guessed: Shape) {
        self.append(guessed);
        self.stay_within_a_move();
    }

    /// The next one was found to be this. Guesses go on from the last one like it, or, where that has gone wrong,
    /// from the last pair like it and its neighbour.
    pub(super) fn learn(&mut self, shape: Shape, wants_pair: bool) {
        if self.guess() != Some(shape) {
            self.distance = self.distance_of(shape, wants_pair);
        }
        self.append(shape);
        self.stay_within_a_move();
    }

    /// What follows the end of an earlier move is the beginning of this one, and no guess.
    #[inline]
    fn stay_within_a_move(&mut self) {
        if self.next.wrapping_sub(self.distance) == self.first {
            self.distance = self.distance.min(1);
        }
    }

    /// Whether the last ones came round in a period; they are guessed to go on so.
    pub(super) fn find_period(&mut self) -> bool {
        let repeats =
            |distance: &u32| (1..=SURE).all(|back| self.back(back) == self.back(back + distance));
        let found = (1..=NEAR).find(repeats);
        self.distance = found.unwrap_or(0);
        found.is_some()
    }

    /// Nothing is guessed until one is found.
    pub(super) fn forget_place(&mut self) {
        self.distance = 0;
    }

    /// One of those remembered, counted back from the next.
    fn back(&self, count: u32) -> Shape {
        seen(self.next.wrapping_sub(count))
    }

    fn distance_of(&self, shape: Shape, wants_pair: bool) -> u32 {
        let before = self.back(1);
        let is_like = |back: &u32| {
            self.back(*back) == shape && (!wants_pair || self.back(*back + 1) == before)
        };
        match (1..=NEAR).find(is_like) {
            Some(back) => back,
            None => u32::from(!wants_pair),
        }
    }

    pub(super) fn append(&mut self, shape: Shape) {
        if let Some(seen) = SEEN.get((self.next % ROOM) as usize) {
            seen.gap.store(shape.gap, Ordering::Relaxed);
            seen.len.store(shape.len, Ordering::Relaxed);
        }
        self.next = self.next.wrapping_add(1);
        COUNT.store(self.next, Ordering::Relaxed);
    }
}
