//! The arguments of `mremap`, and the checks that Linux 6.17 makes before it looks at VMAs.
//! VMA.

use crate::vma::Range;

/// An errno value of Linux; the numbers are the same on every architecture served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// Nothing is mapped at the start, or a VMA may not move with others.
    pub const EFAULT: Self = Self(14);
    /// The request itself is wrong.
    pub const EINVAL: Self = Self(22);
}

/// The flags argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// `MREMAP_MAYMOVE`.
    pub const MAYMOVE: Self = Self(1);
    /// `MREMAP_FIXED`.
    pub const FIXED: Self = Self(2);
    /// `MREMAP_DONTUNMAP`.
    pub const DONTUNMAP: Self = Self(4);

    /// Whether every bit of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a bit is set that is no flag of `mremap`.
    pub fn has_unknown(self) -> bool {
        self.0 & !(Self::MAYMOVE.0 | Self::FIXED.0 | Self::DONTUNMAP.0) != 0
    }
}

/// Sizes of the machine: `page_size` is a power of two, `task_size` the first address a program
/// cannot map. map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct AddressSpace {
    pub page_size: u64,
    pub task_size: u64,
}

impl AddressSpace {
    /// Rounds up to whole pages like `PAGE_ALIGN`, which wraps to 0.
    pub fn page_align(self, length: u64) -> u64 {
        length.wrapping_add(self.page_size - 1) & !(self.page_size - 1)
    }

    fn offset_in_page(self, address: u64) -> u64 {
        address & (self.page_size - 1)
    }
}

/// The five arguments of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are those of mremap(2)
pub struct Request {
    pub old: u64,
    pub old_len: u64,
    pub new_len: u64,
    pub flags: Flags,
    pub new: u64,
}

/// A move that passed the checks made before the VMAs are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Move {
    /// The source range. Wraps if it exceeds the address space.
    pub source: Range,
    /// Target of the source's first byte.
    pub destination: u64,
    /// Length in bytes, rounded up to pages.
    pub len: u64,
    /// The flags of the call.
    pub flags: Flags,
}

impl Move {
    /// Returns the target of an address of the source.
    pub fn target(&self, address: u64) -> u64 {
        self.destination.wrapping_add(address.wrapping_sub(self.source.start))
    }

    /// Returns the target of a part of the source.
    pub fn target_of(&self, part: Range) -> Range {
        let start = self.target(part.start);
        Range { start, end: start.wrapping_add(part.len()) }
    }
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// Not a move: every kernel handles it by itself.
    NotAMove,
    /// A move that Linux 6.17 refuses before it touches anything.
    Refused(Errno),
    /// A move.
    Move(Move),
}

impl Request {
    /// Returns the request as arm64 kernels read it: `mremap` drops a tag in the top byte of `old`,
    /// but not of `new` (`untagged_addr`).
    #[must_use]
    pub fn without_tag(self) -> Self {
        const LAST_BIT_OF_ADDRESS: u64 = 1 << 55;
        let is_tagged = self.old & LAST_BIT_OF_ADDRESS == 0;
        Self { old: if is_tagged { self.old & (u64::MAX >> 8) } else { self.old }, ..self }
    }

    /// Whether the call is a move (`vrm_move_only`): `MREMAP_FIXED`, and lengths that are equal
    /// once rounded to pages.
    pub fn is_move(&self, space: AddressSpace) -> bool {
        self.flags.contains(Flags::FIXED)
            && space.page_align(self.old_len) == space.page_align(self.new_len)
    }

    /// Makes the checks of `check_mremap_params`. All of them answer `EINVAL`, so their order does
    /// not matter. That they precede every check of VMAs does.
    pub fn judge(&self, space: AddressSpace) -> Judgement {
        if !self.is_move(space) {
            return Judgement::NotAMove;
        }
        let len = space.page_align(self.new_len);
        let invalid = self.flags.has_unknown()
            || space.offset_in_page(self.old) != 0
            || len == 0
            || len > space.task_size
            || self.new > space.task_size - len
            || space.offset_in_page(self.new) != 0
            || !self.flags.contains(Flags::MAYMOVE)
            || self.overlaps(len);
        if invalid {
            return Judgement::Refused(Errno::EINVAL);
        }
        Judgement::Move(Move {
            source: Range { start: self.old, end: self.old.wrapping_add(len) },
            destination: self.new,
            len,
            flags: self.flags,
        })
    }

    /// Whether source and destination overlap (`vrm_overlaps`), with the kernel's wrapping sums.
    ///
    /// ```text
    ///  old                 old+len
    ///   |---------------------|
    ///                |---------------------|      end_old > new && end_new > old
    ///               new                 new+len
    /// ```
    fn overlaps(&self, len: u64) -> bool {
        self.old.wrapping_add(len) > self.new && self.new.wrapping_add(len) > self.old
    }
}
