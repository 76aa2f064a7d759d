//! VMAs by two questions that change nothing, so that no `/proc`, no descriptor and no new system call is
//! needed: does a range lie within one VMA ([`is_one_vma`]), and is a range free of VMAs
//! ([`sys::mmap_that_never_maps`]). What they cannot tell is what stands behind a VMA.
//!
//! VMAs that are moved together are often alike: the last one's length, and the gap before it, are tried
//! first, which takes two questions a VMA and one a gap. Else boundaries are found by doubling and halving:
//! logarithmic in the size of VMAs and of gaps.

use core::sync::atomic::{AtomicU8, Ordering};

use mremap_plan::{Backing, Flags, Range, Request, Vma};

use super::{below_task_size, page_size};
use crate::sys::{self, Failed};

/// Answer of [`is_one_vma`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OneVma {
    Yes,
    /// Crosses a boundary, starts unmapped, or is a kind of VMA that always answers so (`[vvar]`, device
    /// memory).
    No,
    /// Starts in a sealed VMA (`mseal`), which answers nothing else.
    Sealed,
}

/// Lengths just below each `TASK_SIZE` of this architecture, largest first: nothing can ever grow to them.
#[cfg(target_arch = "x86_64")]
pub(super) const IMPOSSIBLE_LENGTHS: [u64; 2] = [(1 << 56) - 65536, (1 << 47) - 65536];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const IMPOSSIBLE_LENGTHS: [u64; 6] = [
    (1 << 52) - 65536,
    (1 << 48) - 65536,
    (1 << 47) - 65536,
    (1 << 42) - 65536,
    (1 << 39) - 65536,
    (1 << 36) - 65536,
];

/// Index of the length this kernel does not call silly (`EINVAL`, since 6.17, when above `TASK_SIZE`).
static LENGTH: AtomicU8 = AtomicU8::new(0);

/// Asks to grow `[start, start + len)` in place to a length that cannot be. `ENOMEM` (`EAGAIN` for locked
/// memory) comes after the check that one VMA holds the range, `EFAULT` from it: `vma_to_resize` before
/// 6.17, `check_prep_vma` since.
pub(crate) fn is_one_vma(start: u64, len: u64) -> OneVma {
    let mut index = LENGTH.load(Ordering::Relaxed);
    while let Some(&impossible) = IMPOSSIBLE_LENGTHS.get(usize::from(index)) {
        let answer = sys::mremap(&Request {
            old: start,
            old_len: len,
            new_len: impossible,
            flags: Flags(0),
            new: 0,
        });
        match (-answer) as i32 {
            libc::ENOMEM | libc::EAGAIN => {
                LENGTH.store(index, Ordering::Relaxed);
                return OneVma::Yes;
            }
            libc::EINVAL => index += 1,
            libc::EPERM => return OneVma::Sealed,
            _ => return OneVma::No,
        }
    }
    OneVma::No
}

fn lies_in_one_vma(start: u64, len: u64) -> bool {
    is_one_vma(start, len) == OneVma::Yes
}

/// What the last VMA looked like.
pub(super) struct Bisection {
    gap: u64,
    len: u64,
}

/// Why a VMA could not be found.
pub(super) enum NotFound {
    /// Something is mapped from this address on that does not answer: only `/proc` knows its bounds.
    Silent(u64),
    /// The question itself failed.
    Failed(Failed),
}

impl From<Failed> for NotFound {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl Bisection {
    pub(super) fn new() -> Self {
        Self { gap: 0, len: 0 }
    }

    /// As [`mremap_plan::VmaSource`].
    pub(super) fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<Vma>, NotFound> {
        let until = below_task_size(until);
        if until <= from {
            return Ok(None);
        }
        let range = match self.like_the_last(from, until)? {
            Some(range) => range,
            None => match Self::search(from, until)? {
                Some(range) => range,
                None => return Ok(None),
            },
        };
        (self.gap, self.len) = (range.start - from, range.len());
        Ok(Some(Vma {
            range,
            backing: Backing::Unknown,
            ..Vma::default()
        }))
    }

    /// A VMA of the last one's length behind a gap of the last one's, if there is exactly that.
    fn like_the_last(&self, from: u64, until: u64) -> Result<Option<Range>, Failed> {
        let start = from.saturating_add(self.gap);
        if self.len == 0 || start >= until {
            return Ok(None);
        }
        let end = start.saturating_add(self.len).min(until);
        let reaches_end = end == until;
        if !lies_in_one_vma(start, end - start)
            || !reaches_end && lies_in_one_vma(start, end - start + page_size())
            || self.gap != 0 && !is_free(from, self.gap)?
        {
            return Ok(None);
        }
        Ok(Some(Range { start, end }))
    }

    fn search(from: u64, until: u64) -> Result<Option<Range>, NotFound> {
        let page = page_size();
        let start = if !is_free(from, page)? {
            from
        } else if is_free(from, until - from)? {
            return Ok(None);
        } else {
            from + longest(page, until - from, |len| is_free(from, len))?
        };
        let len = until - start;
        let one_page = Range {
            start,
            end: start + page,
        };
        match is_one_vma(start, len) {
            OneVma::Yes => return Ok(Some(Range { start, end: until })),
            // Nothing more needs to be known: it will not move.
            OneVma::Sealed => return Ok(Some(one_page)),
            OneVma::No if lies_in_one_vma(start, page) => {}
            OneVma::No => return Err(NotFound::Silent(start)),
        }
        let len = longest(page, len, |len| Ok(lies_in_one_vma(start, len)))?;
        Ok(Some(Range {
            start,
            end: start + len,
        }))
    }
}

/// Whether nothing is mapped in a range that ends below `TASK_SIZE`.
fn is_free(mut start: u64, mut len: u64) -> Result<bool, Failed> {
    let page = page_size();
    while len != 0 {
        match sys::mmap_that_never_maps(start, len) {
            Failed(libc::EEXIST) => return Ok(false),
            Failed(libc::EINVAL | libc::EAGAIN) => return Ok(true),
            // Below `mmap_min_addr` nobody without the right may ask `mmap`; few pages lie there.
            Failed(libc::EPERM | libc::EACCES) => {
                if is_one_vma(start, page) != OneVma::No {
                    return Ok(false);
                }
                start += page;
                len -= page;
            }
            failed => return Err(failed),
        }
    }
    Ok(true)
}

/// The greatest multiple of `page` below `limit` for which `holds`; one page when it holds for none. What
/// holds for a length holds for every shorter one.
fn longest(page: u64, limit: u64, mut holds: impl FnMut(u64) -> Result<bool, Failed>) -> Result<u64, Failed> {
    // A shift, since a division could panic.
    let (mut good, mut bad) = (1, limit >> page.trailing_zeros());
    let mut step = 2;
    while step < bad {
        if !holds(step * page)? {
            bad = step;
            break;
        }
        good = step;
        step *= 2;
    }
    while good + 1 < bad {
        let middle = good + (bad - good) / 2;
        if holds(middle * page)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(good * page)
}
