//! Finds the supported kinds and marks by trying each once in a child.

use libc::MAP_PRIVATE;

use super::layout::{apply, map, map_memory};
use super::resources::Resources;
use super::sys;
use crate::case::{Features, Kind, Mark, Touch, Vma};

/// Tries every kind and mark.
pub(super) fn of(resources: &Resources) -> Features {
    let mut features = Features(0);
    for kind in Kind::ALL {
        if can_map(kind, resources) {
            features.add(kind);
        }
    }
    for mark in Mark::ALL {
        if can_mark(mark) {
            features.add(mark);
        }
    }
    features
}

fn can_map(kind: Kind, resources: &Resources) -> bool {
    let mut vma = probe();
    vma.kind = kind;
    if kind.is_huge() {
        vma.pages = 512;
    } else if matches!(kind, Kind::Vvar | Kind::Vdso) {
        vma.pages = 4;
    }
    sys::in_child(|| i32::from(!map(&vma, resources))).is_ok_and(|status| status == 0)
}

/// Whether anonymous memory can be marked so.
fn can_mark(mark: Mark) -> bool {
    let vma = probe();
    let works = || map_memory(&vma, MAP_PRIVATE) && apply(mark, &vma);
    sys::in_child(|| i32::from(!works())).is_ok_and(|status| status == 0)
}

fn probe() -> Vma {
    Vma {
        at: 0x1000_0000_0000,
        pages: 1,
        kind: Kind::Anon,
        prot: 3,
        touch: Touch::None,
        offset: 0,
        marks: Vec::new(),
    }
}
