//! Layouts to move: many VMAs that never merge, and two ranges to move them between.
//!
//! ```text
//!   HOME                                        AWAY
//!   | rw | gap | r | gap | rw | gap | r |        (nothing mapped)
//! ```
//!
//! Neighbours differ in protection, so that they are not merged without gaps either. The other
//! range is free, so a move replaces nothing. VMAs are equal, or have random lengths and distances
//! from a fixed seed.

use std::fmt::{self, Display, Formatter};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

/// Bytes of a page on every machine this runs on.
pub const PAGE: usize = 4096;
/// Where the VMAs are mapped, far from the addresses that the kernel chooses.
const HOME: usize = 0x1000_0000_0000;
/// Where they are moved to.
const AWAY: usize = 0x2000_0000_0000;
/// Where unrelated VMAs are mapped: below both, so that a reader of maps must pass them.
const UNRELATED: usize = 0x0800_0000_0000;

/// The properties of a layout.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Number of VMAs.
    pub vmas: usize,
    /// Pages of a VMA.
    pub pages: usize,
    /// Pages of a gap.
    pub gap_pages: usize,
    /// How VMAs differ.
    pub pattern: Pattern,
    /// Whether the first page of each is touched.
    pub is_touched: bool,
}

/// How VMAs differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pattern {
    /// Not at all.
    Equal,
    /// Every other VMA is one page, like a guard before a stack.
    Guarded,
    /// Lengths from one page to twice `pages`, and gaps likewise.
    Varied,
}

impl Shape {
    /// Equal VMAs of two pages (of one if there are tens of thousands), the first page touched.
    pub const fn equal(vmas: usize, gap_pages: usize) -> Self {
        Self {
            vmas,
            pages: if vmas < 20_000 { 2 } else { 1 },
            gap_pages,
            pattern: Pattern::Equal,
            is_touched: true,
        }
    }

    /// Layouts with irregular VMAs.
    pub fn irregular() -> impl Iterator<Item = Self> {
        let sizes = [(17, 0), (17, 4), (1000, 0), (1000, 4)];
        let patterns = [Pattern::Guarded, Pattern::Varied];
        patterns.into_iter().flat_map(move |pattern| {
            sizes.map(|(vmas, gap_pages)| Self {
                pages: 4,
                pattern,
                ..Self::equal(vmas, gap_pages)
            })
        })
    }

    /// The arguments of `bench-moves` for it.
    pub fn arguments(self) -> Vec<String> {
        vec![
            format!("--vmas={}", self.vmas),
            format!("--pages={}", self.pages),
            format!("--gap-pages={}", self.gap_pages),
            format!("--pattern={}", self.pattern.name()),
        ]
    }

    /// The offset and length of each VMA, in bytes.
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
            Self::Equal => "equal",
            Self::Guarded => "guarded",
            Self::Varied => "varied",
        }
    }
}

impl Display for Shape {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let pattern = match self.pattern {
            Pattern::Equal => "",
            other => other.name(),
        };
        let gaps = if self.gap_pages == 0 { "" } else { ", gaps" };
        write!(to, "{}{}{pattern} VMAs{gaps}", self.vmas, if pattern.is_empty() { "" } else { " " })
    }
}

/// Mapped VMAs, which are moved to and fro.
#[derive(Debug)]
pub struct Layout {
    shape: Shape,
    parts: Vec<(usize, usize)>,

    is_home: bool,
}

impl Layout {
    /// Maps a layout.
    ///
    /// # Errors
    /// There are too many VMAs (`vm.max_map_count`).
    pub fn new(shape: Shape) -> Result<Self> {
        let parts = shape.parts();
        map_each(HOME, &parts, shape.is_touched)?;
        Ok(Self { shape, parts, is_home: true })
    }

    /// Length of the range in bytes.
    pub fn len(&self) -> usize {
        self.parts.last().map_or(0, |(start, len)| start + len)
    }

    /// Whether there is no VMA.
    pub fn is_empty(&self) -> bool {
        self.shape.vmas == 0
    }

    /// The offset and length of each VMA, in bytes.
    pub fn parts(&self) -> &[(usize, usize)] {
        &self.parts
    }

    /// Distance of two VMAs' starts in bytes, if they are equal.
    pub fn stride(&self) -> usize {
        (self.shape.pages + self.shape.gap_pages) * PAGE
    }

    /// Number of VMAs.
    pub fn vmas(&self) -> usize {
        self.shape.vmas
    }

    /// Returns source and destination of the next move, and assumes that it is made.
    pub fn turn(&mut self) -> (usize, usize) {
        self.is_home = !self.is_home;
        if self.is_home { (AWAY, HOME) } else { (HOME, AWAY) }
    }

    /// The present start of the VMAs.
    pub fn start(&self) -> usize {
        if self.is_home { HOME } else { AWAY }
    }

    /// Checks that no VMA was merged or lost.
    ///
    /// # Errors
    /// Their number has changed, so the figures are of another layout.
    pub fn check(&self) -> Result<()> {
        let maps =
            std::fs::read_to_string("/proc/self/maps").context("/proc/self/maps: unreadable")?;
        let end = self.start() + self.len();
        let starts =
            maps.lines().filter_map(|line| usize::from_str_radix(line.split('-').next()?, 16).ok());
        let found = starts.filter(|start| (self.start()..end).contains(start)).count();
        if found != self.shape.vmas {
            bail!("{} VMAs were mapped, {found} are left", self.shape.vmas);
        }
        Ok(())
    }
}

/// Maps unrelated VMAs.
///
/// # Errors
/// There are too many VMAs.
pub fn map_unrelated(vmas: usize) -> Result<()> {
    let shape = Shape { vmas, pages: 1, gap_pages: 1, pattern: Pattern::Equal, is_touched: false };
    map_each(UNRELATED, &shape.parts(), shape.is_touched)
}

fn map_each(base: usize, parts: &[(usize, usize)], is_touched: bool) -> Result<()> {
    for (index, &(start, len)) in parts.iter().enumerate() {
        let start = base + start;
        let protection =
            libc::PROT_READ | if index % 2 == 0 { libc::PROT_WRITE } else { libc::PROT_EXEC };
        // SAFETY: NOREPLACE maps only free addresses.
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
            // Reading populates a page, too: the zero page is moved like any other.
            // SAFETY: just mapped and readable; volatile for the fault.
            unsafe { mapped.cast::<u8>().read_volatile() };
            if index % 2 == 0 {
                // SAFETY: just mapped and writable.
                unsafe { mapped.cast::<u8>().write_volatile(1) };
            }
        }
    }
    Ok(())
}
