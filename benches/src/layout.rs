//! Address spaces to move in: many VMAs that never merge, and two places to move them between.
//!
//! ```text
//!   HOME                                        AWAY
//!   | rw | gap | r | gap | rw | gap | r |        (nothing mapped)
//! ```
//!
//! Neighbours differ in protection, so that they stay VMAs of their own without gaps too. Nothing is mapped
//! at the other place: a move replaces nothing, there as back.

use anyhow::{Context as _, Result, bail};

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
    /// Whether the first page of each is written to.
    pub is_touched: bool,
}

/// VMAs that are moved, and where they are now.
#[derive(Debug)]
pub struct Layout {
    shape: Shape,
    is_home: bool,
}

impl Layout {
    /// Maps what `shape` says.
    ///
    /// # Errors
    /// The kernel has no room for so many VMAs (`vm.max_map_count`).
    pub fn new(shape: Shape) -> Result<Self> {
        map_each(HOME, shape)?;
        Ok(Self { shape, is_home: true })
    }

    /// Bytes from the first VMA's start to the last one's end.
    pub fn len(&self) -> usize {
        (self.shape.vmas - 1) * self.stride() + self.part_len()
    }

    /// Whether there is nothing to move. Never: the shape has a VMA.
    pub fn is_empty(&self) -> bool {
        self.shape.vmas == 0
    }

    /// Bytes of one VMA.
    pub fn part_len(&self) -> usize {
        self.shape.pages * PAGE
    }

    /// Bytes from one VMA's start to the next one's.
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
        if self.is_home { (AWAY, HOME) } else { (HOME, AWAY) }
    }

    /// Where the VMAs are now.
    pub fn place(&self) -> usize {
        if self.is_home { HOME } else { AWAY }
    }

    /// Makes sure that nothing merged and nothing was lost: as many VMAs as were mapped, where they should be.
    ///
    /// # Errors
    /// It is not so: the figures would be of something else.
    pub fn check(&self) -> Result<()> {
        let maps = std::fs::read_to_string("/proc/self/maps").context("/proc/self/maps: unreadable")?;
        let end = self.place() + self.len();
        let starts = maps
            .lines()
            .filter_map(|line| usize::from_str_radix(line.split('-').next()?, 16).ok());
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
    let shape = Shape {
        vmas,
        pages: 1,
        gap_pages: 1,
        is_touched: false,
    };
    map_each(UNRELATED, shape)
}

fn map_each(place: usize, shape: Shape) -> Result<()> {
    for index in 0..shape.vmas {
        let start = place + index * (shape.pages + shape.gap_pages) * PAGE;
        let protection = libc::PROT_READ
            | if index % 2 == 0 {
                libc::PROT_WRITE
            } else {
                libc::PROT_EXEC
            };
        // SAFETY: NOREPLACE: takes no address that anyone has.
        let mapped = unsafe {
            libc::mmap(
                start as *mut libc::c_void,
                shape.pages * PAGE,
                protection,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            let error = std::io::Error::last_os_error();
            return Err(error).with_context(|| format!("mapping VMA {index} of {}", shape.vmas));
        }
        if shape.is_touched {
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
