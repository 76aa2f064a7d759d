//! Finds the VMAs of a range: the boundaries with [`bisect`], which needs nothing but `mremap` and `mmap`; by
//! asking [`procmap`], where that is cheaper; by what stands behind them in [`procmap`] or [`maps`], where
//! [`evidence`] says that names matter.

mod bisect;
pub(crate) mod evidence;
mod maps;
mod mounts;
mod procmap;
mod questions;

use core::ffi::CStr;

use mremap_plan::{Backing, Move, Range, Vma, VmaSource};

use bisect::NotFound;
use evidence::Files;
pub(crate) use questions::{OneVma, is_mapped, is_one_vma};

use crate::address_space::page_size;
use crate::config;
use crate::sandbox;
use crate::sys::{Failed, OpenFile};

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
}

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
        }
    }

    /// Takes the way that is cheapest for what may be met here and now, or the one the settings name. A way
    /// that cannot be had gives way to bisection, which always can.
    pub(crate) fn open(&mut self) {
        self.choose();
        self.bisection
            .may_give_up(is_free_to_look() && procmap::may_work());
    }

    /// The same for a move of more than one VMA, each moved as soon as it is found. Where its parts are recorded,
    /// each must be known to be one VMA, whatever this kernel moves in one call.
    pub(crate) fn open_for_move(&mut self, wanted: &Move, is_known_to_cross: bool, is_recorded: bool) {
        self.open();
        if is_known_to_cross {
            self.bisection.range_crosses_boundaries();
        }
        // Under a filter signals are not blocked, and a handler may map something.
        if !is_recorded && !sandbox::is_filtered() {
            self.bisection
                .moves_by(wanted.destination.wrapping_sub(wanted.source.start));
        }
        if !evidence::may_concern_vdso(wanted.source) && is_free_to_look() && evidence::every_file_answers() {
            self.bisection.every_vma_answers();
        }
    }

    /// The last VMA could not be moved: false if that was no supposition, else there will be no other.
    pub(crate) fn stop_supposing(&mut self) -> bool {
        self.way == Way::Bisect && self.bisection.stop_supposing()
    }

    /// Gives up on the way chosen, for the one that asks for nothing a sandbox could refuse; false when that
    /// was it.
    pub(crate) fn fall_back(&mut self) -> bool {
        let had_another = self.way != Way::Bisect;
        (self.way, self.file) = (Way::Bisect, None);
        self.bisection.restart();
        self.bisection.may_give_up(false);
        had_another
    }

    /// As the trace names it: the way taken last.
    pub(crate) fn number(&self) -> u32 {
        self.way as u32
    }

    /// Forgets what was read ahead: the address space has changed under it.
    pub(crate) fn restart(&mut self) {
        self.names.forget_ahead();
        self.bisection.restart();
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
                !config::records_vmas() && !evidence::names_matter(|| self.look_at_files())
            }
            _ => wanted == config::VmaSource::Bisect,
        };
        if !bisect && let Some((way, file)) = by_proc(wanted) {
            (self.way, self.file) = (way, Some(file));
        }
    }

    /// Looks at every mapping of a file. The worst when nobody can tell.
    #[cold]
    fn look_at_files(&mut self) -> Files {
        let Ok(file) = OpenFile::open(MAPS) else {
            return Files::SomePlacedByDriver;
        };
        let found = if procmap::works_on(&file) {
            self.names.look_at_files(&file, self.text.room())
        } else {
            self.text.look_at_files(&file)
        };
        self.text.clear();
        found.unwrap_or(Files::SomePlacedByDriver)
    }

    fn next_by_bisection(&mut self, from: u64, until: u64) -> Result<Option<Vma>, Failed> {
        if self.bisection.has_overspent() {
            return self.next_by_query(from, until);
        }
        match self.bisection.next_vma(from, until) {
            Ok(found) => Ok(found),
            Err(NotFound::Failed(failed)) => Err(failed),
            Err(NotFound::FarAway) => self.next_by_query(from, until),
            Err(NotFound::Silent(start)) => self.next_of_silent(start, until),
        }
    }

    /// Goes on with a maps file, if one can be had, else by bisection all the same.
    #[inline(never)]
    fn next_by_query(&mut self, from: u64, until: u64) -> Result<Option<Vma>, Failed> {
        self.bisection.may_give_up(false);
        if let Some(file) = open_for_queries() {
            (self.way, self.file) = (Way::Query, Some(file));
        }
        self.next_vma(from, until)
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

/// Whether the settings and the sandbox leave it to us where to look.
fn is_free_to_look() -> bool {
    config::vma_source() == config::VmaSource::Auto && !sandbox::is_filtered()
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

/// Finds the VMA that holds an address of code, and tells `take` of it, its build id and its path: empty where there
/// is none or the source does not tell. Not at all where `/proc` cannot be read.
pub(crate) fn find_code(address: u64, take: impl FnOnce(&Vma, &[u8], &[u8])) {
    let Ok(file) = OpenFile::open(MAPS) else {
        return;
    };
    if procmap::works_on(&file) {
        procmap::find_code(&file, address, take);
    } else {
        find_code_in_text(&file, address, take);
    }
}

#[inline(never)] // its buffers stay off the stack where the kernel can be asked
fn find_code_in_text(maps: &OpenFile, address: u64, take: impl FnOnce(&Vma, &[u8], &[u8])) {
    maps::Text::new().find_code(maps, address, take);
}
