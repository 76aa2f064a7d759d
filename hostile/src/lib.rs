//! What must hold for any bytes at all. The fuzzer (`fuzz/`) looks for bytes that break it; `tests/corpus.rs`
//! goes through those that were kept, and through what becomes of them when some bytes are changed, on a stable
//! compiler and in seconds, so that neither can rot.
//!
//! [`decode`] is the format's own reading, [`load`] the analyzer's: its modules are taken in by their path,
//! since the analyzer is a program and no library.

#[path = "../../analyzer/src/load/mod.rs"]
#[allow(dead_code, unused_imports)] // what the analyzer's commands ask for
mod load;
#[path = "../../analyzer/src/model/mod.rs"]
#[allow(dead_code, unused_imports)]
mod model;
#[path = "../../analyzer/src/terminal.rs"]
#[allow(dead_code)]
mod terminal;

mod checks;
mod pieces;

pub use checks::{decode, load};
pub use pieces::piece;
