//! Maps the layout of a case.

use libc::{MAP_ANONYMOUS, MAP_GROWSDOWN, MAP_HUGETLB, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED};
use libc::{PROT_READ, PROT_WRITE};

use super::resources::Resources;
use super::sys;
use crate::case::{Case, FILE_PAGES, Kind, Mark, PAGE, Touch, Vma};

const MADV_GUARD_INSTALL: i32 = 102;

/// Maps a case's VMAs. Skips those that the kernel refuses, as the other runner does.
pub fn build(case: &Case, resources: &Resources) {
    for (number, vma) in case.vmas.iter().enumerate() {
        if map(vma, resources) {
            touch(vma, number as u64);
            if !matches!(vma.kind, Kind::Vvar | Kind::Vdso) {
                sys::protect(vma.at, vma.pages * PAGE, i32::from(vma.prot));
            }
            for &mark in &vma.marks {
                apply(mark, vma);
            }
        }
    }
}

/// Maps a VMA; returns whether it succeeded.
pub(super) fn map(vma: &Vma, resources: &Resources) -> bool {
    let file = |fd: Option<i32>, sharing| {
        fd.is_some_and(|fd| {
            sys::map(
                vma.at,
                vma.pages * PAGE,
                PROT_READ | PROT_WRITE,
                sharing,
                fd,
                vma.offset * PAGE,
            )
        })
    };
    match vma.kind {
        Kind::Anon => map_memory(vma, MAP_PRIVATE),
        Kind::Transparent => {
            map_memory(vma, MAP_PRIVATE)
                && sys::advise(vma.at, vma.pages * PAGE, libc::MADV_HUGEPAGE)
        }
        Kind::SharedAnon => map_memory(vma, MAP_SHARED),
        Kind::GrowsDown => map_memory(vma, MAP_PRIVATE | MAP_GROWSDOWN),
        Kind::HugePages => map_memory(vma, MAP_PRIVATE | MAP_HUGETLB),
        Kind::MemfdPrivate => file(Some(resources.memfd), MAP_PRIVATE),
        Kind::MemfdShared => file(Some(resources.memfd), MAP_SHARED),
        Kind::FilePrivate => file(Some(resources.file), MAP_PRIVATE),
        Kind::FileShared => file(Some(resources.file), MAP_SHARED),
        Kind::ZeroPrivate => file(Some(resources.zeros[vma.pages as usize % 2]), MAP_PRIVATE),
        Kind::ZeroShared => file(Some(resources.zeros[0]), MAP_SHARED),
        Kind::Ramfs => file(
            resources.ramfs,
            if vma.offset.is_multiple_of(2) { MAP_SHARED } else { MAP_PRIVATE },
        ),
        Kind::BpfMap => file(resources.bpf_map, MAP_SHARED),
        Kind::Secret => file(sys::memfd(true, vma.pages * PAGE).ok(), MAP_SHARED),
        Kind::SystemV => sys::attach_system_v(vma.at, vma.pages * PAGE),
        Kind::Vvar => move_to_case(resources.vvar, vma),
        Kind::Vdso => move_to_case(resources.vdso, vma),
    }
}

/// Maps anonymous memory.
pub(super) fn map_memory(vma: &Vma, flags: i32) -> bool {
    sys::map(
        vma.at,
        vma.pages * PAGE,
        PROT_READ | PROT_WRITE,
        flags | MAP_ANONYMOUS | MAP_NORESERVE,
        -1,
        0,
    )
}

/// Moves `[vvar]` or `[vdso]` here as a whole: it cannot be split.
fn move_to_case(mapping: Option<(u64, u64)>, vma: &Vma) -> bool {
    let Some((start, len)) = mapping.filter(|&(_, len)| len <= vma.pages * PAGE) else {
        return false;
    };
    sys::move_vma(start, len, vma.at);
    true
}

fn touch(vma: &Vma, number: u64) {
    let step = match vma.touch {
        Touch::None => return,
        Touch::First => vma.pages,
        Touch::EverySecond => 2,
        Touch::All => 1,
    };
    for page in (0..vma.pages).step_by(step as usize) {
        let at = vma.at + page * PAGE;
        if vma.kind.has_offset() && vma.offset + page >= FILE_PAGES {
            return; // beyond the file's end
        }
        if vma.kind.is_written() {
            sys::poke(at, 0x0b57_0000_0000 + (number << 16) + page);
        } else if vma.kind.has_offset() {
            sys::peek(at);
        }
    }
}

/// Marks a VMA; returns whether it succeeded.
pub(super) fn apply(mark: Mark, vma: &Vma) -> bool {
    let (at, len) = (vma.at, vma.pages * PAGE);
    match mark {
        Mark::Locked => sys::lock(at, len),
        Mark::Sealed => return sys::seal(at, len),
        Mark::Userfaultfd => return sys::register_userfaultfd(at, len),
        Mark::Guard => return sys::advise(at, PAGE, MADV_GUARD_INSTALL),
        Mark::DontFork => return sys::advise(at, len, libc::MADV_DONTFORK),
        Mark::WipeOnFork => return sys::advise(at, len, libc::MADV_WIPEONFORK),
        Mark::DontDump => return sys::advise(at, len, libc::MADV_DONTDUMP),
        Mark::Sequential => return sys::advise(at, len, libc::MADV_SEQUENTIAL),
        Mark::NoHugePages => return sys::advise(at, len, libc::MADV_NOHUGEPAGE),
        Mark::Mergeable => return sys::advise(at, len, libc::MADV_MERGEABLE),
    }
    true
}
