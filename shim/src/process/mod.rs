//! The process: its settings, threads, seccomp filters, address space, and the state that a fork
//! resets.

pub(crate) mod address_space;
mod attach;
pub(crate) mod config;
pub(crate) mod diagnostics;
pub(crate) mod fork_state;
mod load;
pub(crate) mod seccomp;
pub(crate) mod thread;
