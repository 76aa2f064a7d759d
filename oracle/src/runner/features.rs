//! What this machine lets a case contain, by trying each kind of piece and each mark once, in a child.

use libc::MAP_PRIVATE;

use super::layout::{map, map_memory, put};
use super::resources::Resources;
use super::sys;
use crate::case::{Features, Kind, Mark, Piece, Touch};

/// Tries what not every kernel has and not everybody may do.
pub(super) fn of(resources: &Resources) -> Features {
    let mut features = Features(0);
    for kind in Kind::ALL {
        if can_map(kind, resources) {
            features.add_kind(kind);
        }
    }
    for mark in [Mark::Guard, Mark::Sealed, Mark::Userfaultfd] {
        if can_mark(mark) {
            features.add_mark(mark);
        }
    }
    features
}

fn can_map(kind: Kind, resources: &Resources) -> bool {
    let mut piece = probe();
    piece.kind = kind;
    if kind.is_huge() {
        piece.pages = 512;
    } else if matches!(kind, Kind::Vvar | Kind::Vdso) {
        piece.pages = 4;
    }
    sys::in_child(|| i32::from(!map(&piece, resources))).is_ok_and(|status| status == 0)
}

/// Whether a mark can be put on anonymous memory.
fn can_mark(mark: Mark) -> bool {
    let piece = probe();
    let works = || map_memory(&piece, MAP_PRIVATE) && put(mark, &piece);
    sys::in_child(|| i32::from(!works())).is_ok_and(|status| status == 0)
}

fn probe() -> Piece {
    Piece {
        at: 0x1000_0000_0000,
        pages: 1,
        kind: Kind::Anon,
        prot: 3,
        touch: Touch::None,
        offset: 0,
        marks: Vec::new(),
    }
}
