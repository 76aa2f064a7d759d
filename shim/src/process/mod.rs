//! What is known of this process: its settings, its threads, the filters it is under, and what a fork wipes.

pub(crate) mod address_space;
pub(crate) mod config;
pub(crate) mod diagnostics;
pub(crate) mod fork_state;
mod load;
pub(crate) mod seccomp;
pub(crate) mod thread;
