//! Every finding there is: its severity, what it means and what to do. All the words are here.

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Memory or a result was not what the program believes.
    Error,
    /// It works here and may not elsewhere, or not always.
    Warning,
    /// Worth knowing.
    Note,
    /// Nothing was found, because the trace does not tell.
    CannotSay,
}

impl Severity {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
            Self::CannotSay => "cannot-say",
        }
    }
}

/// Kinds of findings, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // `title` says what each is
pub enum Kind {
    Nonconforming,
    FailedAndUsed,
    PartialMove,
    KilledHalfWay,
    Race,
    NeedsMultiVma,
    NotAtomic,
    Retried,
    MapCount,
    Fragmented,
    NotRecorded,
    NativeUnseen,
    NotRecomputed,
}

impl Kind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; Self::NotRecomputed as usize + 1] = [
        Self::Nonconforming,
        Self::FailedAndUsed,
        Self::PartialMove,
        Self::KilledHalfWay,
        Self::Race,
        Self::NeedsMultiVma,
        Self::NotAtomic,
        Self::Retried,
        Self::MapCount,
        Self::Fragmented,
        Self::NotRecorded,
        Self::NativeUnseen,
        Self::NotRecomputed,
    ];

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Self::Nonconforming
            | Self::FailedAndUsed
            | Self::PartialMove
            | Self::KilledHalfWay
            | Self::Race => Severity::Error,
            Self::NeedsMultiVma | Self::NotAtomic | Self::Retried | Self::MapCount => {
                Severity::Warning
            }
            Self::Fragmented => Severity::Note,
            Self::NotRecorded | Self::NativeUnseen | Self::NotRecomputed => Severity::CannotSay,
        }
    }

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nonconforming => "nonconforming",
            Self::FailedAndUsed => "failed-and-used",
            Self::PartialMove => "partial-move",
            Self::KilledHalfWay => "killed-half-way",
            Self::Race => "race",
            Self::NeedsMultiVma => "needs-6.17",
            Self::NotAtomic => "not-atomic",
            Self::Retried => "retried",
            Self::MapCount => "map-count",
            Self::Fragmented => "fragmented",
            Self::NotRecorded => "not-recorded",
            Self::NativeUnseen => "native-unseen",
            Self::NotRecomputed => "not-recomputed",
        }
    }

    /// In a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Nonconforming => "an emulated call does not match the rules of Linux 6.17",
            Self::FailedAndUsed => "a call failed, and what it did not return was used",
            Self::PartialMove => "a move stopped half-way",
            Self::KilledHalfWay => "a move never ended",
            Self::Race => "two threads changed the same range at once",
            Self::NeedsMultiVma => "needs Linux 6.17 or the shim",
            Self::NotAtomic => "moved part by part while other threads ran",
            Self::Retried => "another thread changed a range while it was being moved",
            Self::MapCount => "near the limit on mappings",
            Self::Fragmented => "neighbouring VMAs with equal rights stayed apart",
            Self::NotRecorded => "calls were lost",
            Self::NativeUnseen => "the VMAs of moves that the kernel made itself were not recorded",
            Self::NotRecomputed => "emulated calls could not be recomputed",
        }
    }

    /// What it means and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Nonconforming => "A defect of the shim: please report it with this trace.",
            Self::FailedAndUsed => {
                "The program took MAP_FAILED, or the place it had asked for, for memory of its own. Test the result \
                 against MAP_FAILED before using it."
            }
            Self::PartialMove => {
                "The parts before the refused one lie at the destination, the rest at the source, as Linux 6.17 has \
                 it, too. After a failure look which part is where, or move VMAs one by one."
            }
            Self::KilledHalfWay => {
                "The process ended, or still is, inside this move. Parts of it lie at the destination already."
            }
            Self::Race => {
                "The kernel serves one after the other, in an order that nobody chose. Let one lock guard the range."
            }
            Self::NeedsMultiVma => {
                "Up to Linux 6.16 such a call fails with EFAULT after the destination has been unmapped: whatever \
                 lay there is lost. Run under the shim there, or move VMA by VMA."
            }
            Self::NotAtomic => {
                "Linux 6.17 moves all parts under one lock; the shim moves one after the other, and other threads \
                 can meet the range half moved. Keep them from touching it meanwhile."
            }
            Self::Retried => {
                "The shim looked again and went on, as often as was needed. Keep other threads from changing a range \
                 that is being moved."
            }
            Self::MapCount => {
                "A process may hold vm.max_map_count mappings (65530 unless set otherwise), and a split needs one \
                 more. Raise the limit, or use fewer, larger mappings."
            }
            Self::Fragmented => {
                "Each costs a mapping and makes moves slower. They were mapped apart, or an anonymous VMA was moved \
                 before it was touched; map the range once, or set its rights in one mprotect."
            }
            Self::NotRecorded => {
                "What was lost cannot be judged. Record again with a larger trace (`run --trace-size 1G`)."
            }
            Self::NativeUnseen => {
                "Whether they would work before Linux 6.17 cannot be told. Record with `run --detail vmas`, or with \
                 `run --mode emulate`."
            }
            Self::NotRecomputed => {
                "A VMA that may not move with others (userfaultfd, a driver's own placing) is not on record as such, \
                 so the refusal was taken as it is."
            }
        }
    }
}

/// One piece of evidence.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The event.
    pub event: u64,
    /// Its process and thread.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// What was seen.
    pub what: String,
    /// The index of the process, and the address of the call site.
    pub site: (usize, u64),
}

/// All evidence of one kind; the first few are kept, the rest counted.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// How often.
    pub count: u64,
    /// The first of them.
    pub evidence: Vec<Evidence>,
}
