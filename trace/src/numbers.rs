//! Numbers of the format that have names, as settings and reports use them.

/// Defines an enum of the format's numbers, with `ALL`, `NAMES`, `from_raw` and `name`.
macro_rules! numbers {
    ($(#[$meta:meta])* $name:ident: $raw:ident {
        $($(#[$doc:meta])* $variant:ident = $number:literal $text:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($raw)]
        pub enum $name {
            $($(#[$doc])* $variant = $number,)+
        }

        impl $name {
            /// Every value, in the order of the numbers.
            pub const ALL: [Self; [$($number),+].len()] = [$(Self::$variant),+];
            /// Their names, in the same order.
            pub const NAMES: [&'static str; [$($number),+].len()] = [$($text),+];

            /// Returns the value of a number; `None` for a number that this version lacks.
            #[inline]
            pub const fn from_raw(raw: $raw) -> Option<Self> {
                match raw {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Returns the name used in settings, JSON and tables.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

numbers! {
    /// What was done with a call. The numbers are the tags of call records.
    Outcome: u8 {
        /// No move, or the shim only records: the call was forwarded unchanged.
        PassedThrough = 1 "passed-through",
        /// A move on a kernel with the multi-VMA move: the call was forwarded unchanged.
        Native = 2 "native",
        /// A move inside one VMA, which every kernel supports: one call to the kernel.
        OneVma = 3 "one-vma",
        /// A move that was split into one call for each part.
        Emulated = 4 "emulated",
        /// A move that Linux 6.17 refuses before it touches anything: the kernel was not called.
        Refused = 5 "refused",
        /// A move that was being split when the record was last written.
        Begun = 6 "begun",
    }
}

numbers! {
    /// `MREMAP_SHIM_MODE`.
    Mode: u32 {
        /// Emulate where the kernel lacks the multi-VMA move.
        Auto = 0 "auto",
        /// Emulate on every kernel.
        Emulate = 1 "emulate",
        /// Record only.
        PassThrough = 2 "passthrough",
    }
}

numbers! {
    /// `MREMAP_SHIM_VMA_SOURCE`.
    VmaSource: u32 {
        /// Whichever method is cheapest.
        Auto = 0 "auto",
        /// `PROCMAP_QUERY`.
        Query = 1 "query",
        /// The text of `/proc/self/maps`.
        Maps = 2 "maps",
        /// Probes.
        Bisect = 3 "bisect",
    }
}

numbers! {
    /// `MREMAP_SHIM_TRACE_DETAIL`.
    Detail: u32 {
        /// The calls, and the parts and gaps of emulated moves.
        Calls = 0 "calls",
        /// The VMAs of every moved range.
        Vmas = 1 "vmas",
    }
}

numbers! {
    /// `MREMAP_SHIM_TRACE_KEEP`: which records are kept when the trace is full.
    Keep: u32 {
        /// The first ones: recording ends.
        First = 0 "first",
        /// The last ones: new chunks replace the oldest.
        Last = 1 "last",
    }
}

numbers! {
    /// What a tick is.
    Clock: u32 {
        /// A cycle of the CPU's invariant counter.
        Counter = 1 "counter",
        /// A nanosecond of `CLOCK_MONOTONIC`.
        Nanoseconds = 2 "nanoseconds",
    }
}

numbers! {
    /// What the kernel was found to support.
    #[derive(Default)]
    Capability: u32 {
        /// Not tried, or the trial failed for another reason.
        #[default]
        Unknown = 0 "unknown",
        /// A move takes one VMA.
        OneVma = 1 "one-vma",
        /// A move takes several VMAs, as since Linux 6.17.
        MultiVma = 2 "multi-vma",
    }
}

numbers! {
    /// The method that found the VMAs of a move.
    #[derive(Default)]
    FoundBy: u32 {
        /// Not recorded.
        #[default]
        Unknown = 0 "unknown",
        /// `PROCMAP_QUERY`.
        Query = 1 "query",
        /// The text of `/proc/self/maps`.
        Maps = 2 "maps",
        /// Probes.
        Bisect = 3 "bisect",
        /// The text of `/proc/self/smaps`.
        Smaps = 4 "smaps",
    }
}

numbers! {
    /// What was mapped at the target of a gap.
    #[derive(Default)]
    Under: u32 {
        /// Not looked at.
        #[default]
        Unknown = 0 "unknown",
        /// Nothing.
        Empty = 1 "empty",
        /// Something, which the move left alone.
        Mapped = 2 "mapped",
    }
}

numbers! {
    /// How serious a message of the shim is.
    #[derive(Default)]
    Level: u32 {
        /// Recording or emulation does not work.
        Error = 1 "error",
        /// Something differs from what the user set.
        Warning = 2 "warning",
        /// A decision of the shim.
        #[default]
        Information = 3 "information",
    }
}
