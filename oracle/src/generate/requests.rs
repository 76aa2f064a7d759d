//! Draws requests: mostly moves of the layout, and every other call of `mremap`.

use super::layout::Layout;
use crate::case::{HUGE_PAGES, PAGE, Request, Vma};
use crate::random::Random;

const MAYMOVE: u32 = 1;
const FIXED: u32 = 2;
const DONTUNMAP: u32 = 4;

/// A range without mappings.
const FAR: u64 = 0x3000_0000_0000;
/// `TASK_SIZE` with four and with five levels of page tables.
const TASK_SIZES: [u64; 2] = [(1 << 47) - PAGE, (1 << 56) - PAGE];

pub(super) fn draw(random: &mut Random, layout: &Layout) -> Vec<Request> {
    let count = random.weighted(&[(40, 1), (35, 2), (25, 3)]);
    let mut requests: Vec<Request> = Vec::new();
    for _ in 0..count {
        let request = match requests.last() {
            // Move the last request's range back, or on.
            Some(last) if random.percent(20) && last.new < FAR => move_again(random, last),
            _ => request(random, layout),
        };
        requests.push(request);
    }
    requests
}

fn move_again(random: &mut Random, last: &Request) -> Request {
    let back = random.percent(50);
    Request {
        old: last.new,
        new: if back { last.old } else { FAR + random.below(64) * PAGE },
        ..*last
    }
}

fn request(random: &mut Random, layout: &Layout) -> Request {
    let range = source_range(random, layout);
    if random.percent(14) {
        return not_a_move(random, layout, range);
    }
    let (old, len) = range;
    let flags = random.weighted(&[
        (72, MAYMOVE | FIXED),
        (22, MAYMOVE | FIXED | DONTUNMAP),
        (2, FIXED),
        (1, FIXED | DONTUNMAP),
        (2, MAYMOVE | FIXED | 8),
        (1, MAYMOVE | FIXED | DONTUNMAP | 1 << 31),
    ]);
    let mut request = Request {
        old,
        old_len: len,
        new_len: len,
        flags,
        new: destination(random, layout, old, len),
    };
    match random.below(100) {
        0..5 => request.old_len -= random.between(1, PAGE - 1),
        5..8 => request.new_len -= random.between(1, PAGE - 1),
        8..10 => {
            request.old_len -= random.between(1, PAGE - 1);
            request.new_len = request.old_len;
        }
        10..12 => request.old += random.between(1, PAGE - 1),
        12..14 => request.new += random.between(1, PAGE - 1),
        14..16 => (request.old_len, request.new_len) = (0, 0),
        16..18 => {
            let len = random.weighted(&[
                (1, u64::MAX),
                (2, PAGE.wrapping_neg()),
                (2, TASK_SIZES[0] + PAGE),
                (1, TASK_SIZES[1] + PAGE),
                (1, 1 << 63),
                // Fits the address space, but wraps around its end from most addresses.
                (1, TASK_SIZES[0] - PAGE),
            ]);
            (request.old_len, request.new_len) = (len, len);
        }
        _ => {}
    }
    request
}

/// Draws the start and the length of a source range, in bytes.
fn source_range(random: &mut Random, layout: &Layout) -> (u64, u64) {
    let row = if random.percent(6) && !layout.destination.is_empty() {
        &layout.destination
    } else {
        &layout.source
    };
    let first = if random.percent(50) { random.below(row.len() as u64) } else { 0 } as usize;
    let any = random.between(first as u64, row.len() as u64 - 1) as usize;
    let last = random.weighted(&[
        (20, first),
        (15, (first + 1).min(row.len() - 1)),
        (25, any),
        (40, row.len() - 1),
    ]);
    let mut old = row[first].at;
    if random.percent(25) {
        old += random.below(row[first].pages) * PAGE;
    } else if random.percent(7) {
        old -= random.between(1, 6) * PAGE;
    }
    let mut end = row[last].end();
    if random.percent(25) {
        end -= random.below(row[last].pages) * PAGE;
    } else if random.percent(20) {
        let max = random.weighted(&[(90, 9), (10, 0x10_0000)]);
        end += random.between(1, max) * PAGE;
    }
    (old, end.max(old + PAGE) - old)
}

fn destination(random: &mut Random, layout: &Layout, old: u64, len: u64) -> u64 {
    let base = layout.destination_at;
    let end = layout.destination.last().map_or(base, Vma::end);
    // The program's stack is at least a GiB below the end of the address space.
    let fits_the_top = len < 1 << 29;
    let new = match random.below(100) {
        0..45 => base + random.below((end - base) / PAGE + 1).min(0x1000) * PAGE,
        45..57 if !layout.destination.is_empty() => random.pick(&layout.destination).at,
        57..65 => old + len,
        65..73 => old.saturating_sub(len),
        73..77 => old + random.below((len / PAGE).max(1)) * PAGE,
        77..80 => old.saturating_sub(random.below((len / PAGE).max(1)) * PAGE),
        80..83 if fits_the_top => *random.pick(&TASK_SIZES) - len,
        83..86 if fits_the_top => *random.pick(&TASK_SIZES) - len + random.between(1, 2) * PAGE,
        86..87 => random.weighted(&[(1, !(PAGE - 1)), (1, 1 << 63), (1, 1 << 56)]),
        87..93 => base.saturating_sub(random.between(1, 4) * PAGE),
        _ => FAR + random.below(64) * PAGE,
    };
    // Huge pages move only between aligned addresses.
    let huge = HUGE_PAGES * PAGE;
    let holds_huge = layout.source.iter().any(|vma| vma.kind.is_huge());
    if holds_huge && random.percent(70) && new < FAR {
        return new & !(huge - 1) | old & (huge - 1);
    }
    new
}

/// Draws a resize or a duplication, over one VMA or several, which is forwarded.
fn not_a_move(random: &mut Random, layout: &Layout, (old, len): (u64, u64)) -> Request {
    let more = len + random.between(1, 16) * PAGE;
    let less = random.between(1, (len / PAGE).clamp(1, 64)) * PAGE;
    let (old_len, new_len, flags) = random.weighted(&[
        (12, (len, more, 0)),
        (12, (len, more, MAYMOVE)),
        (10, (len, more, MAYMOVE | FIXED)),
        (10, (len, less, 0)),
        (10, (len, less, MAYMOVE)),
        (12, (len, less, MAYMOVE | FIXED)),
        (8, (0, less, MAYMOVE)),
        (8, (0, less, MAYMOVE | FIXED)),
        (6, (len, len, MAYMOVE)),
        (4, (len, len, 0)),
        (8, (len, len, MAYMOVE | DONTUNMAP)),
        (4, (len, more, MAYMOVE | FIXED | DONTUNMAP)),
        (3, (len, 0, MAYMOVE)),
        (3, (len, len, 8)),
    ]);
    Request {
        old,
        old_len,
        new_len,
        flags,
        new: destination(random, layout, old, len.max(new_len)),
    }
}
