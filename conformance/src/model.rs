//! Linux 6.17 as a model: what a move leaves of a layout, page by page. `mremap_plan` judges the
//! request and walks the VMAs. The outcomes that were recorded on Linux 6.17 prove the model
//! (`tests/recorded.rs`).

use std::collections::BTreeMap;
use std::convert::Infallible;

use mremap_oracle::case::{Case, FILE_PAGES, Kind, PAGE, Request, Touch};
use mremap_oracle::rules::SPACE;
use mremap_plan::{Backing, Flags, Judgement, Move, Plan, Range, Step, Vma, VmaSource};

use crate::state::{Content, Page, State};

/// Pages of the content files that are holes.
const HOLE: std::ops::Range<u64> = 40..44;

/// A page of the model: which page of which VMA of the case it was mapped as.
#[derive(Clone, Copy)]
struct Mapped {
    vma: usize,
    index: u64,
    /// What was written to private memory, or to the process's own copy of a file's page.
    is_written: bool,
}

/// A process with a layout.
pub struct Model<'a> {
    case: &'a Case,
    pages: BTreeMap<u64, Mapped>,
}

/// The outcome of a request.
pub struct Moved {
    /// An address, or minus the errno.
    pub result: i64,
    /// Parts moved.
    pub parts: u32,
    /// Gaps stepped over.
    pub gaps: u32,
}

/// Whether the model knows a kind: what it shows does not depend on the kernel's configuration.
pub fn knows(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Anon
            | Kind::SharedAnon
            | Kind::MemfdPrivate
            | Kind::MemfdShared
            | Kind::ZeroPrivate
            | Kind::ZeroShared
            | Kind::GrowsDown
            | Kind::SystemV
    )
}

impl<'a> Model<'a> {
    /// A process that has just mapped the layout of a case.
    pub fn new(case: &'a Case) -> Self {
        let mut pages = BTreeMap::new();
        for (vma, mapped) in case.vmas.iter().enumerate() {
            for index in 0..mapped.pages {
                let is_written = is_touched(mapped.touch, index);
                pages.insert(mapped.at + index * PAGE, Mapped { vma, index, is_written });
            }
        }
        Self { case, pages }
    }

    /// What can be seen of the watched pages, after a request that returned `result`.
    pub fn state(&self, result: i64, watched: &[u64]) -> State {
        let shown = |&address: &u64| Some((address, self.shown(self.pages.get(&address)?)));
        State { result, pages: watched.iter().filter_map(shown).collect() }
    }

    fn shown(&self, page: &Mapped) -> Page {
        let vma = &self.case.vmas[page.vma];
        let file_page = vma.offset + page.index;
        let is_file = vma.kind.has_offset();
        if vma.prot & 1 == 0 || is_file && file_page >= FILE_PAGES {
            return Page { content: Content::Unreadable, is_writable: false };
        }
        let written = Content::Written { vma: page.vma as u64, page: page.index };
        let content = if is_file && !(page.is_written && vma.kind.is_written()) {
            if HOLE.contains(&file_page) { Content::Zero } else { Content::File(file_page) }
        } else if page.is_written {
            written
        } else {
            Content::Zero
        };
        Page { content, is_writable: vma.prot & 2 != 0 }
    }

    /// Carries a request out.
    pub fn mremap(&mut self, request: &Request) -> Moved {
        match request.for_plan().judge(SPACE) {
            Judgement::Move(wanted) => self.remap_move(wanted),
            Judgement::Refused(errno) => Moved { result: -i64::from(errno.0), parts: 0, gaps: 0 },
            Judgement::NotAMove => unreachable!("the model knows moves only"),
        }
    }

    fn remap_move(&mut self, wanted: Move) -> Moved {
        let mut plan = Plan::new(wanted);
        let mut moved = Moved { result: wanted.destination as i64, parts: 0, gaps: 0 };
        loop {
            let Ok(step) = plan.next_step(&mut Source { model: self, found: Vma::default() });
            match step {
                Step::Part(part) => {
                    self.move_part(&wanted, part);
                    moved.parts += 1;
                }
                Step::Gap(_) => moved.gaps += 1,
                Step::Refused(errno) => {
                    return Moved { result: -i64::from(errno.0), ..moved };
                }
                Step::Done => return moved,
            }
        }
    }

    fn move_part(&mut self, wanted: &Move, part: Range) {
        let target = wanted.target_of(part);
        self.pages.retain(|address, _| !target.contains(*address));
        for address in (part.start..part.end).step_by(PAGE as usize) {
            let Some(page) = self.pages.remove(&address) else { continue };
            self.pages.insert(wanted.target(address), page);
            if wanted.flags.contains(Flags::DONTUNMAP) {
                // Private pages have left; what is shared is still there.
                let is_shared = self.is_shared(page.vma);
                let is_written = page.is_written && is_shared;
                self.pages.insert(address, Mapped { is_written, ..page });
            }
        }
    }

    fn is_shared(&self, vma: usize) -> bool {
        let kind = self.case.vmas[vma].kind;
        matches!(kind, Kind::SharedAnon | Kind::MemfdShared | Kind::ZeroShared | Kind::SystemV)
    }
}

fn is_touched(touch: Touch, index: u64) -> bool {
    match touch {
        Touch::None => false,
        Touch::First => index == 0,
        Touch::EverySecond => index.is_multiple_of(2),
        Touch::All => true,
    }
}

/// The model's VMAs as the plan wants them: pages in a row that were mapped in a row.
struct Source<'a, 'b> {
    model: &'a Model<'b>,
    found: Vma,
}

impl VmaSource for Source<'_, '_> {
    type Error = Infallible;

    fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<&Vma>, Infallible> {
        let pages = &self.model.pages;
        let Some((&first, page)) = pages.range(from..until.max(from)).next() else {
            return Ok(None);
        };
        let is_of_vma = |address: u64| {
            pages.get(&address).is_some_and(|other| {
                let distance = address.wrapping_sub(first) as i64 / PAGE as i64;
                other.vma == page.vma && other.index as i64 == page.index as i64 + distance
            })
        };
        let (mut start, mut end) = (first, first + PAGE);
        while is_of_vma(start - PAGE) {
            start -= PAGE;
        }
        while is_of_vma(end) {
            end += PAGE;
        }
        let kind = self.model.case.vmas[page.vma].kind;
        let backing = match kind {
            Kind::ZeroPrivate | Kind::SystemV => Backing::PlacedByDriver,
            _ => Backing::Movable,
        };
        self.found = Vma { range: Range { start, end }, backing, ..Vma::default() };
        Ok(Some(&self.found))
    }
}
