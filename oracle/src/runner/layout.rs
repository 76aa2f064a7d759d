//! Makes a layout of the pieces of a case.

use libc::{MAP_ANONYMOUS, MAP_GROWSDOWN, MAP_HUGETLB, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED};
use libc::{PROT_READ, PROT_WRITE};

use super::resources::Resources;
use super::sys;
use crate::case::{Case, FILE_PAGES, Kind, Mark, PAGE, Piece, Touch};

const MADV_GUARD_INSTALL: i32 = 102;

/// Lays a case out. What the kernel refuses is not there: it refuses the same thing twice.
pub(super) fn build(case: &Case, resources: &Resources) {
    for (number, piece) in case.pieces.iter().enumerate() {
        if map(piece, resources) {
            touch(piece, number as u64);
            if !matches!(piece.kind, Kind::Vvar | Kind::Vdso) {
                sys::protect(piece.at, piece.pages * PAGE, i32::from(piece.prot));
            }
            for &mark in &piece.marks {
                put(mark, piece);
            }
        }
    }
}

/// Maps a piece; whether the kernel did.
pub(super) fn map(piece: &Piece, resources: &Resources) -> bool {
    let file = |fd: Option<i32>, sharing| {
        fd.is_some_and(|fd| {
            sys::map(
                piece.at,
                piece.pages * PAGE,
                PROT_READ | PROT_WRITE,
                sharing,
                fd,
                piece.offset * PAGE,
            )
        })
    };
    match piece.kind {
        Kind::Anon => map_memory(piece, MAP_PRIVATE),
        Kind::Transparent => {
            map_memory(piece, MAP_PRIVATE)
                && sys::advise(piece.at, piece.pages * PAGE, libc::MADV_HUGEPAGE)
        }
        Kind::SharedAnon => map_memory(piece, MAP_SHARED),
        Kind::GrowsDown => map_memory(piece, MAP_PRIVATE | MAP_GROWSDOWN),
        Kind::HugePages => map_memory(piece, MAP_PRIVATE | MAP_HUGETLB),
        Kind::MemfdPrivate => file(Some(resources.memfd), MAP_PRIVATE),
        Kind::MemfdShared => file(Some(resources.memfd), MAP_SHARED),
        Kind::FilePrivate => file(Some(resources.file), MAP_PRIVATE),
        Kind::FileShared => file(Some(resources.file), MAP_SHARED),
        Kind::ZeroPrivate => file(Some(resources.zeros[piece.pages as usize % 2]), MAP_PRIVATE),
        Kind::ZeroShared => file(Some(resources.zeros[0]), MAP_SHARED),
        Kind::Ramfs => file(
            resources.ramfs,
            if piece.offset.is_multiple_of(2) { MAP_SHARED } else { MAP_PRIVATE },
        ),
        Kind::BpfMap => file(resources.bpf_map, MAP_SHARED),
        Kind::Secret => file(sys::memfd(true, piece.pages * PAGE).ok(), MAP_SHARED),
        Kind::SystemV => sys::attach_system_v(piece.at, piece.pages * PAGE),
        Kind::Vvar => bring(resources.vvar, piece),
        Kind::Vdso => bring(resources.vdso, piece),
    }
}

/// Maps memory without a file.
pub(super) fn map_memory(piece: &Piece, flags: i32) -> bool {
    sys::map(
        piece.at,
        piece.pages * PAGE,
        PROT_READ | PROT_WRITE,
        flags | MAP_ANONYMOUS | MAP_NORESERVE,
        -1,
        0,
    )
}

/// Brings one of the kernel's own mappings here, whole: it cannot be cut.
fn bring(mapping: Option<(u64, u64)>, piece: &Piece) -> bool {
    let Some((start, len)) = mapping.filter(|&(_, len)| len <= piece.pages * PAGE) else {
        return false;
    };
    sys::move_whole(start, len, piece.at);
    true
}

fn touch(piece: &Piece, number: u64) {
    let step = match piece.touch {
        Touch::None => return,
        Touch::First => piece.pages,
        Touch::EverySecond => 2,
        Touch::All => 1,
    };
    for page in (0..piece.pages).step_by(step as usize) {
        let at = piece.at + page * PAGE;
        if piece.kind.has_offset() && piece.offset + page >= FILE_PAGES {
            return; // nothing to touch beyond a file's end
        }
        if piece.kind.is_written() {
            sys::poke(at, 0x0b57_0000_0000 + (number << 16) + page);
        } else if piece.kind.has_offset() {
            sys::peek(at);
        }
    }
}

/// Puts a mark on a piece; whether the kernel took it.
pub(super) fn put(mark: Mark, piece: &Piece) -> bool {
    let (at, len) = (piece.at, piece.pages * PAGE);
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
