//! What Linux 6.17 does with one `mremap` request, as pure values: [`Request`] is the call as asked,
//! [`Request::judge`] the kernel's own checks, [`Vma`] a piece of the source, [`Plan`] the walk that cuts
//! the range into parts and gaps, and [`maps`] and [`procmap`] the two ways the kernel describes a VMA.
//!
//! Nothing here asks a kernel, allocates, or keeps anything of the process it runs in. The rules come from
//! `mm/mremap.c` of Linux 6.17 (`check_mremap_params`, `remap_move`, `vma_multi_allowed`).
//!
//! A request is judged as a whole, then walked:
//!
//! ```
//! use mremap_plan::{AddressSpace, Errno, Flags, Judgement, Plan, Range, Request, Step, Vma, VmaSource};
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
//! let mut source = TwoPages(pages.map(|(start, end)| Vma { range: Range { start, end }, ..Vma::default() }));
//!
//! let space = AddressSpace { page_size: 0x1000, task_size: 1 << 47 };
//! let mut request = Request {
//!     old: 0x10_000,
//!     old_len: 0x3000,
//!     new_len: 0x3000,
//!     flags: Flags(Flags::MAYMOVE.0 | Flags::FIXED.0),
//!     new: 0x20_000,
//! };
//! let Judgement::Move(asked) = request.judge(space) else { panic!("a move") };
//!
//! let mut plan = Plan::new(asked);
//! let mut targets = Vec::new();
//! loop {
//!     match plan.next_step(&mut source)? {
//!         Step::Part(part) => targets.push(asked.target(part.start)),
//!         Step::Gap(gap) => assert_eq!(gap, Range { start: 0x11_000, end: 0x12_000 }),
//!         Step::Refused(errno) => panic!("{errno:?}"),
//!         Step::Done => break,
//!     }
//! }
//! assert_eq!(targets, [0x20_000, 0x22_000]);
//!
//! // Ranges that overlap are refused before anything is looked at.
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
