//! The preload library: gives programs on older kernels the `mremap` of Linux 6.17, and records
//! every call.
//!
//! ```text
//!  hooks      translates a C call, notes what makes a closer look at VMAs necessary
//!    |
//!  emulate    forwards the call, refuses it, or moves part by part under a lock
//!    |   \
//!    |   discover   finds the VMAs of the range; mremap_plan cuts them into parts and gaps
//!    |
//!  recording  writes the call, its parts and its gaps to the mapped trace file
//!
//!  process    the process: load, settings, threads, forks, seccomp filters
//!  sys        system calls, and probes made of them
//! ```
//!
//! Nothing below `hooks` allocates, prints, calls `dlsym`, or takes a lock that a signal or a fork
//! could leave held. Nothing below `emulate` calls libc, except for the clock of the vDSO. No code
//! can panic.
#![no_std]

// Named by redhook's macro, and by nothing else.
extern crate std;

mod discover;
mod emulate;
mod hooks;
mod process;
mod recording;
mod sys;
