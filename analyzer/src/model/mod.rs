//! The model of a trace: an [`Event`] is a call with its parts and gaps, a [`Filter`] selects
//! events, and numbers have [`names`].

mod event;
mod filter;
pub mod names;
pub mod text;
pub mod units;
mod why;

pub use event::{Event, is_move};
pub use filter::{Filter, PickedSites, SlotSet};
pub use why::Why;
