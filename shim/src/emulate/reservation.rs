//! Reserves the target of a part that the kernel has refused to move.
//!
//! Kernels before 6.17 unmap a target before they look at the source (`mremap_to`), so a part that
//! another thread has just split leaves a hole. Another thread's `mmap` may be placed there. No
//! part is moved over such a hole unless it is reserved.
//!
//! ```text
//!   target    | moved |      unmapped      |  not reached yet
//!                     ^-- reserved, or another thread's
//! ```

use mremap_plan::Range;

use crate::emulate::capability::{self, Capability};
use crate::emulate::stage;
use crate::process::seccomp;
use crate::sys::{self, probe, scratch};

/// The sizes of huge pages, as powers of two; they do not depend on the base page size.
const SMALLEST_HUGE: u32 = if cfg!(target_arch = "x86_64") { 21 } else { 16 };
const LARGEST_HUGE: u32 = if cfg!(target_arch = "x86_64") { 30 } else { 34 };

/// What refused parts have unmapped, from the target of the next part on.
pub(super) struct Reservation {
    emptied: Range,
    is_held: bool,
}

impl Reservation {
    pub(super) const NONE: Self = Self { emptied: Range { start: 0, end: 0 }, is_held: false };

    /// Reserves the target of a part that was refused, at once. Returns whether that worked; if
    /// not, another thread may have mapped something there.
    pub(super) fn take(&mut self, part: Range, target: Range) -> bool {
        if moves_several_vmas() {
            return true;
        }
        stage::want();
        let target = emptied_by_refusal(part, target);
        // What an earlier refusal has unmapped after this target.
        let rest = Range { start: target.end, end: self.emptied.end };
        let was_held = self.is_held || rest.is_empty();
        let is_reserved = reserve(target);
        self.emptied = Range { start: target.start, end: target.end.max(self.emptied.end) };
        self.is_held = is_reserved && was_held;
        if !self.is_held && is_reserved {
            release(target);
        }
        if !self.is_held && was_held {
            release(rest);
        }
        self.is_held
    }

    /// Whether a part may be moved to `target`.
    pub(super) fn admits(&self, target: Range) -> bool {
        self.is_held || self.emptied.intersect(target).is_empty()
    }

    /// Notes that the move has passed `target`: a part was moved there, or it is a gap's, and
    /// nothing stays reserved under a gap.
    pub(super) fn pass(&mut self, target: Range, is_gap: bool) {
        let passed = self.emptied.intersect(target);
        if passed.is_empty() {
            return;
        }
        if is_gap && self.is_held {
            release(passed);
        }
        self.emptied.start = passed.end;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_held {
            release(self.emptied);
        }
    }
}

/// A kernel that moves several VMAs refuses before it unmaps anything.
fn moves_several_vmas() -> bool {
    capability::of_kernel() == Capability::MultiVma
}

/// What the kernel has unmapped before it refused: of hugetlbfs whole huge pages (5.16 to 6.16).
fn emptied_by_refusal(part: Range, target: Range) -> Range {
    let aligned = (part.start | target.start).trailing_zeros();
    if aligned < SMALLEST_HUGE || !probe::is_huge(part.start) {
        return target;
    }
    let len = target.len().next_multiple_of(1 << aligned.min(LARGEST_HUGE));
    Range { start: target.start, end: target.start.saturating_add(len) }
}

fn reserve(range: Range) -> bool {
    let (start, len) = (range.start as usize, range.len() as usize);
    if seccomp::is_filtered() {
        return scratch::map_at(start, len);
    }
    match sys::reserve(start, len) {
        Ok(mapped) if mapped == start => true,
        Ok(elsewhere) => {
            sys::unmap(elsewhere, len);
            false
        }
        Err(_) => false,
    }
}

fn release(range: Range) {
    if range.is_empty() {
        return;
    }
    let (start, len) = (range.start as usize, range.len() as usize);
    if seccomp::is_filtered() {
        scratch::unmap(start, len);
    } else {
        sys::unmap(start, len);
    }
}
