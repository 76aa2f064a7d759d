//! Ranges of addresses, and VMAs.

/// A range of addresses, `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
}

impl Range {
    /// Returns the length in bytes; 0 if `end` is not above `start`.
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether the range is empty.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether `address` is in the range.
    pub fn contains(self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// Returns the intersection of both ranges.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }
}

/// Permissions of a VMA and whether it is shared, as the letters of `/proc/PID/maps` give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, clippy::struct_excessive_bools)] // the letters r, w, x and s
pub struct Protection {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    pub shared: bool,
}

/// What backs a VMA, as far as the multi-VMA move depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Backing {
    /// The VMA source does not report it.
    #[default]
    Unknown,
    /// Memory, shared memory, hugetlbfs, or a file whose driver lets the kernel choose addresses.
    Movable,
    /// A file on a file system without a block device. Whether its driver chooses addresses depends
    /// on the type (ramfs does, tmpfs does not).
    UnnumberedFile,
    /// A file mapping whose driver has its own `get_unmapped_area`: it cannot move with others.
    PlacedByDriver,
}

impl Backing {
    /// Judges a mapping by what `/proc/PID/maps` shows: path, major device number, inode, and
    /// whether it is shared. The names are those of drivers with their own `get_unmapped_area`
    /// (`drivers/char/mem.c`, `io_uring/io_uring.c`, `arch/x86/kernel/cpu/sgx/driver.c`,
    /// `kernel/bpf/syscall.c`, `ipc/shm.c`). A shared mapping of `/dev/zero` is shared memory,
    /// which `vma_multi_allowed` allows.
    pub fn of_mapping(path: &[u8], major: u32, inode: u64, shared: bool) -> Self {
        // A System V segment has VMA operations of its own. Its inode is its number, which may be
        // 0.
        if is_system_v(path) {
            return Self::PlacedByDriver;
        }
        if inode == 0 {
            return Self::Movable;
        }
        match path {
            b"/dev/zero" if !shared => Self::PlacedByDriver,
            b"anon_inode:[io_uring]" | b"anon_inode:bpf-map" | b"/dev/sgx_enclave" => {
                Self::PlacedByDriver
            }
            _ if major == 0 => Self::UnnumberedFile,
            _ => Self::Movable,
        }
    }
}

/// Whether a path is that of a System V segment: `/SYSV`, its key in eight hexadecimal digits,
/// deleted.
fn is_system_v(path: &[u8]) -> bool {
    let key = path.strip_prefix(b"/SYSV").and_then(|rest| rest.strip_suffix(b" (deleted)"));
    key.is_some_and(|key| key.len() == 8 && key.iter().all(u8::is_ascii_hexdigit))
}

/// One VMA of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Vma {
    /// Its range. A source that sees only the request may report less than the whole VMA.
    /// VMA.
    pub range: Range,
    /// Its permissions, if known.
    pub protection: Option<Protection>,
    /// What backs it.
    pub backing: Backing,
    /// Offset of its first byte in the file; 0 for memory.
    pub offset: u64,
    /// Whether it is registered with userfaultfd.
    pub userfaultfd: bool,
}

impl Vma {
    /// Whether the VMA may be one of several in a move (`vma_multi_allowed` of `mm/mremap.c`).
    pub fn may_move_with_others(&self) -> bool {
        !self.userfaultfd && self.backing != Backing::PlacedByDriver
    }
}
