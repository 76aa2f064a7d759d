//! What is laid out and what is asked: values that can be written down, made smaller and read back.

use serde::{Deserialize, Serialize};

/// Bytes of a page. The oracle compares on x86-64, where a huge page is 512 of them.
pub const PAGE: u64 = 4096;
/// Pages of a huge page.
pub const HUGE_PAGES: u64 = 512;
/// Pages of the content files, beyond which lies nothing; the last one is half there.
pub const FILE_PAGES: u64 = 60;

/// What stands behind a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Private anonymous memory.
    Anon,
    /// Shared anonymous memory.
    SharedAnon,
    /// A memfd, mapped privately or shared.
    MemfdPrivate,
    #[allow(missing_docs)]
    MemfdShared,
    /// A file of a file system with a block device, where the scratch directory is on one.
    FilePrivate,
    #[allow(missing_docs)]
    FileShared,
    /// `/dev/zero`, by another path where the pages are odd: its private mapping may not move with others.
    ZeroPrivate,
    #[allow(missing_docs)]
    ZeroShared,
    /// Private anonymous memory that grows down.
    GrowsDown,
    /// The process's own `[vvar]` and `[vdso]`, brought here beforehand.
    Vvar,
    #[allow(missing_docs)]
    Vdso,
    /// Private anonymous memory of huge pages.
    HugePages,
    /// Private anonymous memory advised to use transparent huge pages.
    Transparent,
    /// A file on ramfs, which places its own mappings.
    Ramfs,
    /// A System V shared memory segment: the kernel does not count it as shared memory of the kind that may
    /// move with others.
    SystemV,
    /// A BPF array, which places its own mappings since 6.9.
    BpfMap,
    /// `memfd_secret`: not readable from outside, always locked.
    Secret,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Anon,
        Self::SharedAnon,
        Self::MemfdPrivate,
        Self::MemfdShared,
        Self::FilePrivate,
        Self::FileShared,
        Self::ZeroPrivate,
        Self::ZeroShared,
        Self::GrowsDown,
        Self::Vvar,
        Self::Vdso,
        Self::HugePages,
        Self::Transparent,
        Self::Ramfs,
        Self::SystemV,
        Self::BpfMap,
        Self::Secret,
    ];

    /// Whether it lies on borders of huge pages.
    pub fn is_huge(self) -> bool {
        matches!(self, Self::HugePages | Self::Transparent)
    }

    /// Whether its pages may be written without changing what later cases find.
    pub fn is_written(self) -> bool {
        matches!(
            self,
            Self::Anon
                | Self::SharedAnon
                | Self::MemfdPrivate
                | Self::FilePrivate
                | Self::ZeroPrivate
                | Self::ZeroShared
                | Self::GrowsDown
                | Self::HugePages
                | Self::Transparent
                | Self::SystemV
                | Self::Secret
        )
    }

    /// Whether it has an offset in a file that is there before the case.
    pub fn has_offset(self) -> bool {
        matches!(
            self,
            Self::MemfdPrivate
                | Self::MemfdShared
                | Self::FilePrivate
                | Self::FileShared
                | Self::Ramfs
        )
    }
}

/// What is done to a piece after it is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the kernel's own words
pub enum Mark {
    Locked,
    DontFork,
    WipeOnFork,
    DontDump,
    /// A guard region over the piece's first page.
    Guard,
    Sealed,
    /// Registered with userfaultfd, for write protection only: reading never waits.
    Userfaultfd,
    Sequential,
    NoHugePages,
    Mergeable,
}

/// Which of a piece's pages are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Touch {
    None,
    First,
    EverySecond,
    All,
}

/// One mapping of a layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// First address.
    #[serde(with = "hex")]
    pub at: u64,
    /// Pages.
    pub pages: u64,
    #[allow(missing_docs)]
    pub kind: Kind,
    /// `PROT_*`.
    pub prot: u8,
    #[allow(missing_docs)]
    pub touch: Touch,
    /// Page of the file it starts with.
    #[serde(default)]
    pub offset: u64,
    #[allow(missing_docs)]
    #[serde(default)]
    pub marks: Vec<Mark>,
}

impl Piece {
    /// First address behind it.
    pub fn end(&self) -> u64 {
        self.at + self.pages * PAGE
    }
}

/// A call of `mremap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names are those of mremap(2)
pub struct Request {
    #[serde(with = "hex")]
    pub old: u64,
    #[serde(with = "hex")]
    pub old_len: u64,
    #[serde(with = "hex")]
    pub new_len: u64,
    pub flags: u32,
    #[serde(with = "hex")]
    pub new: u64,
}

impl Request {
    /// As the planner takes it.
    pub fn for_plan(&self) -> mremap_plan::Request {
        mremap_plan::Request {
            old: self.old,
            old_len: self.old_len,
            new_len: self.new_len,
            flags: mremap_plan::Flags(self.flags),
            new: self.new,
        }
    }
}

/// How mappings follow each other, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Shape {
    pub gap: u64,
    pub pages: u64,
}

/// A layout and what is asked of it, one request after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The mappings, none over another.
    pub pieces: Vec<Piece>,
    #[allow(missing_docs)]
    pub requests: Vec<Request>,
    /// The requests are made by a child forked after the layout, with the parent still there: its private
    /// pages are shared until written.
    #[serde(default)]
    pub forked: bool,
    /// The process has moved these before, elsewhere: what it has mapped of files is looked at by now, and what it
    /// moves next may lie as they did.
    #[serde(default)]
    pub practised: Vec<Shape>,
}

/// What a kernel, and the rights of the process, allow a case to contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features(pub u32);

impl Features {
    const MARKS: [Mark; 3] = [Mark::Guard, Mark::Sealed, Mark::Userfaultfd];

    /// Nothing but what every kernel since 5.10 has.
    pub fn portable() -> Self {
        let mut features = Self(0);
        for kind in [
            Kind::Anon,
            Kind::SharedAnon,
            Kind::MemfdPrivate,
            Kind::MemfdShared,
            Kind::ZeroPrivate,
            Kind::ZeroShared,
            Kind::GrowsDown,
            Kind::SystemV,
        ] {
            features.add_kind(kind);
        }
        features
    }

    /// Takes out what a look at a VMA's boundaries cannot tell: what stands behind it. The boundaries of
    /// `[vvar]` and `[vdso]` cannot be seen either.
    pub fn remove_what_only_names_tell(&mut self) {
        for kind in
            [Kind::Vvar, Kind::Vdso, Kind::ZeroPrivate, Kind::Ramfs, Kind::SystemV, Kind::BpfMap]
        {
            self.0 &= !(1 << kind as u32);
        }
    }

    /// Whether a kind can be mapped.
    pub fn has_kind(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u32 != 0
    }

    /// Whether a mark can be put.
    pub fn has_mark(self, mark: Mark) -> bool {
        Self::MARKS
            .iter()
            .position(|&known| known == mark)
            .is_none_or(|index| self.0 & 1 << (24 + index) != 0)
    }

    #[allow(missing_docs)]
    pub fn add_kind(&mut self, kind: Kind) {
        self.0 |= 1 << kind as u32;
    }

    /// Takes out a kind or mark by its name in a written case; whether there is one of that name.
    pub fn remove(&mut self, name: &str) -> bool {
        let name = serde_json::Value::from(name);
        let (kind, mark) =
            (serde_json::from_value::<Kind>(name.clone()), serde_json::from_value::<Mark>(name));
        let index = match (kind, mark) {
            (Ok(kind), _) => Some(kind as usize),
            (_, Ok(mark)) => {
                Self::MARKS.iter().position(|&known| known == mark).map(|index| 24 + index)
            }
            _ => None,
        };
        self.0 &= !index.map_or(0, |index| 1 << index);
        index.is_some()
    }

    #[allow(missing_docs)]
    pub fn remove_mark(&mut self, mark: Mark) {
        if let Some(index) = Self::MARKS.iter().position(|&known| known == mark) {
            self.0 &= !(1 << (24 + index));
        }
    }

    #[allow(missing_docs)]
    pub fn add_mark(&mut self, mark: Mark) {
        if let Some(index) = Self::MARKS.iter().position(|&known| known == mark) {
            self.0 |= 1 << (24 + index);
        }
    }
}

/// Addresses as people read them.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(clippy::trivially_copy_pass_by_ref)] // the shape that serde asks for
    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:#x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(D::Error::custom)
    }
}
