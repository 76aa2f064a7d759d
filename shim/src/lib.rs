//! The preload library: `mremap` of Linux 6.17 for programs on older kernels, and a record of every call.
//!
//! The path of one call, which is also the order of the modules:
//! `hooks` translates the C call and asks `moves` what to do with it; a move on a kernel without the
//! multi-VMA move (`capability`) is carried out part by part while `exclusive` keeps handlers and
//! siblings out, each VMA found by `discover` and cut by `mremap_plan`; `record` hands what happened to
//! `ring`, the mapped trace file. `load` runs once, when the library is loaded.
//!
//! What is absent on purpose: allocation, `dlsym`, output and locks that a signal or a fork could leave
//! held, anywhere below `hooks`; libc functions below `moves`, except the clock, which is the vDSO's.
#![no_std]

// redhook's macro names `::std`; nothing else here does.
extern crate std;

mod hooks;

mod emulate;

mod discover;

mod recording;

mod process;
mod sys;
