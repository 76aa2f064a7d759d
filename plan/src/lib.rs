//! What Linux 6.17 does with one `mremap` call, as pure values: a [`Request`] has the arguments,
//! [`Request::judge`] makes the checks that the kernel makes before it looks at VMAs, a [`Vma`] is
//! part of the source, and a [`Plan`] walks the source and cuts it into parts and gaps. [`maps`],
//! [`procmap`] and [`mountinfo`] parse what the kernel reports about VMAs.
//!
//! The crate makes no system calls, allocates nothing and has no state. The rules are those of
//! `mm/mremap.c` of Linux 6.17 (`check_mremap_params`, `remap_move`, `vma_multi_allowed`).
//!
//! A request is judged as a whole before its source is walked:
//!
//! ```
//! use mremap_plan::{AddressSpace, Errno, Flags, Judgement, Plan, Request, Step, Vma, VmaSource};
//! use mremap_plan::Range;
//!
//! /// Two VMAs of a page each, with a page between them.
//! struct TwoPages([Vma; 2]);
//!
//! impl VmaSource for TwoPages {
//!     type Error = core::convert::Infallible;
//!
//!     fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<&Vma>, Self::Error> {
//!         Ok(self.0.iter().find(|vma| vma.range.end > from && vma.range.start < until))
//!     }
//! }
//!
//! let pages = [(0x10_000, 0x11_000), (0x12_000, 0x13_000)];
//! let vma = |(start, end)| Vma { range: Range { start, end }, ..Vma::default() };
//! let mut source = TwoPages(pages.map(vma));
//!
//! let space = AddressSpace { page_size: 0x1000, task_size: 1 << 47 };
//! let mut request = Request {
//!     old: 0x10_000,
//!     old_len: 0x3000,
//!     new_len: 0x3000,
//!     flags: Flags(Flags::MAYMOVE.0 | Flags::FIXED.0),
//!     new: 0x20_000,
//! };
//! let Judgement::Move(requested) = request.judge(space) else { panic!("a move") };
//!
//! let mut plan = Plan::new(requested);
//! let mut targets = Vec::new();
//! loop {
//!     match plan.next_step(&mut source)? {
//!         Step::Part(part) => targets.push(requested.target(part.start)),
//!         Step::Gap(gap) => assert_eq!(gap, Range { start: 0x11_000, end: 0x12_000 }),
//!         Step::Refused(errno) => panic!("{errno:?}"),
//!         Step::Done => break,
//!     }
//! }
//! assert_eq!(targets, [0x20_000, 0x22_000]);
//!
//! // Overlapping ranges are refused before the source is walked.
//! request.new = 0x12_000;
//! assert_eq!(request.judge(space), Judgement::Refused(Errno::EINVAL));
//! # Ok::<(), core::convert::Infallible>(())
//! ```
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
