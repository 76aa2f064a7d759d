//! Records of a move's parts and gaps, kept in this library's own memory until the move lock is
//! released.
//!
//! A store into the trace can raise `SIGBUS` (a truncated file, a full disk with copy on write),
//! and a handler of the program may then leave by a jump, with the lock held. So while it is held
//! nothing is stored into the trace. A full buffer is stored nevertheless: the kernel checks that
//! the pages are there, and other threads wait no longer than 100 ms for a thread that is storing.

use core::sync::atomic::Ordering;

use mremap_trace::Record;
use mremap_trace::layout::SLOT_WORDS;

use super::ring;
use crate::process::fork_state::FORK_STATE;
use crate::process::seccomp;
use crate::sys;
use crate::sys::cell::SyncCell;

/// Records in a buffer: 32 KiB.
const CAPACITY: usize = 512;
type Buffer = [[u64; SLOT_WORDS]; CAPACITY];

/// One for the thread that holds the lock, one for the thread that held it before and is storing
/// its records.
static BUFFERS: [SyncCell<Buffer>; 2] = [const { SyncCell::new([[0; SLOT_WORDS]; CAPACITY]) }; 2];

/// Signals that are blocked while records are stored: all but `SIGBUS`.
pub(crate) const ALL_BUT_SIGBUS: sys::SignalSet = !(1 << (libc::SIGBUS - 1));

/// The records of one move.
pub(crate) struct MoveRecords {
    /// Index of the buffer that was taken, if one was free.
    buffer: Option<usize>,
    len: usize,
}

impl MoveRecords {
    /// Takes a buffer.
    pub(crate) fn new() -> Self {
        let taken = |index: &usize| {
            let bit = 1 << index;
            // Acquire pairs with the Release in `drop`.
            FORK_STATE.buffers_taken.fetch_or(bit, Ordering::Acquire) & bit == 0
        };
        Self { buffer: (0..BUFFERS.len()).find(taken), len: 0 }
    }

    fn buffer(&mut self) -> &mut [[u64; SLOT_WORDS]] {
        match self.buffer.and_then(|index| BUFFERS.get(index)) {
            // SAFETY: this value has taken the buffer.
            Some(buffer) => unsafe { &mut *buffer.get() },
            None => &mut [],
        }
    }

    /// Keeps a record. The move lock is held.
    pub(crate) fn push(&mut self, record: &Record) {
        let words = record.encode();
        if self.keep(words) {
            return;
        }
        // A filtered thread may not block signals, and has not.
        if seccomp::is_filtered() {
            self.store_with(words);
            return;
        }
        let me = sys::tid();
        // A handler may have interrupted this thread's fork, which stays exposed.
        let is_marked = FORK_STATE.expose_owner(me);
        let signals = sys::set_blocked_signals(ALL_BUT_SIGBUS);
        self.store_with(words);
        if let Some(signals) = signals {
            sys::set_blocked_signals(signals);
        }
        if is_marked {
            FORK_STATE.cover_owner(me);
        }
    }

    /// Stores a full buffer, and keeps or stores one more record.
    fn store_with(&mut self, words: [u64; SLOT_WORDS]) {
        self.store();
        if !self.keep(words) && ring::is_intact() {
            ring::append_words(&words);
        }
    }

    fn keep(&mut self, words: [u64; SLOT_WORDS]) -> bool {
        let at = self.len;
        let Some(slot) = self.buffer().get_mut(at) else { return false };
        *slot = words;
        self.len += 1;
        true
    }

    /// Stores the records into the trace, if its pages are there.
    pub(crate) fn store(&mut self) {
        let len = core::mem::take(&mut self.len);
        if len != 0 && ring::is_intact() {
            for words in self.buffer().iter().take(len) {
                ring::append_words(words);
            }
        }
    }
}

impl Drop for MoveRecords {
    fn drop(&mut self) {
        if let Some(index) = self.buffer {
            // Release pairs with the Acquire in `new`.
            FORK_STATE.buffers_taken.fetch_and(!(1 << index), Ordering::Release);
        }
    }
}
