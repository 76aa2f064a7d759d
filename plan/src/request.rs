//! A call of `mremap` as the program made it, and the checks Linux 6.17 makes before it looks at a VMA.

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

    /// Whether a bit is set that `mremap` does not know.
    pub fn has_unknown(self) -> bool {
        self.0 & !(Self::MAYMOVE.0 | Self::FIXED.0 | Self::DONTUNMAP.0) != 0
    }
}

/// The machine's limits: `page_size` a power of two, `task_size` the first address a program cannot map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct AddressSpace {
    pub page_size: u64,
    pub task_size: u64,
}

impl AddressSpace {
    /// `PAGE_ALIGN`: up to a whole page, wrapping to 0 as the kernel's macro does.
    pub fn page_align(self, length: u64) -> u64 {
        length.wrapping_add(self.page_size - 1) & !(self.page_size - 1)
    }

    fn offset_in_page(self, address: u64) -> u64 {
        address & (self.page_size - 1)
    }
}

/// The five arguments, unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are those of mremap(2)
pub struct Request {
    pub old: u64,
    pub old_len: u64,
    pub new_len: u64,
    pub flags: Flags,
    pub new: u64,
}

/// A move that passed every check made before the VMAs are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Move {
    /// The whole source range; wraps when the program asked for more than there is above `old`.
    pub source: Range,
    /// Where the source's first byte goes.
    pub destination: u64,
    /// Bytes, rounded up to pages.
    pub len: u64,
    /// The flags as asked.
    pub flags: Flags,
}

impl Move {
    /// Where an address of the source goes.
    pub fn target(&self, address: u64) -> u64 {
        self.destination.wrapping_add(address.wrapping_sub(self.source.start))
    }

    /// Where a part of the source goes.
    pub fn target_of(&self, part: Range) -> Range {
        let start = self.target(part.start);
        Range { start, end: start.wrapping_add(part.len()) }
    }
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// Not a move: the kernel's own business, on every kernel.
    NotAMove,
    /// A move that 6.17 refuses before anything is touched.
    Refused(Errno),
    /// A move.
    Move(Move),
}

impl Request {
    /// The request as a kernel for arm64 takes it, whose `mremap` drops a tag in the top byte of `old` (but not of
    /// `new`): `untagged_addr`.
    #[must_use]
    pub fn without_tag(self) -> Self {
        const LAST_BIT_OF_ADDRESS: u64 = 1 << 55;
        let is_tagged = self.old & LAST_BIT_OF_ADDRESS == 0;
        Self { old: if is_tagged { self.old & (u64::MAX >> 8) } else { self.old }, ..self }
    }

    /// `vrm_move_only`: `MREMAP_FIXED`, and lengths that are equal once rounded to pages.
    pub fn is_move(&self, space: AddressSpace) -> bool {
        self.flags.contains(Flags::FIXED)
            && space.page_align(self.old_len) == space.page_align(self.new_len)
    }

    /// `check_mremap_params`, in the kernel's order. The order shows only in which rule refuses, since all
    /// answer `EINVAL`; what matters is that they come before any look at the VMAs.
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

    /// `vrm_overlaps`: the whole ranges, with the kernel's wrapping sums.
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
