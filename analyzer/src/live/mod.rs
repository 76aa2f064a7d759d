//! Traces that are still being written: [`follow()`] prints their events, `top` shows rates,
//! outcomes, call sites and the last moves on a terminal.

mod feed;
mod follow;
#[cfg(feature = "top")]
mod state;
#[cfg(feature = "top")]
mod top;
#[cfg(feature = "top")]
mod view;

pub use follow::follow;
#[cfg(feature = "top")]
pub use top::top;
