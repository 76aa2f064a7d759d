//! Reading of trace files. Nothing in a file is trusted: counts are bounded by the file's length,
//! damage is reported with its offset, and everything readable is returned.
//!
//! A file is read at most twice. [`survey`] reads the header and a sample of clock readings.
//! [`scan()`] reads all records once, in parallel, which is enough for sums. To read events in the
//! order of time, an [`index`] of chunks is built by a scan, and [`ordered`] follows it. A [`tail`]
//! follows a trace that is still written. Memory is bounded by the number of chunks, not of
//! records.

mod calls;
mod clock;
mod damage;
mod files;
mod index;
mod liveness;
mod notes;
mod ordered;
mod pack;
mod process;
mod scan;
mod source;
mod survey;
mod tail;

pub use calls::{Calls, words};
pub use clock::Clock;
pub use files::{find, open_regular, raise_open_limit, traces_in};
pub use index::Index;
pub use notes::NamedModule;
pub use ordered::{Candidate, in_order, slot_number};
pub use pack::{BLOCK, InPack, mode_of};
pub use process::{CodeAddress, Process};
pub use scan::{Run, Visitor, scan};
pub use survey::{Traces, is_pack, open};
pub use tail::Tail;
