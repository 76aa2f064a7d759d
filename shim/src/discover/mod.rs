//! Finds the VMAs of a range, by one of these methods:
//!
//! 1. [`probing`], with system calls that change nothing. Always works, and sees boundaries only.
//! 2. [`query`], with `PROCMAP_QUERY` (6.11): where probing has become more expensive.
//! 3. [`text`], by reading `maps`, or `smaps` for userfaultfd: where names or flags matter, as
//!    [`evidence`] says, or a VMA answers no probe.

pub(crate) mod backing;
mod prefetched;
mod probing;
mod query;
mod text;

use mremap_plan::{Range, Vma, VmaSource};
use mremap_trace::FoundBy;

use self::backing::Backings;
use self::prefetched::Prefetched;
use self::probing::{NotFound, Probing};
use self::query::Querying;
use crate::hooks::evidence::{self, Files};
use crate::process::address_space::page_size;
use crate::process::config;
use crate::process::seccomp;
use crate::sys::proc_maps::{self, Lines, MapsFile};
use crate::sys::{self, Errno, probe};

/// The VMAs of one move. The buffers of every method are part of it: there is no heap, and the
/// stack may be a signal's.
pub(crate) struct Source {
    method: FoundBy,
    file: Option<MapsFile>,
    prefetched: Prefetched,
    probing: Probing,
    querying: Querying,
    backings: Backings,
    lines: Lines,
}

impl Source {
    /// A source on which [`Self::open`] must be called. Made in place, since the stack may be
    /// small.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    pub(crate) fn new() -> Self {
        Self {
            method: FoundBy::Bisect,
            file: None,
            prefetched: Prefetched::new(),
            probing: Probing::new(),
            querying: Querying::new(),
            backings: Backings::new(),
            lines: Lines::new(),
        }
    }

    /// Chooses the method: the one of the settings, or the cheapest that sees what matters. Falls
    /// back to probing.
    pub(crate) fn open(&mut self) {
        (self.method, self.file) = (FoundBy::Bisect, None);
        self.probing.set_may_query(is_free_to_choose() && proc_maps::query_may_work());
        if seccomp::is_filtered() {
            return;
        }
        if evidence::userfaultfd_made()
            && let Ok(file) = MapsFile::open_smaps()
        {
            (self.method, self.file) = (FoundBy::Smaps, Some(file));
            return;
        }
        let wanted = config::vma_source();
        let probing_will_do = match wanted {
            // A trace with VMAs has their protection, too.
            config::VmaSource::Auto => {
                probe::sees_mappings()
                    && !config::records_vmas()
                    && !evidence::names_matter(|| self.check_files())
            }
            _ => wanted == config::VmaSource::Bisect,
        };
        if !probing_will_do {
            self.open_maps(wanted);
        }
    }

    /// Notes that the range of the move is not one VMA.
    pub(crate) fn range_crosses_boundaries(&mut self) {
        self.probing.range_crosses_boundaries();
    }

    /// Replaces a method that failed by probing. False when that has failed.
    pub(crate) fn fall_back(&mut self) -> bool {
        let had_another = self.method != FoundBy::Bisect;
        (self.method, self.file) = (FoundBy::Bisect, None);
        self.prefetched.clear();
        self.probing.restart();
        self.probing.set_may_query(false);
        had_another
    }

    /// The method used last.
    pub(crate) fn method(&self) -> FoundBy {
        self.method
    }

    /// Forgets what was prefetched: the address space has changed.
    pub(crate) fn restart(&mut self) {
        self.prefetched.clear();
        self.prefetched.limit_to_one();
        self.probing.restart();
        self.lines.restart();
        if matches!(self.method, FoundBy::Maps | FoundBy::Smaps) {
            self.open();
        }
    }

    /// Uses `maps` from now on, by query if `wanted` says so and it works; false when it cannot be
    /// opened.
    fn open_maps(&mut self, wanted: config::VmaSource) -> bool {
        let Ok(file) = MapsFile::open() else { return false };
        let method = match wanted {
            config::VmaSource::Maps => FoundBy::Maps,
            _ if file.has_query() => FoundBy::Query,
            config::VmaSource::Query => return false,
            _ => FoundBy::Maps,
        };
        self.lines.restart();
        (self.method, self.file) = (method, Some(file));
        true
    }

    /// Checks every file mapping of the process. Assumes the worst where `/proc` cannot be read.
    #[cold]
    fn check_files(&mut self) -> Files {
        let Ok(mut file) = MapsFile::open() else { return Files::SomePlacedByDriver };
        let found = if file.has_query() {
            self.querying.check_files(&file, &mut self.backings, self.lines.buffer())
        } else {
            text::check_files(&mut self.lines, &mut file, &mut self.backings)
        };
        self.lines.restart();
        found.unwrap_or(Files::SomePlacedByDriver)
    }

    /// Finds the next VMA, and prefetches those after it.
    #[inline(never)]
    fn prefetch(&mut self, from: u64, until: u64) -> sys::Result<()> {
        self.prefetched.clear();
        let (backings, lines, prefetched) =
            (&mut self.backings, &mut self.lines, &mut self.prefetched);
        match (self.method, &mut self.file) {
            (FoundBy::Query, Some(maps)) => {
                let buffer = lines.buffer();
                self.querying.prefetch(maps, backings, buffer, from, until, prefetched)
            }
            (FoundBy::Maps | FoundBy::Smaps, Some(_)) => {
                let vma = match self.next_in_text(from, until) {
                    Err(Errno(libc::ESTALE)) => {
                        self.reopen_text()?;
                        self.next_in_text(from, until)
                    }
                    found => found,
                };
                if let Some(vma) = vma? {
                    self.prefetched.add(vma);
                }
                Ok(())
            }
            _ => self.prefetch_by_probing(from, until),
        }
    }

    fn next_in_text(&mut self, from: u64, until: u64) -> sys::Result<Option<Vma>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let is_smaps = self.method == FoundBy::Smaps;
        text::next_vma(&mut self.lines, file, &mut self.backings, from, until, is_smaps)
    }

    /// Reads the text from its start again.
    #[cold]
    fn reopen_text(&mut self) -> sys::Result<()> {
        let is_smaps = self.method == FoundBy::Smaps;
        let file = if is_smaps { MapsFile::open_smaps() } else { MapsFile::open() };
        self.file = Some(file?);
        self.lines.restart();
        Ok(())
    }

    fn prefetch_by_probing(&mut self, from: u64, until: u64) -> sys::Result<()> {
        match self.probing.prefetch(from, until, &mut self.prefetched) {
            Ok(()) => Ok(()),
            Err(NotFound::Failed(errno)) => Err(errno),
            Err(NotFound::TooExpensive) => {
                self.probing.set_may_query(false);
                self.open_maps(config::VmaSource::Query);
                self.prefetch(from, until)
            }
            Err(NotFound::Silent(start)) => {
                if !seccomp::is_filtered() && self.open_maps(config::VmaSource::Auto) {
                    return self.prefetch(start, until);
                }
                // Without `/proc` its end cannot be found: page by page.
                self.prefetched.add_range(Range { start, end: start + page_size() });
                Ok(())
            }
        }
    }
}

/// Whether the settings and a seccomp filter leave the choice of a method to this library.
fn is_free_to_choose() -> bool {
    config::vma_source() == config::VmaSource::Auto && !seccomp::is_filtered()
}

impl VmaSource for Source {
    type Error = Errno;

    #[inline]
    fn next_vma(&mut self, from: u64, until: u64) -> sys::Result<Option<&Vma>> {
        if self.prefetched.is_empty() {
            self.prefetch(from, until)?;
        }
        Ok(self.prefetched.take())
    }
}
