//! The bytes of an mremap trace: where everything stands ([`layout`]), how one record becomes eight words
//! and back ([`record`]), and the header and chunks around them ([`header`], [`chunk`]).
//!
//! This room knows bytes and nothing else: no files, no clocks, no kernel. The shim writes through it, the
//! analyzer reads through it, and neither shares a type of its own with the other. `FORMAT.md` beside this
//! file says the same for people.
#![no_std]
#![forbid(unsafe_code)]

pub mod chunk;
pub mod header;
pub mod layout;
pub mod record;

mod text;

pub use chunk::{ChunkHeader, ClaimWord, Slot};
pub use header::{DecodeError, Header, HeaderText};
pub use record::{
    Call, FRAMES_PER_RECORD, Gap, Message, Module, Outcome, Part, Record, Stack, Summary, Under, tag_of,
};
