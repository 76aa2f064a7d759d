//! What must hold for any input. Each check panics if it does not.
//!
//! The targets in `targets/` let libFuzzer search for inputs that fail a check. `tests/corpus.rs`
//! runs the same checks over the corpus and over mutations of it, with a stable compiler and in
//! seconds.

mod mutate;
mod plan;
mod trace;

pub use mutate::range_to_mutate;
pub use plan::{maps_line, procmap_reply, walk};
pub use trace::{decode, load};
