//! Address spaces to move in: many VMAs that never merge, and two places to move them between.
//!
//! ```text
//!   HOME                                        AWAY
//!   | rw | gap | r | gap | rw | gap | r |        (nothing mapped)
//! ```
//!
//! Neighbours differ in protection, so that they stay VMAs of their own without gaps too. Nothing is mapped
//! at the other place: a move replaces nothing, there as back. VMAs are alike, or each is as long and as far from the
//! next as a fixed row of random numbers says.

use std::fmt::{self, Display, Formatter};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

/// Bytes of a page on every machine this runs on.
pub const PAGE: usize = 4096;
/// Where the VMAs are made. Far from everything that the kernel places by itself.
const HOME: usize = 0x1000_0000_0000;
/// Where they are moved to.
const AWAY: usize = 0x2000_0000_0000;
/// Where VMAs that no move concerns are made: below both, where a reader of maps has to pass them.
const UNRELATED: usize = 0x0800_0000_0000;

/// What to map.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many VMAs.
    pub vmas: usize,
    /// Pages of each.
    pub pages: usize,
    /// Pages between one and the next.
    pub gap_pages: usize,
    /// What differs from one VMA to the next.
    pub pattern: Pattern,
    /// Whether the first page of each is written to.
    pub is_touched: bool,
}

/// What differs from one VMA to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pattern {
    /// Nothing.
    Alike,
    /// Before each a page of its own, as a guard stands before a stack: it counts as a VMA.
    Guarded,
    /// From one page to twice the pages, and the same of gaps where there are any.
    Varied,
}

impl Shape {
    /// VMAs of two pages each, of one where they are tens of thousands; the first page touched.
    pub const fn alike(vmas: usize, gap_pages: usize) -> Self {
        Self {
            vmas,
            pages: if vmas < 20_000 { 2 } else { 1 },
            gap_pages,
            pattern: Pattern::Alike,
            is_touched: true,
        }
    }

    /// Layouts whose VMAs are not alike.
    pub fn unlike() -> impl Iterator<Item = Self> {
        let sizes = [(17, 0), (17, 4), (1000, 0), (1000, 4)];
        let patterns = [Pattern::Guarded, Pattern::Varied];
        patterns.into_iter().flat_map(move |pattern| {
            sizes.map(|(vmas, gap_pages)| Self {
                pages: 4,
                pattern,
                ..Self::alike(vmas, gap_pages)
            })
        })
    }

    /// As `bench-moves` is told of it.
    pub fn arguments(self) -> Vec<String> {
        vec![
            format!("--vmas={}", self.vmas),
            format!("--pages={}", self.pages),
            format!("--gap-pages={}", self.gap_pages),
            format!("--pattern={}", self.pattern.name()),
        ]
    }

    /// Where each VMA starts, from the first one's start on, and how long it is: in bytes.
    fn parts(self) -> Vec<(usize, usize)> {
        let mut random = fastrand::Rng::with_seed(17);
        let mut drawn = |pages: usize| match (self.pattern, pages) {
            (Pattern::Varied, 1..) => random.usize(1..=2 * pages),
            _ => pages,
        };
        let mut start = 0;
        let each = (0..self.vmas).map(|index| {
            let is_guard = self.pattern == Pattern::Guarded && index % 2 == 0;
            let part = (start, PAGE * if is_guard { 1 } else { drawn(self.pages) });
            start += part.1 + PAGE * if is_guard { 0 } else { drawn(self.gap_pages) };
            part
        });
        each.collect()
    }
}

impl Pattern {
    fn name(self) -> &'static str {
        match self {
            Self::Alike => "alike",
            Self::Guarded => "guarded",
            Self::Varied => "varied",
        }
    }
}

impl Display for Shape {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let pattern = match self.pattern {
            Pattern::Alike => "",
            other => other.name(),
        };
        let gaps = if self.gap_pages == 0 { "" } else { ", gaps" };
        write!(to, "{}{}{pattern} VMAs{gaps}", self.vmas, if pattern.is_empty() { "" } else { " " })
    }
}

/// VMAs that are moved, and where they are now.
#[derive(Debug)]
pub struct Layout {
    shape: Shape,
    parts: Vec<(usize, usize)>,
    home: usize,
    away: usize,
    is_home: bool,
}

impl Layout {
    /// Maps what `shape` says.
    ///
    /// # Errors
    /// The kernel has no room for so many VMAs (`vm.max_map_count`).
    pub fn new(shape: Shape) -> Result<Self> {
        Self::beside(0, shape)
    }

    /// The same, so many bytes behind where others have theirs.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn beside(distance: usize, shape: Shape) -> Result<Self> {
        let parts = shape.parts();
        map_each(HOME + distance, &parts, shape.is_touched)?;
        Ok(Self { shape, parts, home: HOME + distance, away: AWAY + distance, is_home: true })
    }

    /// Bytes from the first VMA's start to the last one's end.
    pub fn len(&self) -> usize {
        self.parts.last().map_or(0, |(start, len)| start + len)
    }

    /// Whether there is nothing to move. Never: the shape has a VMA.
    pub fn is_empty(&self) -> bool {
        self.shape.vmas == 0
    }

    /// Where each VMA starts, in bytes from the first one's start, and how long it is.
    pub fn parts(&self) -> &[(usize, usize)] {
        &self.parts
    }

    /// Bytes from one VMA's start to the next one's, where they are alike.
    pub fn stride(&self) -> usize {
        (self.shape.pages + self.shape.gap_pages) * PAGE
    }

    /// How many VMAs.
    pub fn vmas(&self) -> usize {
        self.shape.vmas
    }

    /// Where the VMAs are, and where the next move brings them; turns the two round.
    pub fn turn(&mut self) -> (usize, usize) {
        self.is_home = !self.is_home;
        if self.is_home { (self.away, self.home) } else { (self.home, self.away) }
    }

    /// Where the VMAs are now.
    pub fn place(&self) -> usize {
        if self.is_home { self.home } else { self.away }
    }

    /// Makes sure that nothing merged and nothing was lost: as many VMAs as were mapped, where they should be.
    ///
    /// # Errors
    /// It is not so: the figures would be of something else.
    pub fn check(&self) -> Result<()> {
        let maps =
            std::fs::read_to_string("/proc/self/maps").context("/proc/self/maps: unreadable")?;
        let end = self.place() + self.len();
        let starts =
            maps.lines().filter_map(|line| usize::from_str_radix(line.split('-').next()?, 16).ok());
        let found = starts.filter(|start| (self.place()..end).contains(start)).count();
        if found != self.shape.vmas {
            bail!("{} VMAs were mapped and {found} are there", self.shape.vmas);
        }
        Ok(())
    }
}

/// Maps VMAs that no move concerns.
///
/// # Errors
/// The kernel has no room for so many.
pub fn map_unrelated(vmas: usize) -> Result<()> {
    let shape = Shape { vmas, pages: 1, gap_pages: 1, pattern: Pattern::Alike, is_touched: false };
    map_each(UNRELATED, &shape.parts(), shape.is_touched)
}

fn map_each(place: usize, parts: &[(usize, usize)], is_touched: bool) -> Result<()> {
    for (index, &(start, len)) in parts.iter().enumerate() {
        let start = place + start;
        let protection =
            libc::PROT_READ | if index % 2 == 0 { libc::PROT_WRITE } else { libc::PROT_EXEC };
        // SAFETY: NOREPLACE: takes no address that anyone has.
        let mapped = unsafe {
            libc::mmap(
                start as *mut libc::c_void,
                len,
                protection,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            let error = std::io::Error::last_os_error();
            return Err(error).with_context(|| format!("mapping VMA {index} of {}", parts.len()));
        }
        if is_touched {
            // A read is enough for the read-only ones: the zero page is moved like any other entry.
            // SAFETY: just mapped, readable; volatile, since only the fault is wanted.
            unsafe { mapped.cast::<u8>().read_volatile() };
            if index % 2 == 0 {
                // SAFETY: just mapped, writable.
                unsafe { mapped.cast::<u8>().write_volatile(1) };
            }
        }
    }
    Ok(())
}
