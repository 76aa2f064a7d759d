//! The bytes of an mremap trace: where everything stands ([`layout`]), how one record becomes eight words
//! and back ([`record`]), and the header and chunks around them ([`header`], [`chunk`]).
//!
//! This room knows bytes and nothing else: no files, no clocks, no kernel. The shim writes through it, the
//! analyzer reads through it, and neither shares a type of its own with the other. `FORMAT.md` beside this
//! file says the same for people.
//!
//! A record is eight words, and a slot that was never finished is told from a record:
//!
//! ```
//! use mremap_trace::{Call, Outcome, Record, Slot};
//!
//! let call = Call {
//!     outcome: Outcome::Emulated,
//!     ticks: 1000,
//!     duration: 250,
//!     old: 0x10_000,
//!     old_len: 0x3000,
//!     new_len: 0x3000,
//!     flags: 3,
//!     new: 0x20_000,
//!     result: -12,
//!     caller: 0x4000,
//! };
//! let words = Record::Call(call).encode();
//! assert_eq!(Record::decode(words), Slot::Complete(Record::Call(call)));
//! assert_eq!(call.errno(), Some(12));
//! assert_eq!(Record::decode([0; 8]), Slot::Torn);
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub mod chunk;
pub mod header;
pub mod layout;
mod numbers;
pub mod record;

mod text;

pub use chunk::{ChunkHeader, ClaimWord};
pub use header::{DecodeError, Header, HeaderText};
pub use numbers::{
    Capability, Clock, Detail, FoundBy, Keep, Level, Mode, Outcome, Under, VmaSource,
};
pub use record::{
    Call, FRAMES_PER_RECORD, Gap, Message, Module, Part, Record, Slot, Stack, StackWords,
    StoredCall, Summary, tag_of,
};
