//! The bytes of a trace: their offsets ([`layout`]), records of eight words each ([`record`]), and
//! the header and the chunks around them ([`header`], [`chunk`]). `FORMAT.md` documents the format.
//!
//! The shim writes traces with this crate, and the analyzer reads them. It has no files, no clocks
//! and no system calls.
//!
//! A record is eight words. A slot whose writer did not finish decodes as torn:
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
