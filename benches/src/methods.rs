//! The least that each method to find VMAs costs while they are moved: without checks, lock or
//! blocked signals. What the preload library costs above this is its own; the cost above a loop
//! that knows the boundaries is the price of finding them.

use crate::kernel::{self, Call};
use crate::layout::PAGE;

/// No VMA can grow to this length.
const IMPOSSIBLE: usize = (1 << 47) - 65536;
/// VMAs in a batch.
const BATCH: usize = 64;

/// A method to find VMAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// For each VMA one `PROCMAP_QUERY` without a name, then its move.
    Query,
    /// The same with a buffer for the name.
    QueryName,
    /// 64 queries, then 64 moves.
    QueryBatch,
    /// `maps` as text from its start, 4096 bytes a read.
    Maps,
    /// Two growth probes a VMA: it has the last one's length, and not a page more. Without gaps.
    Probe,
}

impl Method {
    /// By its name on the command line.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "query" => Self::Query,
            "query-name" => Self::QueryName,
            "query-batch" => Self::QueryBatch,
            "maps" => Self::Maps,
            "probe" => Self::Probe,
            _ => return None,
        })
    }

    /// Moves every VMA of `[old, old + len)` to its target in `[new, new + len)`.
    pub fn move_range(self, old: usize, len: usize, new: usize) {
        let move_one = |start: usize, end: usize| {
            Call::Inline.move_range(start, end - start, new + (start - old));
        };
        let until = old + len;
        match self {
            Self::Query => by_query(old, until, &mut [], 1, move_one),
            Self::QueryName => by_query(old, until, &mut [0; 256], 1, move_one),
            Self::QueryBatch => by_query(old, until, &mut [], BATCH, move_one),
            Self::Maps => by_maps(old, until, move_one),
            Self::Probe => by_probe(old, until, move_one),
        }
    }
}

fn by_query(
    mut from: usize,
    until: usize,
    name: &mut [u8],
    batch: usize,
    move_one: impl Fn(usize, usize),
) {
    let fd = kernel::open_maps();
    let mut found = [(0, 0); BATCH];
    loop {
        let mut count = 0;
        while count < batch {
            let Some((start, end)) =
                kernel::vma_at_or_above(fd, from, name).filter(|vma| vma.0 < until)
            else {
                break;
            };
            found[count] = (start.max(from), end.min(until));
            count += 1;
            from = end;
        }
        for &(start, end) in &found[..count] {
            move_one(start, end);
        }
        if count < batch || from >= until {
            break;
        }
    }
    kernel::close(fd);
}

fn by_maps(from: usize, until: usize, move_one: impl Fn(usize, usize)) {
    let fd = kernel::open_maps();
    let mut text = [0u8; 4096];
    // A read returns whole lines.
    'file: while let Some(lines) = kernel::read(fd, &mut text) {
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let (start, rest) = hexadecimal(line);
            let (end, _) = hexadecimal(&rest[1..]);
            if start >= until {
                break 'file;
            }
            if end > from {
                move_one(start.max(from), end.min(until));
            }
        }
    }
    kernel::close(fd);
}

fn hexadecimal(text: &[u8]) -> (usize, &[u8]) {
    let mut value = 0;
    for (index, &byte) in text.iter().enumerate() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return (value, &text[index..]),
        };
        value = value << 4 | usize::from(digit);
    }
    (value, &[])
}

fn by_probe(mut from: usize, until: usize, move_one: impl Fn(usize, usize)) {
    let is_one_vma =
        |start, len| Call::Inline.call(start, len, IMPOSSIBLE, 0, 0) == -(libc::ENOMEM as isize);
    let mut len = PAGE;
    while from < until {
        while len > PAGE && !is_one_vma(from, len) {
            len -= PAGE;
        }
        while from + len < until && is_one_vma(from, len + PAGE) {
            len += PAGE;
        }
        move_one(from, from + len);
        from += len;
    }
}
