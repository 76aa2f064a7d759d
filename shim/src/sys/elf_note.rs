//! Notes of ELF files in memory: `elf(5)`, "Notes (Nhdr)".

use core::slice;

/// Finds the note with this name, which ends with a zero byte, and this type. Returns its contents.
///
/// # Safety
/// A loaded ELF file has these program headers, and the distance `base` from their addresses to
/// those in memory. It stays as long as the result is used.
pub(crate) unsafe fn find<'a>(
    base: u64,
    headers: &[libc::Elf64_Phdr],
    name: &[u8],
    kind: u32,
) -> Option<&'a [u8]> {
    for header in headers.iter().filter(|header| header.p_type == libc::PT_NOTE) {
        let address = base.wrapping_add(header.p_vaddr) as *const u8;
        // SAFETY: by the contract above, the file's notes are there.
        let mut notes = unsafe { slice::from_raw_parts(address, header.p_memsz as usize) };
        while let Some((note, rest)) = notes.split_first_chunk::<12>() {
            let word = |at: usize| {
                u32::from_ne_bytes([note[at], note[at + 1], note[at + 2], note[at + 3]])
            };
            let (name_len, len) = (word(0) as usize, word(4) as usize);
            let padded = name_len.next_multiple_of(4);
            if word(8) == kind && rest.get(..name_len) == Some(name) {
                return rest.get(padded..padded + len);
            }
            let Some(next) = rest.get(padded + len.next_multiple_of(4)..) else {
                break;
            };
            notes = next;
        }
    }
    None
}
