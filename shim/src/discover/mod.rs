//! Finds the VMAs of a range: the boundaries with [`bisect`], which needs nothing but `mremap` and `mmap`; by
//! asking [`procmap`], where that is cheaper; by what stands behind them in [`procmap`] or [`maps`], where
//! [`evidence`] says that names matter.

mod ahead;
mod bisect;
mod guesses;
mod maps;
mod mounts;
mod procmap;
mod shapes;

use core::ffi::CStr;

use mremap_plan::{Move, Range, Vma, VmaSource};
use mremap_trace::FoundBy;

use crate::hooks::evidence::{self, Files};
use ahead::{Ahead, plain};
use bisect::NotFound;

use crate::process::address_space::page_size;
use crate::process::config;
use crate::process::seccomp;
use crate::sys::{Errno, OpenFile};

/// `/proc/self` is empty once the leading thread has exited; this one is not.
const MAPS: &CStr = c"/proc/thread-self/maps";
/// The same with details, which walks page tables.
const SMAPS: &CStr = c"/proc/thread-self/smaps";

/// Nanoseconds, as measured in `benches/README.md`: opening and closing a maps file between moves, a VMA by
/// `PROCMAP_QUERY`, a line of text.
const OPEN_NS: u32 = 3500;
const QUERY_NS: u32 = 270;
const LINE_NS: u32 = 200;

/// How VMAs are found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Query,
    Maps,
    Bisect,
    Smaps,
}

/// Where the VMAs of one move come from. The buffers of every way stand in it: there is no heap to put them
/// on, and the stack may be a signal's.
pub(crate) struct Source {
    way: Way,
    file: Option<OpenFile>,
    /// Found by this way, and not moved yet.
    ahead: Ahead,
    names: procmap::Names,
    text: maps::Text,
    bisection: bisect::Bisection,
    /// The kernel is asked only because guesses were wrong.
    may_return: bool,
    /// It has answered with what can be guessed again.
    returns: bool,
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
            ahead: Ahead::new(),
            names: procmap::Names::new(),
            text: maps::Text::new(),
            bisection: bisect::Bisection::new(),
            may_return: false,
            returns: false,
        }
    }

    /// Takes the way that is cheapest for what may be met here and now, or the one the settings name. A way
    /// that cannot be had gives way to bisection, which always can.
    pub(crate) fn open(&mut self) {
        self.bisection.guesses.begin();
        self.choose();
    }

    /// The same for a move of more than one VMA, each moved as soon as it is found. `must_be_known`: a part must be one VMA
    /// even where this kernel would move several in one call.
    pub(crate) fn open_for_move(
        &mut self,
        wanted: &Move,
        is_known_to_cross: bool,
        must_be_known: bool,
    ) {
        self.open();
        if is_known_to_cross {
            self.bisection.range_crosses_boundaries();
        }
        // Under a filter signals are not blocked, and a handler may map something.
        if !must_be_known && !seccomp::is_filtered() {
            self.bisection.guesses.moves_by(wanted.destination.wrapping_sub(wanted.source.start));
        }
        if !evidence::may_concern_vdso(wanted.source)
            && is_free_to_look()
            && evidence::every_file_answers()
        {
            self.bisection.guesses.every_vma_answers();
        }
    }

    /// The last VMA could not be moved: whether that may be because it was only supposed to be one. It will be known then.
    pub(crate) fn was_supposed(&mut self) -> bool {
        let may_be = self.way == Way::Bisect && self.ahead.are_guessed();
        let was_supposed = may_be && self.bisection.guesses.stop_supposing();
        if was_supposed {
            self.ahead.clear();
        }
        was_supposed
    }

    /// Something has come to lie in the destination.
    pub(crate) fn suppose_no_more(&mut self) {
        self.bisection.guesses.suppose_no_more();
    }

    /// Gives up on the way chosen, for the one that asks for nothing a sandbox could refuse; false when that
    /// was it.
    pub(crate) fn fall_back(&mut self) -> bool {
        let had_another = self.way != Way::Bisect;
        (self.way, self.file) = (Way::Bisect, None);
        self.ahead.clear();
        self.bisection.guesses.restart();
        self.bisection.set_alternative(None);
        had_another
    }

    /// Returns the method used last, as the trace names it.
    pub(crate) fn method(&self) -> FoundBy {
        match self.way {
            Way::Query => FoundBy::Query,
            Way::Maps => FoundBy::Maps,
            Way::Bisect => FoundBy::Bisect,
            Way::Smaps => FoundBy::Smaps,
        }
    }

    /// Forgets what was found ahead: the address space has changed under it.
    pub(crate) fn restart(&mut self) {
        self.ahead.clear();
        self.bisection.guesses.restart();
        self.text.clear();
        match self.way {
            Way::Bisect => self.file = None,
            Way::Query => {}
            Way::Maps | Way::Smaps => self.choose(),
        }
    }

    fn choose(&mut self) {
        (self.way, self.file) = (Way::Bisect, None);
        self.bisection.set_alternative(is_free_to_look().then(cost_of_proc));
        if seccomp::is_filtered() {
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

    /// Finds the next VMA, and maybe others behind it, once none is left that was found ahead.
    #[inline(never)]
    fn find(&mut self, from: u64, until: u64) -> Result<(), Errno> {
        self.ahead.clear();
        if core::mem::take(&mut self.returns) {
            self.way = Way::Bisect;
            self.bisection.set_alternative(Some(cost_of_proc()));
        }
        match (self.way, &self.file) {
            (Way::Query, Some(_)) => self.find_by_query(from, until),
            (Way::Maps, Some(_)) => self.find_by_text(from, until, maps::Detail::None),
            (Way::Smaps, Some(_)) => self.find_by_text(from, until, maps::Detail::Flags),
            _ => self.find_by_bisection(from, until),
        }
    }

    fn find_by_text(&mut self, from: u64, until: u64, detail: maps::Detail) -> Result<(), Errno> {
        let Some(file) = &self.file else { return Ok(()) };
        if let Some(vma) = self.text.next_vma(file, from, until, detail)? {
            self.bisection.remember(vma.range, from);
            self.ahead.add(vma);
        }
        Ok(())
    }

    fn find_by_query(&mut self, from: u64, until: u64) -> Result<(), Errno> {
        let Some(file) = &self.file else { return Ok(()) };
        let (ahead, bisection) = (&mut self.ahead, &mut self.bisection);
        let mut end = from;
        self.names.ask_each(file, self.text.room(), from, until, |vma| {
            bisection.remember(vma.range, end);
            end = vma.range.end;
            ahead.add(vma);
            !ahead.is_full()
        })?;
        self.returns = self.may_return && self.bisection.guesses.find_period();
        Ok(())
    }

    fn find_by_bisection(&mut self, from: u64, until: u64) -> Result<(), Errno> {
        match self.bisection.find(from, until, &mut self.ahead) {
            Ok(()) => Ok(()),
            Err(NotFound::Failed(failed)) => Err(failed),
            Err(NotFound::Dear) => self.find_by_proc(from, until),
            Err(NotFound::Silent(start)) => self.find_silent(start, until),
        }
    }

    /// Goes on with a maps file, if one can be had, else by bisection all the same. Text shows the range only behind
    /// all that lies below: no more of it is read than the questions have cost, and what was read is read on from when they
    /// have cost as much again.
    #[inline(never)]
    fn find_by_proc(&mut self, from: u64, until: u64) -> Result<(), Errno> {
        self.bisection.set_alternative(None);
        if self.file.is_none() {
            self.file = OpenFile::open(MAPS).ok();
        }
        if let Some(file) = &self.file {
            if procmap::works_on(file) {
                (self.way, self.may_return, self.returns) = (Way::Query, true, false);
            } else {
                let lines = self.bisection.spent_ns() / LINE_NS;
                match self.text.read_up_to(file, from, lines) {
                    Ok(true) => self.way = Way::Maps,
                    Ok(false) => self.bisection.set_alternative(Some(cost_of_proc())),
                    Err(_) => {}
                }
            }
        }
        self.find(from, until)
    }

    /// A VMA that answers no question ([vvar], device memory): `/proc` knows it; without it, page by page.
    #[cold]
    fn find_silent(&mut self, start: u64, until: u64) -> Result<(), Errno> {
        let by_proc = if seccomp::is_filtered() { None } else { by_proc(config::VmaSource::Auto) };
        if let Some((way, file)) = by_proc {
            self.text.clear();
            (self.way, self.file) = (way, Some(file));
            return self.find(start, until);
        }
        self.ahead.clear();
        self.ahead.add(one_page_at(start));
        Ok(())
    }
}

/// Whether the settings and the sandbox leave it to us where to look.
fn is_free_to_look() -> bool {
    config::vma_source() == config::VmaSource::Auto && !seccomp::is_filtered()
}

fn one_page_at(start: u64) -> Vma {
    let end = start + page_size();
    plain(Range { start, end })
}

impl VmaSource for Source {
    type Error = Errno;

    #[inline]
    fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<&Vma>, Errno> {
        if self.ahead.is_empty() {
            self.find(from, until)?;
        }
        Ok(self.ahead.take())
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

/// What it takes to find VMAs in `/proc`.
fn cost_of_proc() -> bisect::Cost {
    if procmap::may_work() {
        bisect::Cost { begin: OPEN_NS, each: QUERY_NS }
    } else {
        bisect::Cost {
            begin: maps::lines_below().saturating_mul(LINE_NS).saturating_add(OPEN_NS),
            each: LINE_NS,
        }
    }
}
