//! The least that moving VMAs without knowing them can cost, for each way to find them: no judgement, no
//! checks, no lock, no signals. What the preload library costs above these is its own; what these cost
//! above the loop that knows the boundaries is the kernel's price of knowing.

use crate::kernel::{self, Way};
use crate::layout::PAGE;

/// No VMA can grow to it.
const IMPOSSIBLE: usize = (1 << 47) - 65536;
/// VMAs found before the first of them is moved, by those that look ahead.
const AHEAD: usize = 64;

/// A way to find VMAs while moving them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// One `PROCMAP_QUERY` a VMA, without its name, then its move.
    Query,
    /// The same with a buffer for the name.
    QueryName,
    /// 64 queries, then as many moves.
    QueryAhead,
    /// maps as text, read 4096 bytes at a time, from its beginning.
    Text,
    /// Two growth queries a VMA: as long as the last one was, and not a page longer. Only without gaps.
    Growth,
    /// One question a VMA, 64 in a row, then as many moves: is what follows it free, or no part of it? What is as
    /// long as the first VMA, as far from it as that one was from its neighbour, is moved then.
    OneQuestion,
    /// No question: what is as long as the last VMA, as far from it as it was from its neighbour, is moved.
    /// Only right where nothing is mapped at the destination, and no VMA has to be refused.
    Speculate,
}

impl Strategy {
    /// By its name on the command line.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "query" => Self::Query,
            "query-name" => Self::QueryName,
            "query-ahead" => Self::QueryAhead,
            "text" => Self::Text,
            "growth" => Self::Growth,
            "one-question" => Self::OneQuestion,
            "speculate" => Self::Speculate,
            _ => return None,
        })
    }

    /// Moves every VMA of `[old, old + len)` to its place in `[new, new + len)`.
    pub fn move_range(self, old: usize, len: usize, new: usize) {
        let move_one = |start: usize, end: usize| {
            Way::Inline.move_range(start, end - start, new + (start - old));
        };
        let until = old + len;
        match self {
            Self::Query => by_query(old, until, &mut [], 1, move_one),
            Self::QueryName => by_query(old, until, &mut [0; 256], 1, move_one),
            Self::QueryAhead => by_query(old, until, &mut [], AHEAD, move_one),
            Self::Text => by_text(old, until, move_one),
            Self::Growth => by_growth(old, until, move_one),
            Self::OneQuestion => by_one_question(old, until, move_one),
            Self::Speculate => by_guessing(old, until, new),
        }
    }
}

fn by_query(
    mut from: usize,
    until: usize,
    name: &mut [u8],
    ahead: usize,
    move_one: impl Fn(usize, usize),
) {
    let fd = kernel::open_maps();
    let mut found = [(0, 0); AHEAD];
    loop {
        let mut count = 0;
        while count < ahead {
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
        if count < ahead || from >= until {
            break;
        }
    }
    kernel::close(fd);
}

fn by_text(from: usize, until: usize, move_one: impl Fn(usize, usize)) {
    let fd = kernel::open_maps();
    let mut text = [0u8; 4096];
    // The kernel gives whole lines.
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

fn is_one_vma(start: usize, len: usize) -> bool {
    Way::Inline.call(start, len, IMPOSSIBLE, 0, 0) == -(libc::ENOMEM as isize)
}

fn by_one_question(from: usize, until: usize, move_one: impl Fn(usize, usize)) {
    let (mut len, mut gap) = (PAGE, 0);
    while from + len < until && is_one_vma(from, len + PAGE) {
        len += PAGE;
    }
    while from + len + gap < until && kernel::is_free(from + len, gap + PAGE) {
        gap += PAGE;
    }
    let ends_at = |end| match gap {
        0 => !is_one_vma(end - PAGE, 2 * PAGE),
        _ => kernel::is_free(end, gap),
    };
    let mut start = from;
    while start < until {
        let alike = (start..until).step_by(len + gap).take(AHEAD);
        let count = alike.take_while(|start| start + len >= until || ends_at(start + len)).count();
        assert!(count > 0, "the VMAs are not alike");
        for _ in 0..count {
            move_one(start, start + len);
            start += len + gap;
        }
    }
}

fn by_growth(mut from: usize, until: usize, move_one: impl Fn(usize, usize)) {
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

fn by_guessing(from: usize, until: usize, new: usize) {
    let fd = kernel::open_maps();
    let (start, end) = kernel::vma_at_or_above(fd, from, &mut []).expect("a VMA");
    let (next, _) = kernel::vma_at_or_above(fd, end, &mut []).unwrap_or((until, until));
    kernel::close(fd);
    let (len, stride) = (end - start, next - start);
    let mut start = start;
    while start < until {
        Way::Inline.move_range(start, len, new + (start - from));
        start += stride;
    }
}
