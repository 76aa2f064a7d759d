//! Protects the memory of this library and its trace: a program that moved or replaced them would
//! crash in the middle of its call.

use core::sync::atomic::{AtomicU64, Ordering};

use mremap_plan::{Move, Range};

use crate::emulate::capability;
use crate::recording::ring;

// The linker puts this symbol at the library's first byte, where its ELF header is.
unsafe extern "C" {
    #[link_name = "__ehdr_start"]
    static HEADER: libc::Elf64_Ehdr;
}

/// The end of the library's last segment; 0 until it is first needed.
static END: AtomicU64 = AtomicU64::new(0);

/// Whether a move would move or replace memory of this library or of its trace.
pub(crate) fn is_touched_by(wanted: &Move) -> bool {
    let target = Range { start: wanted.destination, end: wanted.destination + wanted.len };
    let library = library();
    let trial = capability::trial_pages();
    let below = Range { end: trial.start, ..library };
    let above = Range { start: trial.end, ..library };
    [below, above, ring::mapping()]
        .iter()
        .any(|own| !own.intersect(wanted.source).is_empty() || !own.intersect(target).is_empty())
}

fn library() -> Range {
    let start = (&raw const HEADER).addr() as u64;
    let mut end = END.load(Ordering::Relaxed);
    if end == 0 {
        end = start + loaded_len();
        END.store(end, Ordering::Relaxed);
    }
    Range { start, end }
}

/// Bytes from the first segment to the end of the last.
fn loaded_len() -> u64 {
    // SAFETY: the library's headers are in its first segment, which stays mapped.
    let segments = unsafe {
        let first = (&raw const HEADER).byte_add(HEADER.e_phoff as usize);
        core::slice::from_raw_parts(first.cast::<libc::Elf64_Phdr>(), usize::from(HEADER.e_phnum))
    };
    let ends = segments
        .iter()
        .filter(|segment| segment.p_type == libc::PT_LOAD)
        .map(|segment| segment.p_vaddr + segment.p_memsz);
    ends.max().unwrap_or(0)
}
