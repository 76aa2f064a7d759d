//! Moves a part by way of a stage, a place that no other thread knows, once other threads have
//! interfered with a move of this process.
//!
//! Kernels before 6.17 unmap a target before they refuse a part that another thread has just split.
//! On the way to the stage that costs the stage alone, and nobody splits the part there.
//!
//! ```text
//!   source ──> stage ──> target
//!         refused     never refused
//! ```

use core::sync::atomic::{AtomicBool, Ordering};

use mremap_plan::{Flags, Range, Request};

use crate::emulate::mapping_limit;
use crate::hooks::evidence;
use crate::process::address_space::page_size;
use crate::process::seccomp;
use crate::sys::{self, Errno, probe};

/// A part of this process was refused because another thread had changed it.
static IS_WANTED: AtomicBool = AtomicBool::new(false);
/// The kernel has refused a stage for another reason. It may have unmapped it or not, so it is
/// left: one mapping, near whose limit the next moves fail earlier.
static IS_REFUSED: AtomicBool = AtomicBool::new(false);

/// Parts go by way of a stage from now on.
pub(super) fn want() {
    IS_WANTED.store(true, Ordering::Relaxed);
}

/// What happened to a part.
pub(super) struct Moved {
    pub(super) result: sys::Result,
    /// Whether the kernel may have unmapped its target.
    pub(super) has_reached_target: bool,
}

/// Moves a part, by way of a stage where that is wanted and possible.
pub(super) fn move_part(part: &Request) -> Moved {
    if IS_WANTED.load(Ordering::Relaxed)
        && let Some(moved) = move_by_stage(part)
    {
        return moved;
    }
    Moved { result: sys::mremap(part), has_reached_target: true }
}

#[cold]
#[inline(never)]
fn move_by_stage(part: &Request) -> Option<Moved> {
    let stage = reserve(part)?;
    match sys::mremap(&Request { new: stage, ..*part }) {
        Ok(_) => {}
        Err(Errno::EFAULT) => {
            return Some(Moved { result: Err(Errno::EFAULT), has_reached_target: false });
        }
        Err(_) => {
            IS_REFUSED.store(true, Ordering::Relaxed);
            return None;
        }
    }
    let flags = Flags(Flags::MAYMOVE.0 | Flags::FIXED.0);
    let result = sys::mremap(&Request { old: stage, flags, ..*part });
    if result.is_err() {
        bring_back(part, stage);
    }
    Some(Moved { result, has_reached_target: true })
}

/// Reserves a stage. None for memory of which others may have noted the address, or which cannot be
/// moved to any page; nor where the limit on mappings is near, or a filter may kill.
fn reserve(part: &Request) -> Option<u64> {
    if IS_REFUSED.load(Ordering::Relaxed)
        || seccomp::is_filtered()
        || evidence::userfaultfd_made()
        || mapping_limit::is_near()
        || probe::is_huge(part.old)
    {
        return None;
    }
    // Transparent huge pages stay whole where both places are as far from their boundary.
    let huge = page_size() * (page_size() / size_of::<u64>() as u64);
    let slack = if part.old_len < huge { 0 } else { huge };
    let len = part.old_len.checked_add(slack)?;
    let start = sys::reserve_anywhere(len as usize).ok()? as u64;
    let before = if slack == 0 { 0 } else { part.old.wrapping_sub(start) & (huge - 1) };
    let stage = Range { start: start + before, end: start + before + part.old_len };
    for (unused, len) in [(start, before), (stage.end, slack - before)] {
        if len > 0 {
            sys::unmap(unused as usize, len as usize);
        }
    }
    // Nothing may be mapped at the target, so it can be what the kernel has chosen.
    let target = Range { start: part.new, end: part.new.saturating_add(part.old_len) };
    if stage.intersect(target).is_empty() {
        return Some(stage.start);
    }
    sys::unmap(stage.start as usize, part.old_len as usize);
    None
}

/// Moves a part back from the stage: the target refuses it, as a sealed one does. If another thread
/// has mapped something at its place meanwhile, it stays at the stage.
fn bring_back(part: &Request, stage: u64) {
    let (source, len) = (part.old as usize, part.old_len as usize);
    let is_ours = part.flags.contains(Flags::DONTUNMAP)
        || match sys::reserve(source, len) {
            Ok(mapped) if mapped == source => true,
            Ok(elsewhere) => {
                sys::unmap(elsewhere, len);
                false
            }
            Err(_) => false,
        };
    if is_ours {
        let _ = sys::move_over(stage as usize, len, source);
    }
}
