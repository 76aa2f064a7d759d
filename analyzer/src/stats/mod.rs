//! Totals over calls in bounded memory. Several threads count parts of the traces, and the results
//! are merged.
//!
//! `Stats` has the totals of one process, [`Overview`] those of all, with names for call sites.

mod bytes;
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

pub use bytes::Bytes;
pub use chain::Chain;
pub use counts::{Moves, OutcomeStats, ThreadStats};
pub use histogram::Histogram;
pub use overview::{NamedFailure, NamedSite, Overview, pick_sites};
pub use sites::{MAX_SITES, SiteStats};
