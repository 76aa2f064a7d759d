//! Draws layouts: a source and a destination, each a row of VMAs and gaps.

use crate::case::{FILE_PAGES, Features, HUGE_PAGES, Kind, Mark, PAGE, Touch, Vma};
use crate::random::Random;

/// The source's start, far below the program's own mappings.
const SOURCE: u64 = 0x1000_0000_0000;
const DESTINATION: u64 = 0x2000_0000_0000;

pub(super) struct Layout {
    pub source: Vec<Vma>,
    pub destination: Vec<Vma>,
    /// Start of the destination, mapped or not.
    pub destination_at: u64,
}

pub(super) fn draw(random: &mut Random, features: Features) -> Layout {
    let palette = Palette::draw(random, features);
    let max = random.weighted(&[(10, 1), (45, 6), (32, 14), (10, 30), (3, 64)]);
    let count = random.between(1, max);
    let source = row(random, &palette, SOURCE, count);
    let end = source.last().map_or(SOURCE, Vma::end);
    let destination_at = if random.percent(20) {
        (end + random.between(0, 20) * PAGE).max(SOURCE)
    } else {
        DESTINATION + random.below(8) * PAGE
    };
    let max = random.weighted(&[(15, 0), (45, 5), (35, 12), (5, 30)]);
    let count = random.between(0, max);
    Layout { destination: row(random, &palette, destination_at, count), source, destination_at }
}

/// The few kinds and marks that one case uses: VMAs of equal kind may merge, and the boundary
/// between those that do not is hard to find.
struct Palette {
    common: Vec<Kind>,
    rare: Option<Kind>,
    marks: Vec<Mark>,
}

impl Palette {
    fn draw(random: &mut Random, features: Features) -> Self {
        const COMMON: [(u64, Kind); 8] = [
            (40, Kind::Anon),
            (10, Kind::SharedAnon),
            (12, Kind::MemfdPrivate),
            (12, Kind::MemfdShared),
            (6, Kind::FilePrivate),
            (8, Kind::FileShared),
            (4, Kind::ZeroShared),
            (3, Kind::GrowsDown),
        ];
        const RARE: [(u64, Kind); 10] = [
            (30, Kind::ZeroPrivate),
            (8, Kind::GrowsDown),
            (8, Kind::Vvar),
            (8, Kind::Vdso),
            (3, Kind::Transparent),
            (9, Kind::Ramfs),
            (14, Kind::SystemV),
            (8, Kind::BpfMap),
            (8, Kind::Secret),
            (7, Kind::HugePages),
        ];
        let common = (0..random.between(1, 4))
            .map(|_| random.weighted(&COMMON))
            .filter(|&kind| features.has(kind))
            .collect();
        let rare = random.percent(40).then(|| random.weighted(&RARE));
        let marks =
            if random.percent(25) { (0..2).map(|_| mark(random)).collect() } else { Vec::new() };
        Self {
            common,
            rare: rare.filter(|&kind| features.has(kind)),
            marks: marks.into_iter().filter(|&mark| features.has(mark)).collect(),
        }
    }

    fn kind(&self, random: &mut Random) -> Kind {
        match self.rare {
            Some(rare) if random.percent(24) => rare,
            _ if self.common.is_empty() => Kind::Anon,
            _ => *random.pick(&self.common),
        }
    }
}

fn mark(random: &mut Random) -> Mark {
    random.weighted(&[
        (14, Mark::Locked),
        (10, Mark::DontFork),
        (10, Mark::WipeOnFork),
        (10, Mark::DontDump),
        (12, Mark::Guard),
        (22, Mark::Sealed),
        (16, Mark::Userfaultfd),
        (6, Mark::Sequential),
        (6, Mark::NoHugePages),
        (6, Mark::Mergeable),
    ])
}

fn row(random: &mut Random, palette: &Palette, from: u64, count: u64) -> Vec<Vma> {
    let mut at = from;
    let mut row: Vec<Vma> = Vec::new();
    // In some rows nearly all VMAs and gaps are equal.
    let equal = random.percent(30).then(|| (gap(random), pages(random)));
    for _ in 0..count {
        let (gap, pages) = match equal {
            Some(equal) if random.percent(94) => equal,
            _ => (gap(random), pages(random)),
        };
        at += gap * PAGE;
        let kind = palette.kind(random);
        // The process has one [vvar] and one [vdso], and huge pages are scarce.
        let taken = |kind: Kind| row.iter().filter(|vma| vma.kind == kind).count();
        let is_scarce = matches!(kind, Kind::Vvar | Kind::Vdso)
            && (taken(kind) > 0 || from != SOURCE)
            || kind.is_huge() && (taken(kind) > 1 || from != SOURCE);
        let kind = if is_scarce { Kind::Anon } else { kind };
        let vma = vma(random, palette, kind, at, pages);
        at = vma.end();
        row.push(vma);
    }
    row
}

/// Pages of the gap before a VMA; usually none.
fn gap(random: &mut Random) -> u64 {
    match random.below(100) {
        0..64 => 0,
        64..92 => random.between(1, 5),
        92..97 => random.between(6, 700),
        97..99 => random.between(0x800, 0x20_0000),
        _ => random.between(0x20_0000, 0x200_0000),
    }
}

fn pages(random: &mut Random) -> u64 {
    random.weighted(&[(30, 1), (30, 2), (20, 3), (15, 5), (5, 12)])
}

fn vma(random: &mut Random, palette: &Palette, kind: Kind, at: u64, pages: u64) -> Vma {
    let at = if kind.is_huge() { at.next_multiple_of(HUGE_PAGES * PAGE) } else { at };
    let pages = match kind {
        Kind::HugePages | Kind::Transparent => HUGE_PAGES,
        Kind::Vvar | Kind::Vdso => 4,
        Kind::SystemV | Kind::BpfMap => random.between(1, 4),
        _ => pages,
    };
    let mut marks: Vec<Mark> = Vec::new();
    for &mark in &palette.marks {
        if random.percent(30) && !marks.contains(&mark) && !kind.is_huge() {
            marks.push(mark);
        }
    }
    Vma {
        at,
        pages,
        kind,
        prot: prot(random, kind),
        touch: random.weighted(&[
            (15, Touch::None),
            (15, Touch::First),
            (15, Touch::EverySecond),
            (55, Touch::All),
        ]),
        offset: if kind.has_offset() { random.below(FILE_PAGES) } else { 0 },
        marks,
    }
}

fn prot(random: &mut Random, kind: Kind) -> u8 {
    match kind {
        Kind::HugePages | Kind::Transparent | Kind::Secret | Kind::BpfMap => 3,
        _ => random.weighted(&[(60, 3), (20, 1), (12, 0), (5, 5), (3, 7)]),
    }
}
