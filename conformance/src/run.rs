//! Carries a case out in a forked child and looks at the watched pages, by system calls that every
//! kernel has: `mincore` finds mapped pages, a pipe reads and writes them without faulting.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use mremap_oracle::case::{Case, PAGE, Request};
use mremap_oracle::rules::SPACE;
use mremap_oracle::runner::Resources;
use mremap_oracle::runner::layout::build;
use mremap_oracle::runner::sys::{SharedWords, in_child};

use crate::state::{Content, ELSEWHERE, Page, State};

const FIXED: u32 = 2;
/// Room for what a child writes, in words.
const ROOM: usize = 1 << 18;

/// What came of a case.
pub struct Outcome {
    /// How the child ended, as `waitpid` gives it.
    pub status: i32,
    /// The states before the first request and after each, as far as the child came.
    pub states: Vec<State>,
}

/// Carries cases out.
pub struct Runner {
    resources: Resources,
    shared: SharedWords,
}

impl Runner {
    /// A runner with its files.
    ///
    /// # Errors
    /// There is no memory for the children's answers.
    pub fn new(resources: Resources) -> Result<Self> {
        Ok(Self { resources, shared: SharedWords::new(ROOM)? })
    }

    /// Carries a case out.
    ///
    /// # Errors
    /// No child can be forked.
    pub fn run(&mut self, case: &Case, watched: &[u64]) -> Result<Outcome> {
        self.shared.clear();
        let (resources, shared) = (&self.resources, &mut self.shared);
        let status = in_child(|| {
            build(case, resources);
            if case.forked {
                // The parent keeps the layout's pages, so that they stay shared until written.
                return in_child(|| make_requests(case, watched, shared)).unwrap_or(-1);
            }
            make_requests(case, watched, shared)
        })
        .context("no child")?;
        Ok(Outcome { status, states: decode(self.shared.written()) })
    }
}

fn make_requests(case: &Case, watched: &[u64], out: &mut SharedWords) -> i32 {
    let Some(mut eye) = Eye::open() else { return 3 };
    let same = |&page: &u64| (page, page);
    // Twice, because some systems show other permissions once a page was looked at.
    eye.observe(0, watched.iter().map(same), out);
    out.clear();
    eye.observe(0, watched.iter().map(same), out);
    for request in &case.requests {
        let result = mremap(request);
        let is_elsewhere = result > 0 && request.flags & FIXED == 0 && result as u64 != request.old;
        if is_elsewhere {
            let pages = (0..request.new_len).step_by(PAGE as usize);
            let moved = pages.map(|offset| (result as u64 + offset, ELSEWHERE + offset));
            eye.observe(ELSEWHERE as i64, watched.iter().map(same).chain(moved), out);
        } else {
            eye.observe(result, watched.iter().map(same), out);
        }
    }
    0
}

/// The call under test, through libc's `syscall`, so that a preload library can interpose it and no
/// C library changes the arguments. Returns an address, or minus the errno.
fn mremap(request: &Request) -> i64 {
    let &Request { old, old_len, new_len, flags, new } = request;
    // SAFETY: the ranges belong to the case; this process uses no memory in them.
    let result =
        unsafe { libc::syscall(libc::SYS_mremap, old, old_len, new_len, u64::from(flags), new) };
    if result == -1 { -i64::from(errno()) } else { result }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Whether user space ends at 2^47, as with four levels of page tables. The cases about its end are
/// made for that.
pub fn user_space_ends_at_2_47() -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: nothing is mapped beyond 2^47 unless it is requested by address.
    let mapped = in_child(|| unsafe {
        let at = libc::mmap((1u64 << 47) as *mut _, PAGE as usize, libc::PROT_NONE, flags, -1, 0);
        i32::from(at == libc::MAP_FAILED)
    });
    mapped.is_ok_and(|status| status != 0)
}

/// The pages to look at: those of the layout and next to it, and where the requests move them.
pub fn watched(case: &Case) -> Vec<u64> {
    let mut pages = BTreeSet::new();
    for vma in &case.vmas {
        pages.extend((vma.at - PAGE..=vma.end()).step_by(PAGE as usize));
    }
    for request in &case.requests {
        let len = SPACE.page_align(request.new_len.max(request.old_len));
        let (old, new) = (request.old & !(PAGE - 1), request.new & !(PAGE - 1));
        let moved: Vec<u64> = pages
            .iter()
            .filter(|&&page| page.wrapping_sub(old.wrapping_sub(PAGE)) <= len.saturating_add(PAGE))
            .map(|page| page.wrapping_sub(old).wrapping_add(new))
            .collect();
        pages.extend(moved);
    }
    pages.retain(|page| (PAGE..SPACE.task_size).contains(page));
    pages.into_iter().collect()
}

/// Sees the pages of its own process.
struct Eye {
    reader: i32,
    writer: i32,
}

impl Eye {
    fn open() -> Option<Self> {
        let mut ends = [0; 2];
        // SAFETY: writes two descriptors.
        let done = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) };
        (done == 0).then_some(Self { reader: ends[0], writer: ends[1] })
    }

    /// Adds a state to `out`: the result, the number of words for pages, and an address and a word
    /// for each mapped page. `watched` has the address of each page and the one to show.
    fn observe(
        &mut self,
        result: i64,
        watched: impl Iterator<Item = (u64, u64)>,
        out: &mut SharedWords,
    ) {
        let mut pages = Vec::new();
        for (address, shown) in watched {
            if let Some(page) = self.page_at(address) {
                pages.extend([shown, encode(page)]);
            }
        }
        out.append(&[result as u64, pages.len() as u64]);
        out.append(&pages);
    }

    fn page_at(&mut self, address: u64) -> Option<Page> {
        let mut residence = 0u8;
        // SAFETY: one byte for one page.
        if unsafe { libc::mincore(address as *mut _, PAGE as usize, &raw mut residence) } != 0 {
            return None;
        }
        let content = self.content_of(address);
        let is_readable = content != Content::Unreadable;
        Some(Page { content, is_writable: is_readable && self.can_write(address) })
    }

    fn content_of(&mut self, address: u64) -> Content {
        let mut bytes = [0u8; PAGE as usize];
        // SAFETY: the kernel reads the page, or answers EFAULT.
        let written = unsafe { libc::write(self.writer, address as *const _, bytes.len()) };
        // SAFETY: reads into the array.
        let read = unsafe { libc::read(self.reader, bytes.as_mut_ptr().cast(), bytes.len()) };
        if written != bytes.len() as isize || read != written {
            return Content::Unreadable;
        }
        let (word, rest) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
        if rest.iter().any(|&byte| byte != 0) {
            return Content::Other;
        }
        Content::of_word(u64::from_ne_bytes(*word))
    }

    /// Writes the page's first bytes over themselves.
    fn can_write(&mut self, address: u64) -> bool {
        const BYTES: usize = 8;
        let mut rest = [0u8; BYTES];
        // SAFETY: the kernel reads and writes the page, or answers EFAULT; nothing in it changes.
        // What it could not write is read out of the pipe.
        unsafe {
            let written = libc::write(self.writer, address as *const _, BYTES);
            let read = libc::read(self.reader, address as *mut _, BYTES);
            libc::read(self.reader, rest.as_mut_ptr().cast(), BYTES);
            written == BYTES as isize && read == written
        }
    }
}

const WRITABLE: u64 = 1 << 63;

fn encode(page: Page) -> u64 {
    let content = match page.content {
        Content::Zero => 0,
        Content::Written { vma, page } => 1 << 56 | vma << 16 | page,
        Content::File(page) => 2 << 56 | page,
        Content::Unreadable => 3 << 56,
        Content::Other => 4 << 56,
    };
    content | if page.is_writable { WRITABLE } else { 0 }
}

fn decode_page(word: u64) -> Page {
    let content = match word >> 56 & 0x7f {
        0 => Content::Zero,
        1 => Content::Written { vma: word >> 16 & 0xffff, page: word & 0xffff },
        2 => Content::File(word & 0xffff),
        3 => Content::Unreadable,
        _ => Content::Other,
    };
    Page { content, is_writable: word & WRITABLE != 0 }
}

fn decode(mut words: &[u64]) -> Vec<State> {
    let mut states = Vec::new();
    while let Some((&[result, len], rest)) = words.split_first_chunk() {
        let Some((pages, rest)) = rest.split_at_checked(len as usize) else { break };
        let pages = pages.as_chunks().0.iter().map(|&[address, page]| (address, decode_page(page)));
        states.push(State { result: result as i64, pages: pages.collect() });
        words = rest;
    }
    states
}
