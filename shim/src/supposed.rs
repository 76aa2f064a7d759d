//! Moves VMAs that are supposed to be alike, before it is known; takes them back where it was not so.

use mremap_plan::{Flags, Move, Range, Request};

use crate::discover::{self, Run};
use crate::sys;

/// How a run of parts came out: the walk goes on from `cursor`.
pub(crate) struct Moved {
    pub(crate) cursor: u64,
    /// Parts that were moved for good.
    pub(crate) parts: u32,
    /// Whether all was as supposed.
    pub(crate) is_as_supposed: bool,
}

/// Moves the parts of a run. Only while nobody else can map or unmap anything, over a free destination, and not with
/// `DONTUNMAP`: what is moved away leaves nothing behind.
#[inline(never)]
pub(crate) fn move_all(wanted: &Move, run: Run) -> Moved {
    let (mut cursor, mut parts) = (run.from(), 0);
    let mut is_as_supposed = true;
    for part in run.parts() {
        if !move_part(part, wanted.target(part.start)) {
            is_as_supposed = false;
            take_back_half_moved(wanted, part);
            break;
        }
        cursor = part.end;
        parts += 1;
    }
    let moved = Range {
        start: run.from(),
        end: cursor,
    };
    if run.has_gaps() && !moved.is_empty() && !discover::is_free(moved) {
        take_back(wanted, run, cursor);
        return Moved {
            cursor: run.from(),
            parts: 0,
            is_as_supposed: false,
        };
    }
    Moved {
        cursor,
        parts,
        is_as_supposed,
    }
}

/// Brings the parts below `cursor` back to where they were; what was beside them has stayed. One that cannot be
/// brought back stays moved, as after any failure half-way.
#[cold]
fn take_back(wanted: &Move, run: Run, cursor: u64) {
    for part in run.parts().take_while(|part| part.start < cursor) {
        let back = Range {
            start: wanted.target(part.start),
            end: wanted.target(part.end),
        };
        move_part(back, part.start);
    }
}

/// A part that could not be moved may have been several VMAs, and the kernel one that moves as many as it can (6.17):
/// brings back those. Its target was free; a kernel that moves none has left it so, and must not be asked, since it
/// would unmap the source.
#[cold]
pub(crate) fn take_back_half_moved(wanted: &Move, part: Range) {
    let moved = wanted.target_of(part);
    if discover::is_mapped(moved.start) {
        move_part(moved, part.start);
    }
}

#[inline]
fn move_part(part: Range, target: u64) -> bool {
    let answer = sys::mremap(&Request {
        old: part.start,
        old_len: part.len(),
        new_len: part.len(),
        flags: Flags(Flags::MAYMOVE.0 | Flags::FIXED.0),
        new: target,
    });
    answer == target as isize
}
