//! The values of a case: what is mapped, and which requests follow. They are written to and read
//! from JSON, and made smaller when a case differs.

use serde::{Deserialize, Serialize};

/// Bytes of a page. The oracle runs on x86-64, where a huge page has 512 of them.
pub const PAGE: u64 = 4096;
/// Pages of a huge page.
pub const HUGE_PAGES: u64 = 512;
/// Pages of the content files. The last one is half a page long.
pub const FILE_PAGES: u64 = 60;

/// What backs a VMA.
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
    /// A file on the scratch directory's file system.
    FilePrivate,
    #[allow(missing_docs)]
    FileShared,
    /// `/dev/zero`, opened by another path if the number of pages is odd. Its private mapping may
    /// not move with others.
    ZeroPrivate,
    #[allow(missing_docs)]
    ZeroShared,
    /// Private anonymous memory that grows down.
    GrowsDown,
    /// The process's own `[vvar]` and `[vdso]`, moved to the layout first.
    Vvar,
    #[allow(missing_docs)]
    Vdso,
    /// Private anonymous memory of huge pages.
    HugePages,
    /// Private anonymous memory advised to use transparent huge pages.
    Transparent,
    /// A file on ramfs, whose driver places its mappings.
    Ramfs,
    /// A System V shared memory segment, which may not move with others.
    SystemV,
    /// A BPF array, whose driver places its mappings since 6.9.
    BpfMap,
    /// `memfd_secret`: not readable from outside, always locked.
    Secret,
}

impl Kind {
    /// All kinds.
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

    /// Whether it is aligned to huge pages.
    pub fn is_huge(self) -> bool {
        matches!(self, Self::HugePages | Self::Transparent)
    }

    /// Whether writing to its pages leaves the content files unchanged.
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

    /// Whether it maps a content file, at an offset.
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

/// What is done to a VMA after it is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the kernel's terms
pub enum Mark {
    Locked,
    DontFork,
    WipeOnFork,
    DontDump,
    /// A guard region over the first page.
    Guard,
    Sealed,
    /// Registered with userfaultfd for write protection only, so that reading never blocks.
    Userfaultfd,
    Sequential,
    NoHugePages,
    Mergeable,
}

impl Mark {
    /// All marks.
    pub const ALL: [Self; 10] = [
        Self::Locked,
        Self::DontFork,
        Self::WipeOnFork,
        Self::DontDump,
        Self::Guard,
        Self::Sealed,
        Self::Userfaultfd,
        Self::Sequential,
        Self::NoHugePages,
        Self::Mergeable,
    ];
}

/// Which of a VMA's pages are touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Touch {
    None,
    First,
    EverySecond,
    All,
}

/// One VMA of a layout, unless the kernel merges it with a neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vma {
    /// Start address.
    #[serde(with = "hex")]
    pub at: u64,
    /// Number of pages.
    pub pages: u64,
    #[allow(missing_docs)]
    pub kind: Kind,
    /// `PROT_*`.
    pub prot: u8,
    #[allow(missing_docs)]
    pub touch: Touch,
    /// Offset in the file, in pages.
    #[serde(default)]
    pub offset: u64,
    #[allow(missing_docs)]
    #[serde(default)]
    pub marks: Vec<Mark>,
}

impl Vma {
    /// End address, exclusive.
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
    /// The planner's type.
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

/// A layout, and requests made one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The layout. No VMA overlaps another.
    pub vmas: Vec<Vma>,
    #[allow(missing_docs)]
    pub requests: Vec<Request>,
    /// A child makes the requests, forked after the layout. The parent stays, so that private pages
    /// are shared until written.
    #[serde(default)]
    pub forked: bool,
}

/// The kinds and marks that the kernel and the process's privileges allow, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features(pub u32);

/// The bit of a kind or a mark.
pub struct Feature(u32);

impl From<Kind> for Feature {
    fn from(kind: Kind) -> Self {
        Self(1 << kind as u32)
    }
}

impl From<Mark> for Feature {
    fn from(mark: Mark) -> Self {
        Self(1 << (Kind::ALL.len() + mark as usize))
    }
}

impl Features {
    /// What every kernel since 5.10 supports, without privileges.
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
            features.add(kind);
        }
        for mark in Mark::ALL {
            features.add(mark);
        }
        for mark in [Mark::Guard, Mark::Sealed, Mark::Userfaultfd] {
            features.remove(mark);
        }
        features
    }

    /// Removes what only a name in maps distinguishes, and `[vvar]` and `[vdso]`, whose boundaries
    /// cannot be probed.
    pub fn remove_what_only_names_distinguish(&mut self) {
        for kind in
            [Kind::Vvar, Kind::Vdso, Kind::ZeroPrivate, Kind::Ramfs, Kind::SystemV, Kind::BpfMap]
        {
            self.remove(kind);
        }
    }

    /// Whether a kind or mark is supported.
    pub fn has(self, feature: impl Into<Feature>) -> bool {
        self.0 & feature.into().0 != 0
    }

    #[allow(missing_docs)]
    pub fn add(&mut self, feature: impl Into<Feature>) {
        self.0 |= feature.into().0;
    }

    #[allow(missing_docs)]
    pub fn remove(&mut self, feature: impl Into<Feature>) {
        self.0 &= !feature.into().0;
    }

    /// Removes a kind or mark by its name in JSON. Returns whether the name exists.
    pub fn remove_by_name(&mut self, name: &str) -> bool {
        let name = serde_json::Value::from(name);
        let kind = serde_json::from_value::<Kind>(name.clone()).map(Feature::from);
        let feature = kind.or_else(|_| serde_json::from_value::<Mark>(name).map(Feature::from));
        feature.map(|feature| self.remove(feature)).is_ok()
    }
}

/// Addresses in hexadecimal.
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
