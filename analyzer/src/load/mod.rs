//! Files into records. Nothing in a file is trusted: counts are bounded by the bytes that are there, damage
//! is named by offset, and everything readable before it is still handed on.
//!
//! A file is read twice at most. [`survey`] looks at the header and a sample of clock readings; [`scan()`]
//! goes through all records once, in pieces and on several threads, which is all that sums and counts need.
//! Who needs whole events in the order of time builds an [`index`] of chunks by such a scan and follows it
//! ([`ordered`]). A trace that is still being written is followed by a [`tail`]. Memory is bounded by the number of chunks, never by the number of records.

mod calls;
mod clock;
mod damage;
mod files;
mod index;
mod notes;
mod ordered;
mod process;
mod scan;
mod source;
mod survey;
mod tail;

pub use calls::Calls;
pub use clock::Clock;
pub use files::{find, traces_in};
pub use index::Index;
pub use notes::NamedModule;
pub use ordered::{Met, in_order};
pub use process::Process;
pub use scan::{Run, Visitor, scan};
pub use survey::{Traces, open};
pub use tail::Tail;
