//! Traces that are still being written: [`follow()`] prints their events, [`top()`] shows rates,
//! outcomes, call sites and the last moves on a terminal.

mod feed;
mod follow;
mod state;
mod top;
mod view;

pub use follow::follow;
pub use top::top;
