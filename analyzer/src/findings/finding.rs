//! Every kind of finding, in one table: name, severity, title and advice.

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Memory or a result is not what the program expects.
    Error,
    /// It works here, but not on every kernel or not every time.
    Warning,
    /// Worth knowing.
    Note,
    /// The trace does not hold what a check needs.
    CannotSay,
}

impl Severity {
    /// Its name in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
            Self::CannotSay => "cannot-say",
        }
    }
}

/// What is known of a kind.
struct Row {
    severity: Severity,
    name: &'static str,
    title: &'static str,
    advice: &'static str,
}

/// Makes [`Kind`] of rows `Variant: Severity, "name", "title", "advice";`.
macro_rules! kinds {
    ($($kind:ident: $severity:ident, $name:literal, $title:literal, $advice:literal;)*) => {
        /// Kinds of findings, in the order in which they are reported: the worst first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $(#[doc = concat!("`", $name, "`: ", $title, ".")] $kind,)*
        }

        impl Kind {
            /// All kinds, in order.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            fn row(self) -> &'static Row {
                match self {
                    $(Self::$kind => &Row {
                        severity: Severity::$severity,
                        name: $name,
                        title: $title,
                        advice: $advice,
                    },)*
                }
            }
        }
    };
}

kinds! {
    Nonconforming: Error, "nonconforming",
        "an emulated call does not match the rules of Linux 6.17",
        "This is a bug of the shim. Please report it with this trace.";
    FailedAndUsed: Error, "failed-and-used",
        "a call failed, and the program used its result",
        "The program used MAP_FAILED, or the requested address, after a failed call. Compare the result with \
         MAP_FAILED before using it.";
    PartialMove: Error, "partial-move",
        "a move stopped half-way",
        "The parts before the failed one are at the destination, the others still at the source, as on Linux 6.17. \
         After a failure, find out which part is where, or move one VMA at a time.";
    KilledHalfWay: Error, "killed-half-way",
        "a move never ended",
        "The process died in this move, or is still in it. Some parts are at the destination already.";
    Race: Error, "race",
        "two threads used the same memory at once",
        "One thread moved, resized or replaced memory that belonged to a call of another thread. Guard the range \
         with one lock.";
    NeedsMultiVma: Warning, "needs-6.17",
        "needs Linux 6.17 or the shim",
        "Up to Linux 6.16 such a call unmaps the destination and then fails with EFAULT. On these kernels run the \
         program under the shim, or move one VMA at a time.";
    NotAtomic: Warning, "not-atomic",
        "moved part by part while other threads ran",
        "Linux 6.17 moves all parts under one lock. The shim moves them one by one, so another thread can see the \
         range half moved. Keep other threads from using it during the move.";
    Retried: Warning, "retried",
        "another thread changed a range during its move",
        "The shim searched the range again and completed the move. Keep other threads from changing a range during \
         its move.";
    MapCount: Warning, "map-count",
        "near the limit on mappings",
        "A process may have vm.max_map_count mappings (65,530 by default), and splitting a VMA takes one more. \
         Raise the limit, or use fewer and larger mappings.";
    Fragmented: Note, "fragmented",
        "adjacent VMAs with equal permissions were not merged",
        "Each VMA counts against the limit on mappings and slows moves down. Such VMAs were mapped separately, or \
         were moved before their first use. Map the range once, or set its permissions with one mprotect.";
    CouldBeOneCall: Note, "could-be-one-call",
        "several moves that one call of Linux 6.17 could make",
        "A thread moved neighbouring ranges one after the other, by the same distance. Since Linux 6.17, and under \
         the shim, one call for the whole range does the same, if nothing else is mapped in the gaps.";
    NotRecorded: CannotSay, "not-recorded",
        "calls were lost",
        "Lost calls cannot be checked. Record again with a larger trace (`run --trace-size 1G`).";
    NativeUnseen: CannotSay, "native-unseen",
        "the VMAs of native moves were not recorded",
        "Whether these moves work before Linux 6.17 depends on their VMAs. Record with `run --detail vmas` or with \
         `run --mode emulate`.";
    NotRecomputed: CannotSay, "not-recomputed",
        "some emulated calls could not be recomputed",
        "The trace does not hold all that the shim saw, for example that a VMA must not move together with others \
         (userfaultfd, a driver's own placement).";
}

impl Kind {
    /// How bad it is.
    pub fn severity(self) -> Severity {
        self.row().severity
    }

    /// Its name in text and JSON.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// One line that says what happened.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// What it means and what to do.
    pub fn advice(self) -> &'static str {
        self.row().advice
    }
}

/// One instance of a finding.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Number of the event; 0 where a whole trace is meant.
    pub event: u64,
    /// The process.
    pub pid: u32,
    /// The thread; 0 where a whole trace is meant.
    pub tid: u32,
    /// What was seen.
    pub what: String,
}

/// The instances of one kind.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub evidence: Vec<Evidence>,
}
