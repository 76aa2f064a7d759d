//! The trace file, mapped. Each thread fills chunks of its own; the only word threads share is the count of
//! chunks, once for every 63 records.
//!
//! Space is really there before it is written, so that a full disk ends the trace and not the program. A
//! fork's child finds the epoch wiped and opens a file of its own at its first record.

// The mapping starts on a page, and the format puts every word at a multiple of its size.
#![allow(clippy::cast_ptr_alignment)]

mod append;
mod chunk;
mod file;
mod name;
mod space;
mod state;
mod truncation;

pub(crate) use append::{append, append_message, append_module, claim, claim_in_own_chunk, open};
pub(crate) use chunk::Claim;
pub(crate) use file::OpenError;
pub(crate) use state::{count_early, count_lost, is_wanted, mapping, note_capability};

/// A seccomp filter is coming, under which no space is asked for and a clock may have to stand still.
pub(crate) fn prepare_for_filter() {
    if is_wanted() {
        space::allocate_ahead();
        crate::recording::clock::prepare_for_filter();
    }
}
