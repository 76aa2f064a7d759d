//! Why a call failed, by its errno and arguments, in the order of the kernel's own checks.

use mremap_trace::{Call, Capability, Header, Outcome};

use super::event::is_move;
use super::names::{self, DONTUNMAP, FIXED, MAYMOVE};

/// No process has memory above this address, on any supported machine.
const BEYOND_ANY_TASK: u64 = 1 << 56;
/// Most processes have none above this one, unless they asked for it.
const BEYOND_MOST_TASKS: u64 = 1 << 47;

/// The reason of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // `cause` says what each is
pub enum Reason {
    FailedResult,
    UnknownFlags,
    UnalignedSource,
    NothingAsked,
    BeyondAddressSpace,
    FixedMustMove,
    UnalignedDestination,
    DontunmapResizes,
    Overlap,
    OtherInvalid,
    NotOneMapping,
    SeveralMappings,
    NotMovable,
    NoRoom,
    StackProbe,
    Limit,
    Locked,
    Sealed,
    NoSuchCall,
    Unlisted,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Why {
    /// The errno.
    pub errno: u32,
    /// The reason.
    pub reason: Reason,
}

impl Why {
    /// Returns why a call failed; `None` if it did not.
    #[cold]
    pub fn of(call: &Call, header: &Header) -> Option<Self> {
        let page_size = header.page_size;
        let native = matches!(call.outcome, Outcome::PassedThrough | Outcome::Native);
        let errno = call.errno()?;
        let reason = match errno {
            1 => Reason::Sealed,
            11 => Reason::Locked,
            12 if is_stack_probe(call, page_size) => Reason::StackProbe,
            12 if call.flags & MAYMOVE == 0 && call.new_len > call.old_len => Reason::NoRoom,
            12 => Reason::Limit,
            14 if !is_move(call, page_size) => Reason::NotOneMapping,
            14 if native && header.capability != Some(Capability::MultiVma) => {
                Reason::SeveralMappings
            }
            14 => Reason::NotMovable,
            22 => invalid(call, u64::from(page_size.max(1)).next_power_of_two()),
            38 => Reason::NoSuchCall,
            _ => Reason::Unlisted,
        };
        Some(Self { errno, reason })
    }

    /// Returns the name of the errno.
    pub fn errno(self) -> String {
        names::errno(self.errno)
    }
}

/// Whether a call only tests if the page after a mapped page is mapped, as `pthread_getattr_np` of
/// musl does page by page until `EFAULT`.
fn is_stack_probe(call: &Call, page_size: u32) -> bool {
    let page = u64::from(page_size);
    call.flags == 0 && (call.old_len, call.new_len) == (page, 2 * page)
}

/// Finds the reason of `EINVAL`, in the order of the kernel's checks (`check_mremap_params`).
fn invalid(call: &Call, page: u64) -> Reason {
    let places = call.flags & (FIXED | DONTUNMAP) != 0;
    let rounded = |len: u64| len.saturating_add(page - 1) & !(page - 1);
    let ends_above = |limit: u64| {
        let start = if places { call.new } else { 0 };
        start.checked_add(rounded(call.new_len)).is_none_or(|end| end > limit)
    };
    let (old_len, new_len) = (rounded(call.old_len), rounded(call.new_len));
    if call.old == u64::MAX {
        Reason::FailedResult
    } else if call.flags & !(MAYMOVE | FIXED | DONTUNMAP) != 0 {
        Reason::UnknownFlags
    } else if !call.old.is_multiple_of(page) {
        Reason::UnalignedSource
    } else if call.new_len == 0 {
        Reason::NothingAsked
    } else if ends_above(BEYOND_ANY_TASK) {
        Reason::BeyondAddressSpace
    } else if places && call.flags & MAYMOVE == 0 {
        Reason::FixedMustMove
    } else if call.flags & DONTUNMAP != 0 && old_len != new_len {
        Reason::DontunmapResizes
    } else if call.flags & FIXED != 0 && !call.new.is_multiple_of(page) {
        Reason::UnalignedDestination
    } else if call.flags & FIXED != 0
        && call.old < call.new.saturating_add(new_len)
        && call.new < call.old.saturating_add(old_len)
    {
        Reason::Overlap
    } else if ends_above(BEYOND_MOST_TASKS) {
        // Nothing else is wrong with the arguments.
        Reason::BeyondAddressSpace
    } else {
        Reason::OtherInvalid
    }
}

impl Reason {
    /// Returns the name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::FailedResult => "failed-result",
            Self::UnknownFlags => "unknown-flags",
            Self::UnalignedSource => "unaligned-source",
            Self::NothingAsked => "nothing-asked",
            Self::BeyondAddressSpace => "beyond-address-space",
            Self::FixedMustMove => "fixed-must-move",
            Self::UnalignedDestination => "unaligned-destination",
            Self::DontunmapResizes => "dontunmap-resizes",
            Self::Overlap => "overlap",
            Self::OtherInvalid => "other-invalid",
            Self::NotOneMapping => "not-one-mapping",
            Self::SeveralMappings => "several-mappings",
            Self::NotMovable => "not-movable",
            Self::NoRoom => "no-room",
            Self::StackProbe => "stack-probe",
            Self::Limit => "limit",
            Self::Locked => "locked",
            Self::Sealed => "sealed",
            Self::NoSuchCall => "no-such-call",
            Self::Unlisted => "unlisted",
        }
    }

    /// Returns the cause, in a few words.
    pub fn cause(self) -> &'static str {
        match self {
            Self::FailedResult => {
                "MAP_FAILED was handed on as the source: an earlier call's failure went unnoticed"
            }
            Self::UnknownFlags => "a flag that is none of mremap's",
            Self::UnalignedSource => "the source does not begin at a page",
            Self::NothingAsked => "the new length is 0",
            Self::BeyondAddressSpace => "the new range ends beyond the address space",
            Self::FixedMustMove => "MREMAP_FIXED or MREMAP_DONTUNMAP without MREMAP_MAYMOVE",
            Self::UnalignedDestination => "the destination does not begin at a page",
            Self::DontunmapResizes => "MREMAP_DONTUNMAP with two different lengths",
            Self::Overlap => "source and destination overlap",
            Self::OtherInvalid => {
                "the request does not suit the mapping (old length 0 of private memory, hugetlb alignment, or the end \
                 of the address space)"
            }
            Self::NotOneMapping => {
                "the range to resize is not one mapping: part of it is unmapped, or has other rights or another file"
            }
            Self::SeveralMappings => {
                "nothing is mapped at the start of the range, or it holds several mappings and this kernel was asked \
                 to move them itself"
            }
            Self::NotMovable => {
                "nothing is mapped at the start of the range, or a mapping in it may not move with others \
                 (userfaultfd, a driver's own placing)"
            }
            Self::NoRoom => {
                "no room to grow in place, and moving was not allowed (or, since Linux 7.1, the process is near \
                 vm.max_map_count)"
            }
            Self::StackProbe => {
                "normal: a growth from one page to two that must not move, which fails while the next page is mapped; \
                 musl's pthread_getattr_np finds the end of the stack in this manner"
            }
            Self::Limit => {
                "a limit was reached: mappings (vm.max_map_count), address space, or committed memory"
            }
            Self::Locked => "locked memory beyond RLIMIT_MEMLOCK",
            Self::Sealed => "a sealed mapping (mseal) in the source or the destination",
            Self::NoSuchCall => "the kernel, or a seccomp filter, knows no mremap here",
            Self::Unlisted => "an answer that mremap(2) does not list",
        }
    }

    /// Returns what to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::FailedResult => "test every result against MAP_FAILED before using it",
            Self::UnknownFlags => "pass MREMAP_MAYMOVE, MREMAP_FIXED and MREMAP_DONTUNMAP only",
            Self::UnalignedSource | Self::UnalignedDestination => {
                "round the address down to the page size"
            }
            Self::NothingAsked => "use munmap to give memory back",
            Self::BeyondAddressSpace => "ask for a place below the end of user space, or for less",
            Self::FixedMustMove => "add MREMAP_MAYMOVE",
            Self::DontunmapResizes => "move first and resize afterwards",
            Self::Overlap => "move by way of a third place, or copy",
            Self::OtherInvalid => "compare the arguments (`events`) with mremap(2)",
            Self::NotOneMapping => {
                "resize each mapping by itself; one mmap and one set of rights make one mapping"
            }
            Self::SeveralMappings => {
                "compare the range with /proc/PID/maps; before Linux 6.17 run without --mode passthrough"
            }
            Self::NotMovable => {
                "move such a mapping alone, and begin the range where something is mapped"
            }
            Self::NoRoom => "pass MREMAP_MAYMOVE, or reserve more address space first",
            Self::StackProbe => "nothing: the call is meant to fail",
            Self::Limit => {
                "raise vm.max_map_count, RLIMIT_AS or the commit limit, or use fewer and larger mappings"
            }
            Self::Locked => "raise the limit, or unlock first",
            Self::Sealed => "leave it where it is: it can be neither moved nor replaced",
            Self::NoSuchCall => "allow the system call",
            Self::Unlisted => "look for a seccomp filter or another preloaded library",
        }
    }
}

#[cfg(test)]
mod tests {
    use mremap_trace::{Call, Capability, Header, Outcome};

    use super::{Reason, Why};

    const PAGE: u64 = 4096;

    fn header(capability: Capability) -> Header {
        Header { page_size: 4096, capability: Some(capability), ..Header::default() }
    }

    fn call(old: u64, lens: (u64, u64), flags: u32, new: u64, errno: i64) -> Call {
        Call {
            outcome: Outcome::PassedThrough,
            ticks: 0,
            duration: 0,
            old,
            old_len: lens.0,
            new_len: lens.1,
            flags,
            new,
            result: -errno,
            caller: 0,
        }
    }

    #[test]
    fn finds_the_reason_by_the_arguments() {
        let old = 0x7000_0000;
        for (call, reason) in [
            (call(u64::MAX, (PAGE, PAGE), 1, 0, 22), Reason::FailedResult),
            (call(old, (PAGE, PAGE), 8, 0, 22), Reason::UnknownFlags),
            (call(old + 1, (PAGE, PAGE), 1, 0, 22), Reason::UnalignedSource),
            (call(old, (PAGE, 0), 1, 0, 22), Reason::NothingAsked),
            (call(old, (PAGE, PAGE), 3, 1 << 60, 22), Reason::BeyondAddressSpace),
            (call(old, (PAGE, 1 << 50), 1, 0, 22), Reason::BeyondAddressSpace),
            (call(old, (PAGE, PAGE), 2, 0x9000_0000, 22), Reason::FixedMustMove),
            (call(old, (PAGE, PAGE), 2, 1 << 50, 22), Reason::FixedMustMove),
            (call(old, (PAGE, 2 * PAGE), 5, 0, 22), Reason::DontunmapResizes),
            (call(old, (PAGE, PAGE), 3, 0x9000_0001, 22), Reason::UnalignedDestination),
            (call(old, (4 * PAGE, 4 * PAGE), 3, old + PAGE, 22), Reason::Overlap),
            (call(old, (0, PAGE), 1, 0, 22), Reason::OtherInvalid),
            (call(old, (PAGE, 3 * PAGE), 0, 0, 12), Reason::NoRoom),
            (call(old, (PAGE, 2 * PAGE), 0, 0, 12), Reason::StackProbe),
            (call(old, (2 * PAGE, PAGE), 0, 0, 12), Reason::Limit),
            (call(old, (PAGE, 2 * PAGE), 1, 0, 12), Reason::Limit),
            (call(old, (PAGE, 2 * PAGE), 1, 0, 14), Reason::NotOneMapping),
            (call(old, (PAGE, PAGE), 3, 0x9000_0000, 14), Reason::SeveralMappings),
        ] {
            assert_eq!(
                Why::of(&call, &header(Capability::OneVma)).map(|why| why.reason),
                Some(reason),
                "{call:?}"
            );
        }
        assert_eq!(Why::of(&call(old, (PAGE, PAGE), 0, 0, 0), &header(Capability::OneVma)), None);
        let refused = call(old, (PAGE, PAGE), 3, 0x9000_0000, 14);
        let by_new_kernel = Why::of(&refused, &header(Capability::MultiVma)).map(|why| why.reason);
        assert_eq!(by_new_kernel, Some(Reason::NotMovable));
    }
}
