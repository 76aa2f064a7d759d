//! What Linux 6.17 does with one `mremap` request, as pure values: [`Request`] is the call as asked,
//! [`Request::judge`] the kernel's own checks, [`Vma`] a piece of the source, [`Plan`] the walk that cuts
//! the range into parts and gaps, and [`maps`] and [`procmap`] the two ways the kernel describes a VMA.
//!
//! Nothing here asks a kernel, allocates, or keeps anything of the process it runs in. The rules come from
//! `mm/mremap.c` of Linux 6.17 (`check_mremap_params`, `remap_move`, `vma_multi_allowed`).
#![no_std]
#![forbid(unsafe_code)]

pub mod maps;
pub mod mountinfo;
mod plan;
pub mod procmap;
mod request;
mod vma;

pub use plan::{Plan, Step, VmaSource};
pub use request::{AddressSpace, Errno, Flags, Judgement, Move, Request};
pub use vma::{Backing, Protection, Range, Vma};
