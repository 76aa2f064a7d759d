//! The trace file, mapped. Each thread fills chunks of its own; the one word that all threads store
//! to is the count of chunks, once for every 63 records.
//!
//! ```text
//!  claims ── this thread's chunk, or the shared one ──> chunk: slots, then Claim::store
//!    │
//!    └── none left ──> space: next position, mapped, with a page ──> chunk: taken over
//! ```
//!
//! `file` opens the trace: at load, and at the first record of a fork's child, which finds no
//! epoch. `truncation` handles a file that is truncated while it is written.

// The mapping starts on a page, and the format aligns every word to its size.
#![allow(clippy::cast_ptr_alignment)]

use core::sync::atomic::Ordering;

use crate::process::fork_state::FORK_STATE;

mod append;
mod chunk;
mod claims;
mod file;
mod hint;
mod name;
mod space;
mod state;
mod truncation;

pub(crate) use append::{append, append_message, append_module, append_words, open};
pub(crate) use chunk::Claim;
pub(crate) use claims::{claim, claim_in_own_chunk, is_intact};
pub(crate) use file::{OpenError, close};
pub(crate) use state::{
    count_early, count_lost, is_wanted, mapping, note_capability, note_reading,
};

/// Prepares for a seccomp filter: afterwards its threads may neither allocate space nor read
/// clocks by system calls.
pub(crate) fn prepare_for_filter() {
    if is_wanted() && state::is_open(FORK_STATE.trace_epoch.load(Ordering::Acquire)) {
        space::allocate_ahead();
        super::clock::prepare_for_filter();
    }
}
