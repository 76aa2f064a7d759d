//! Finds the VMAs of a range: the boundaries with [`bisect`], which needs nothing but `mremap` and `mmap`; by
//! asking [`procmap`], where there are many; by what stands behind them in [`procmap`] or [`maps`], where
//! [`evidence`] says that names matter.

mod bisect;
pub(crate) mod evidence;
mod maps;
mod procmap;

use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering};

use mremap_plan::{AddressSpace, Backing, Range, Request, Vma, VmaSource};
use mremap_trace::Module;

use bisect::NotFound;
pub(crate) use bisect::{OneVma, is_one_vma};

use crate::config;
use crate::sandbox;
use crate::sys::{self, Failed, OpenFile};

/// `/proc/self` is empty once the leading thread has exited; this one is not.
const MAPS: &CStr = c"/proc/thread-self/maps";
/// The same with details, which walks page tables.
const SMAPS: &CStr = c"/proc/thread-self/smaps";

/// How VMAs are found. The numbers are those of the trace.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Way {
    Query = 1,
    Maps = 2,
    Bisect = 3,
    Smaps = 4,
}

/// Where the VMAs of one move come from. The buffers of every way stand in it: there is no heap to put them
/// on, and the stack may be a signal's.
pub(crate) struct Source {
    way: Way,
    file: Option<OpenFile>,
    names: procmap::Names,
    text: maps::Text,
    bisection: bisect::Bisection,
    /// VMAs to find by bisection before a file is worth being opened.
    left_to_bisect: u32,
}

/// Opening a maps file costs as much as a dozen VMAs found by bisection; after twice that a query for each
/// is the cheaper way to go on.
const BISECTED_BEFORE_QUERY: u32 = 24;

impl Source {
    /// A source that [`Self::open`] has still to be called on: made in its place on the stack, of which there
    /// may be little.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    pub(crate) fn new() -> Self {
        Self {
            way: Way::Bisect,
            file: None,
            names: procmap::Names::new(),
            text: maps::Text::new(),
            bisection: bisect::Bisection::new(),
            left_to_bisect: u32::MAX,
        }
    }

    /// Takes the way that is cheapest for what may be met here and now, or the one the settings name. A way
    /// that cannot be had gives way to bisection, which always can.
    pub(crate) fn open(&mut self) {
        self.choose();
        if config::vma_source() == config::VmaSource::Auto && !sandbox::is_filtered() {
            self.left_to_bisect = BISECTED_BEFORE_QUERY;
        }
    }

    /// Gives up on the way chosen, for the one that asks for nothing a sandbox could refuse; false when that
    /// was it.
    pub(crate) fn fall_back(&mut self) -> bool {
        let had_another = self.way != Way::Bisect;
        (self.way, self.file) = (Way::Bisect, None);
        self.left_to_bisect = u32::MAX;
        had_another
    }

    /// As the trace names it: the way taken last.
    pub(crate) fn number(&self) -> u32 {
        self.way as u32
    }

    /// Forgets what was read ahead: the address space has changed under it.
    pub(crate) fn restart(&mut self) {
        self.names.forget_ahead();
        if let Way::Maps | Way::Smaps = self.way {
            self.text.clear();
            self.choose();
        }
    }

    fn choose(&mut self) {
        (self.way, self.file) = (Way::Bisect, None);
        if sandbox::is_filtered() {
            return;
        }
        if evidence::userfaultfd_made()
            && let Ok(file) = OpenFile::open(SMAPS)
        {
            (self.way, self.file) = (Way::Smaps, Some(file));
            return;
        }
        let wanted = config::vma_source();
        let bisect = match wanted {
            // Who wants VMAs recorded wants their rights as well.
            config::VmaSource::Auto => {
                !config::records_vmas() && !evidence::names_matter(|| self.some_vma_is_placed_by_its_driver())
            }
            _ => wanted == config::VmaSource::Bisect,
        };
        if !bisect && let Some((way, file)) = by_proc(wanted) {
            (self.way, self.file) = (way, Some(file));
        }
    }

    /// Looks at every mapping of a file. True when nobody can tell.
    #[cold]
    fn some_vma_is_placed_by_its_driver(&mut self) -> bool {
        let Ok(file) = OpenFile::open(MAPS) else {
            return true;
        };
        let found = if procmap::works_on(&file) {
            self.names
                .some_vma_is_placed_by_its_driver(&file, self.text.room())
        } else {
            self.text.some_vma_is_placed_by_its_driver(&file)
        };
        self.text.clear();
        found.unwrap_or(true)
    }

    fn next_by_bisection(&mut self, from: u64, until: u64) -> Result<Option<Vma>, Failed> {
        self.left_to_bisect = self.left_to_bisect.saturating_sub(1);
        if self.left_to_bisect == 0 {
            self.left_to_bisect = u32::MAX;
            if let Some(file) = open_for_queries() {
                (self.way, self.file) = (Way::Query, Some(file));
                return self.next_vma(from, until);
            }
        }
        match self.bisection.next_vma(from, until) {
            Ok(found) => Ok(found),
            Err(NotFound::Failed(failed)) => Err(failed),
            Err(NotFound::Silent(start)) => self.next_of_silent(start, until),
        }
    }

    /// A VMA that answers no question ([vvar], device memory): `/proc` knows it; without it, page by page.
    #[cold]
    fn next_of_silent(&mut self, start: u64, until: u64) -> Result<Option<Vma>, Failed> {
        if sandbox::is_filtered() {
            return Ok(Some(one_page_at(start)));
        }
        match by_proc(config::VmaSource::Auto) {
            Some((way, file)) => {
                (self.way, self.file) = (way, Some(file));
                self.next_vma(start, until)
            }
            None => Ok(Some(one_page_at(start))),
        }
    }
}

fn one_page_at(start: u64) -> Vma {
    Vma {
        range: Range {
            start,
            end: start + page_size(),
        },
        backing: Backing::Unknown,
        ..Vma::default()
    }
}

impl VmaSource for Source {
    type Error = Failed;

    fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<Vma>, Failed> {
        match (self.way, &self.file) {
            (Way::Query, Some(file)) => self.names.next_vma(file, self.text.room(), from, until),
            (Way::Maps, Some(file)) => self.text.next_vma(file, from, until, maps::Detail::None),
            (Way::Smaps, Some(file)) => self.text.next_vma(file, from, until, maps::Detail::Flags),
            _ => self.next_by_bisection(from, until),
        }
    }
}

/// By what `/proc` says, if it says anything.
fn by_proc(wanted: config::VmaSource) -> Option<(Way, OpenFile)> {
    let file = OpenFile::open(MAPS).ok()?;
    if wanted != config::VmaSource::Maps && procmap::works_on(&file) {
        return Some((Way::Query, file));
    }
    (wanted != config::VmaSource::Query).then_some((Way::Maps, file))
}

fn open_for_queries() -> Option<OpenFile> {
    procmap::may_work()
        .then(|| OpenFile::open(MAPS).ok())?
        .filter(procmap::works_on)
}

/// Finds the mapping that holds an address of code, and tells `take` its range, what the trace says of it, and
/// its path, which is empty for memory. Not at all where `/proc` cannot be read.
pub(crate) fn find_module(address: u64, take: impl FnOnce(Range, Module, &[u8])) {
    let Ok(file) = OpenFile::open(MAPS) else {
        return;
    };
    if procmap::works_on(&file) {
        procmap::find_module(&file, address, take);
    } else {
        find_module_in_text(&file, address, take);
    }
}

#[inline(never)] // its buffers stay off the stack where the kernel can be asked
fn find_module_in_text(maps: &OpenFile, address: u64, take: impl FnOnce(Range, Module, &[u8])) {
    maps::Text::new().find_module(maps, address, take);
}

/// What the trace says of a mapping, without what its source cannot tell.
fn module_of(vma: &Vma) -> Module {
    Module {
        start: vma.range.start,
        end: vma.range.end,
        offset: vma.offset,
        ..Module::default()
    }
}

/// Settles what a name alone does not tell: ramfs places its own mappings, the other file systems without
/// a block device (tmpfs, overlayfs, btrfs, NFS) do not; and a private mapping of the device that `/dev/zero`
/// is may go by any path.
fn settle_backing(mut vma: Vma, path: &[u8]) -> Vma {
    if vma.backing == Backing::PlacedByDriver {
        return vma;
    }
    let mut buffer = [0u8; 256];
    let path = c_path(path, &mut buffer);
    let is_private = vma.protection.is_some_and(|known| !known.shared);
    let on_ramfs = |path| sys::file_system(path) == Ok(RAMFS_MAGIC);
    let is_zero = |path| is_private && sys::device(path) == Ok(ZERO_DEVICE);
    let placed =
        path.is_some_and(|path| vma.backing == Backing::UnnumberedFile && on_ramfs(path) || is_zero(path));
    vma.backing = if placed {
        Backing::PlacedByDriver
    } else {
        Backing::Movable
    };
    vma
}

const RAMFS_MAGIC: i64 = 0x8584_58f6;
/// Major and minor number of `/dev/zero`.
const ZERO_DEVICE: (u32, u32) = (1, 5);

/// A path that names a file, ended by a NUL in `buffer`. A file that is gone cannot be asked, nor can `[heap]`.
fn c_path<'a>(path: &[u8], buffer: &'a mut [u8; 256]) -> Option<&'a CStr> {
    if path.first() != Some(&b'/') || path.ends_with(b" (deleted)") || path.len() >= buffer.len() {
        return None;
    }
    buffer[..path.len()].copy_from_slice(path);
    CStr::from_bytes_until_nul(buffer).ok()
}

/// Whether something is mapped in the page at `address`.
pub(crate) fn is_mapped(address: u64) -> bool {
    sys::mmap_that_never_maps(address, page_size()) == Failed(libc::EEXIST)
}

static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn page_size() -> u64 {
    let known = PAGE_SIZE.load(Ordering::Relaxed);
    if known != 0 {
        return known as u64;
    }
    // SAFETY: reads the auxiliary vector, which is there before any code of the program runs.
    let page = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
    PAGE_SIZE.store(page, Ordering::Relaxed);
    page as u64
}

/// Every `TASK_SIZE` of this architecture is at least this.
const SMALLEST_TASK_SIZE: u64 = if cfg!(target_arch = "x86_64") {
    (1 << 47) - 4096
} else {
    1 << 36
};

/// `TASK_SIZE` is this much above the length that nothing can grow to.
const ABOVE_IMPOSSIBLE_LENGTH: u64 = if cfg!(target_arch = "x86_64") {
    65536 - 4096
} else {
    65536
};

/// `end`, or `TASK_SIZE` where that is lower: nothing is mapped behind it, and `mmap` cannot be asked there.
fn below_task_size(end: u64) -> u64 {
    if end <= SMALLEST_TASK_SIZE {
        return end;
    }
    let page = page_size();
    bisect::IMPOSSIBLE_LENGTHS
        .iter()
        .map(|len| len + ABOVE_IMPOSSIBLE_LENGTH)
        .find(|limit| sys::mmap_that_never_maps(limit - page, page) != Failed(libc::ENOMEM))
        .map_or(end, |limit| end.min(limit))
}

/// What is true of every kernel of this architecture.
pub(crate) fn smallest_address_space() -> AddressSpace {
    AddressSpace {
        page_size: page_size(),
        task_size: SMALLEST_TASK_SIZE,
    }
}

/// The limits that a request is judged by. Only a destination near or beyond the smallest `TASK_SIZE`
/// makes us ask the kernel for its own.
pub(crate) fn address_space_for(request: &Request) -> AddressSpace {
    let space = smallest_address_space();
    let len = space.page_align(request.new_len);
    let end = request.new.saturating_add(len);
    if len == 0 || end <= SMALLEST_TASK_SIZE {
        return space;
    }
    match sys::mmap_that_never_maps(request.new & !(space.page_size - 1), len) {
        Failed(libc::EEXIST | libc::EINVAL | libc::EAGAIN) => AddressSpace {
            task_size: end,
            ..space
        },
        Failed(_) => space,
    }
}
