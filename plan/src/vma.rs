//! Ranges of addresses and the VMAs that cover them.

/// Half-open range of addresses, `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
}

impl Range {
    /// Bytes in the range; 0 when `end` is not behind `start`.
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether the range holds no byte.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether the range holds `address`.
    pub fn contains(self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// The bytes that both ranges hold.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }
}

/// Access rights and sharing of a VMA, as the letters of `/proc/PID/maps` give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, clippy::struct_excessive_bools)] // the letters r, w, x and s
pub struct Protection {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    pub shared: bool,
}

/// What stands behind a VMA, as far as the multi-VMA move cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Backing {
    /// The source of the VMA could not tell.
    #[default]
    Unknown,
    /// Memory, shared memory, hugetlbfs, or a file whose driver leaves placing to the kernel.
    Movable,
    /// A file on a file system without a block device: its driver must be asked for by other means
    /// (ramfs places its own mappings, tmpfs does not).
    UnnumberedFile,
    /// A file mapping whose driver has its own `get_unmapped_area`: alone or not at all.
    PlacedByDriver,
}

impl Backing {
    /// What `/proc/PID/maps` shows of a mapping, judged: its path, its device's major number, its inode and
    /// whether it is shared. The names are those of drivers with their own `get_unmapped_area`
    /// (`drivers/char/mem.c`, `io_uring/io_uring.c`, `arch/x86/kernel/cpu/sgx/driver.c`,
    /// `kernel/bpf/syscall.c`, `ipc/shm.c`); a shared mapping of `/dev/zero` is shared memory, which
    /// `vma_multi_allowed` knows as good. A System V segment is not: its VMAs have operations of their own.
    pub fn of_mapping(path: &[u8], major: u32, inode: u64, shared: bool) -> Self {
        // The inode of a System V segment is its number, which may be 0.
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

/// Whether this is the name of a System V segment: its key in eight hexadecimal digits, and a file that
/// nobody can open.
fn is_system_v(path: &[u8]) -> bool {
    let key = path.strip_prefix(b"/SYSV").and_then(|rest| rest.strip_suffix(b" (deleted)"));
    key.is_some_and(|key| key.len() == 8 && key.iter().all(u8::is_ascii_hexdigit))
}

/// One VMA of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Vma {
    /// Where it lies. A source that cannot see beyond the request may give less than the kernel's VMA.
    pub range: Range,
    /// Its rights, where known.
    pub protection: Option<Protection>,
    /// What stands behind it.
    pub backing: Backing,
    /// Offset in the file of its first byte; 0 for memory.
    pub offset: u64,
    /// Registered with userfaultfd.
    pub userfaultfd: bool,
}

impl Vma {
    /// `vma_multi_allowed` of `mm/mremap.c`: whether the VMA may be one of several in a move.
    pub fn may_move_with_others(&self) -> bool {
        !self.userfaultfd && self.backing != Backing::PlacedByDriver
    }
}
