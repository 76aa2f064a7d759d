//! Sums over calls, in bounded memory: made piece by piece on several threads, then put together.
//!
//! `Stats` is what one process came to; `Overview` what all of them did, with names for call sites.

mod chain;
mod chains;
mod counts;
mod histogram;
mod key;
mod open_chains;
mod overview;
mod placement;
mod process;
mod sites;
mod tallies;
mod timeline;
mod times;

pub use chain::Chain;
pub use counts::{Moves, OutcomeStats};
pub use histogram::Histogram;
pub use overview::{NamedFailure, NamedSite, Overview, pick_sites};
