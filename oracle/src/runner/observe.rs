//! Observes the state of the process through `/proc`.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;

use super::smaps::{self, Entry, Watched};
use super::sys::{self, SharedWords};
use crate::case::{PAGE, Request};
use crate::observation::{Class, ELSEWHERE, Mapping, State, UNREADABLE, UNTOUCHED};

/// Mappings of the case are below this address, the program's own are above.
const END_OF_CASE: u64 = 0x5000_0000_0000;
const FIXED: u32 = 2;

/// Reads the process's own memory through `/proc`, where an unreadable page is only an error.
pub(super) struct Observer {
    memory: File,
    smaps: File,
    /// Class, device and inode. The class tells a memfd from a System V segment of equal inode.
    objects: Vec<(Class, (u64, u64))>,
    text: Vec<u8>,
    page: Vec<u8>,
}

impl Observer {
    /// Opens its files in the directory `proc`, which need not be mounted any more.
    pub(super) fn open(proc: i32) -> Option<Self> {
        Some(Self {
            memory: sys::open_in(proc, c"self/mem")?,
            smaps: sys::open_in(proc, c"self/smaps")?,
            objects: Vec::new(),
            text: vec![0; 32 << 10],
            page: vec![0; 64 << 10],
        })
    }

    /// Appends the state after a call (request, result, errno), or before any, to `out`.
    pub(super) fn observe(&mut self, call: Option<(&Request, u64, i32)>, out: &mut SharedWords) {
        let mut watched = Watched { below: END_OF_CASE, also: (0, 0) };
        let mut is_chosen_by_kernel = false;
        if let Some((request, result, _)) = call
            && (END_OF_CASE..u64::MAX).contains(&result)
        {
            let len = request.new_len.next_multiple_of(PAGE);
            watched.also = (result, result.saturating_add(len));
            is_chosen_by_kernel = request.flags & FIXED == 0;
        }
        let entries = self.mappings(watched);
        let mut state = State {
            result: call.map_or(0, |(_, result, _)| result),
            errno: call.map_or(UNTOUCHED, |(_, _, errno)| errno) as u64,
            mappings: Vec::with_capacity(entries.len()),
            pages: Vec::new(),
        };
        if is_chosen_by_kernel {
            state.result = ELSEWHERE;
        }
        for entry in entries {
            if call.is_some() {
                self.read_pages(&entry.mapping, &mut state.pages);
            }
            state.mappings.push(self.comparable(&entry, watched, is_chosen_by_kernel));
        }
        let mut words = Vec::new();
        state.encode(&mut words);
        out.append(&words);
    }

    fn mappings(&mut self, watched: Watched) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(64);
        if self.smaps.rewind().is_err() {
            return entries;
        }
        let mut filled = 0;
        while let Ok(count @ 1..) = self.smaps.read(&mut self.text[filled..]) {
            filled += count;
            let (more, used) = smaps::parse(&self.text[..filled], watched, &mut entries);
            if !more {
                break;
            }
            self.text.copy_within(used..filled, 0);
            filled -= used;
        }
        entries
    }

    /// Makes a mapping comparable: numbers its object, and replaces an address that the kernel
    /// chose.
    fn comparable(
        &mut self,
        entry: &Entry,
        watched: Watched,
        is_chosen_by_kernel: bool,
    ) -> Mapping {
        let mut mapping = entry.mapping;
        if mapping.object != 0 {
            // /dev/zero is one object under any path, since creating another device node needs
            // root.
            let is_zero = mapping.class == Class::DevZero;
            let object = (mapping.class, if is_zero { (0, 0) } else { entry.inode });
            let known = self.objects.iter().position(|&known| known == object);
            let index = known.unwrap_or_else(|| {
                self.objects.push(object);
                self.objects.len() - 1
            });
            mapping.object = index as u64 + 1;
        }
        if is_chosen_by_kernel && mapping.start >= END_OF_CASE {
            // Private memory of /dev/zero has its address as its offset.
            if mapping.offset == mapping.start {
                mapping.offset = mapping.offset - watched.also.0 + ELSEWHERE;
            }
            mapping.start = mapping.start - watched.also.0 + ELSEWHERE;
            mapping.end = mapping.end - watched.also.0 + ELSEWHERE;
        }
        mapping
    }

    fn read_pages(&mut self, mapping: &Mapping, pages: &mut Vec<u64>) {
        let mut at = mapping.start;
        while at < mapping.end {
            let wanted = (mapping.end - at).min(self.page.len() as u64) as usize;
            let count = self.memory.read_at(&mut self.page[..wanted], at).unwrap_or(0);
            let whole = count / PAGE as usize;
            pages.extend(
                self.page[..whole * PAGE as usize].chunks_exact(PAGE as usize).map(fingerprint),
            );
            at += whole as u64 * PAGE;
            if whole * (PAGE as usize) < wanted {
                pages.push(UNREADABLE);
                at += PAGE;
            }
        }
    }
}

/// The hash of a page, never [`UNREADABLE`].
fn fingerprint(page: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut lanes = [1u64, 2, 3, 4];
    for chunk in page.chunks_exact(32) {
        for (lane, word) in lanes.iter_mut().zip(chunk.chunks_exact(8)) {
            let word = u64::from_ne_bytes(word.try_into().unwrap_or_default());
            *lane = (lane.rotate_left(5) ^ word).wrapping_mul(ODD);
        }
    }
    lanes.iter().fold(0u64, |sum, lane| sum.rotate_left(9) ^ lane) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_depends_on_every_word() {
        let page = vec![0u8; PAGE as usize];
        for at in (0..page.len()).step_by(8) {
            let mut other = page.clone();
            other[at] = 2;
            assert_ne!(fingerprint(&page), fingerprint(&other), "byte {at}");
        }
    }
}
