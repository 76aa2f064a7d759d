//! Counts how often a run exercised each rule of `docs/semantics.md`, as the kernel's outcome
//! shows, and each kind of step of `mremap_plan`, run over the mappings before each request.

use std::collections::BTreeMap;
use std::convert::Infallible;

use mremap_plan::{AddressSpace, Backing, Judgement, Plan, Range, Step, Vma, VmaSource};

use crate::case::{Features, Kind, Mark, PAGE, Request};
use crate::observation::{Class, Mapping, Observation, State};

const MAYMOVE: u32 = 1;
const FIXED: u32 = 2;
const DONTUNMAP: u32 = 4;
const EINVAL: u64 = 22;
const EFAULT: u64 = 14;
const EPERM: u64 = 1;
const GIB: u64 = 1 << 30;

/// The address space that the cases are made for.
pub const SPACE: AddressSpace = AddressSpace { page_size: PAGE, task_size: (1 << 47) - PAGE };

/// What the machine must support to exercise a rule.
#[derive(Clone, Copy)]
enum Need {
    Nothing,
    Kind(Kind),
    Mark(Mark),
}

/// All rules. A rule that is exercised less often than [`ENOUGH`] counts as untested.
const RULES: [(&str, Need); 65] = [
    ("invalid: a flag bit that does not exist", Need::Nothing),
    ("invalid: old not page-aligned", Need::Nothing),
    ("invalid: new_len 0", Need::Nothing),
    ("invalid: new_len beyond TASK_SIZE", Need::Nothing),
    ("invalid: the destination's end beyond TASK_SIZE", Need::Nothing),
    ("invalid: new not page-aligned", Need::Nothing),
    ("invalid: FIXED without MAYMOVE", Need::Nothing),
    ("invalid: the ranges overlap", Need::Nothing),
    ("invalid: the ranges overlap, but no part overlaps its target", Need::Nothing),
    ("invalid: EINVAL before EFAULT, with nothing mapped at old", Need::Nothing),
    ("EFAULT: nothing in the range", Need::Nothing),
    ("EFAULT: a leading gap", Need::Nothing),
    ("EFAULT: the destination is unchanged", Need::Nothing),
    ("move: one whole VMA", Need::Nothing),
    ("move: inside one VMA", Need::Nothing),
    ("move: several VMAs", Need::Nothing),
    ("move: more than 16 VMAs", Need::Nothing),
    ("move: the first VMA cut", Need::Nothing),
    ("move: the last VMA cut", Need::Nothing),
    ("move: lengths equal once rounded", Need::Nothing),
    ("move: a mapping under a part's target is replaced", Need::Nothing),
    ("move: shared memory and files", Need::Nothing),
    ("move: unreadable pages", Need::Nothing),
    ("move: locked memory", Need::Nothing),
    ("move: DONTFORK, DONTDUMP or WIPEONFORK", Need::Nothing),
    ("move: memory that grows down", Need::Nothing),
    ("move: a guard region", Need::Mark(Mark::Guard)),
    ("move: [vvar] or [vdso]", Need::Kind(Kind::Vdso)),
    ("move: huge pages", Need::Kind(Kind::HugePages)),
    ("gap: between two VMAs", Need::Nothing),
    ("gap: trailing, one VMA", Need::Nothing),
    ("gap: trailing, several VMAs", Need::Nothing),
    ("gap: a GiB or more", Need::Nothing),
    ("gap: a mapping under its target stays", Need::Nothing),
    ("destination: adjacent above the source", Need::Nothing),
    ("destination: adjacent below the source", Need::Nothing),
    ("destination: up to TASK_SIZE", Need::Nothing),
    ("destination: inside a larger mapping", Need::Nothing),
    ("destination: nothing mapped", Need::Nothing),
    ("DONTUNMAP: one VMA", Need::Nothing),
    ("DONTUNMAP: several VMAs", Need::Nothing),
    ("refused: the first of several", Need::Nothing),
    ("refused: one VMA, with a trailing gap", Need::Nothing),
    ("refused: a later one, the earlier ones moved", Need::Nothing),
    ("refused: its own target stays", Need::Nothing),
    ("refused: private /dev/zero", Need::Kind(Kind::ZeroPrivate)),
    ("refused: ramfs", Need::Kind(Kind::Ramfs)),
    ("refused: System V shared memory", Need::Kind(Kind::SystemV)),
    ("refused: a BPF map", Need::Kind(Kind::BpfMap)),
    ("refused: userfaultfd", Need::Mark(Mark::Userfaultfd)),
    ("alone: a VMA that may not move with others", Need::Nothing),
    ("sealed: the first source VMA", Need::Mark(Mark::Sealed)),
    ("sealed: a later source VMA, the earlier ones moved", Need::Mark(Mark::Sealed)),
    ("sealed: under a part's target", Need::Mark(Mark::Sealed)),
    ("forwarded: grow in place", Need::Nothing),
    ("forwarded: grow by moving", Need::Nothing),
    ("forwarded: shrink", Need::Nothing),
    ("forwarded: resize to a fixed address", Need::Nothing),
    ("forwarded: duplicate", Need::Nothing),
    ("forwarded: DONTUNMAP without FIXED, or with another length", Need::Nothing),
    ("forwarded: over several VMAs", Need::Nothing),
    ("plan: a part", Need::Nothing),
    ("plan: a gap", Need::Nothing),
    ("plan: done", Need::Nothing),
    ("plan: refused", Need::Nothing),
];

/// How often a full run must exercise each rule.
pub const ENOUGH: u64 = 100;

/// Number of times that each rule was exercised.
#[derive(Clone, Debug, Default)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// Counts the rules that a case exercised.
    pub fn note_case(&mut self, requests: &[Request], observation: &Observation) {
        for (request, states) in requests.iter().zip(observation.states.windows(2)) {
            Outcome { request, before: &states[0], after: &states[1], counts: self }.count();
        }
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// Every rule with its count, or `None` if this machine does not support it.
    pub fn table(&self, features: Features) -> Vec<(&'static str, Option<u64>)> {
        let count = |&(name, need): &(&'static str, Need)| {
            let is_supported = match need {
                Need::Nothing => true,
                Need::Kind(kind) => features.has(kind),
                Need::Mark(mark) => features.has(mark),
            };
            (name, is_supported.then(|| self.0.get(name).copied().unwrap_or(0)))
        };
        RULES.iter().map(count).collect()
    }

    fn add_one(&mut self, name: &'static str) {
        debug_assert!(RULES.iter().any(|&(known, _)| known == name), "{name}: not in the list");
        *self.0.entry(name).or_default() += 1;
    }
}

/// A request with the states before and after it.
struct Outcome<'a> {
    request: &'a Request,
    before: &'a State,
    after: &'a State,
    counts: &'a mut Counts,
}

impl Outcome<'_> {
    fn count(mut self) {
        match self.request.for_plan().judge(SPACE) {
            Judgement::NotAMove => self.count_forwarded(),
            Judgement::Refused(_) => self.count_invalid(),
            Judgement::Move(wanted) => {
                self.count_steps(wanted);
                self.count_move();
            }
        }
    }

    fn count_if(&mut self, holds: bool, name: &'static str) {
        if holds {
            self.counts.add_one(name);
        }
    }

    fn count_forwarded(&mut self) {
        let Request { old, old_len, new_len, flags, .. } = *self.request;
        let fixed = flags & FIXED != 0;
        self.count_if(flags == 0 && new_len > old_len, "forwarded: grow in place");
        self.count_if(
            flags == MAYMOVE && new_len > old_len && old_len != 0,
            "forwarded: grow by moving",
        );
        self.count_if(!fixed && new_len < old_len, "forwarded: shrink");
        self.count_if(fixed && old_len != 0, "forwarded: resize to a fixed address");
        self.count_if(old_len == 0 && new_len != 0, "forwarded: duplicate");
        self.count_if(
            flags & DONTUNMAP != 0,
            "forwarded: DONTUNMAP without FIXED, or with another length",
        );
        let inside = parts(self.before, old, old.saturating_add(old_len.max(new_len)));
        self.count_if(inside.len() > 1, "forwarded: over several VMAs");
    }

    fn count_invalid(&mut self) {
        if self.after.is_success() || self.after.errno != EINVAL {
            return;
        }
        let Request { old, new_len, flags, new, .. } = *self.request;
        let len = SPACE.page_align(new_len);
        self.count_if(flags & !7 != 0, "invalid: a flag bit that does not exist");
        self.count_if(old % PAGE != 0, "invalid: old not page-aligned");
        self.count_if(len == 0, "invalid: new_len 0");
        self.count_if(len > SPACE.task_size, "invalid: new_len beyond TASK_SIZE");
        self.count_if(
            len <= SPACE.task_size && new > SPACE.task_size - len,
            "invalid: the destination's end beyond TASK_SIZE",
        );
        self.count_if(new % PAGE != 0, "invalid: new not page-aligned");
        self.count_if(flags & MAYMOVE == 0, "invalid: FIXED without MAYMOVE");
        let overlaps = old.wrapping_add(len) > new && new.wrapping_add(len) > old;
        self.count_if(overlaps && len != 0, "invalid: the ranges overlap");
        if overlaps && old % PAGE == 0 && len <= SPACE.task_size {
            let parts = parts(self.before, old, old.saturating_add(len));
            let distance = new.abs_diff(old);
            let apart = parts.iter().all(|part| part.end - part.start <= distance);
            self.count_if(
                parts.len() > 1 && apart,
                "invalid: the ranges overlap, but no part overlaps its target",
            );
        }
        let unmapped = self.before.mapping_at(old & !(PAGE - 1)).is_none();
        self.count_if(unmapped, "invalid: EINVAL before EFAULT, with nothing mapped at old");
    }

    fn count_steps(&mut self, wanted: mremap_plan::Move) {
        let mut plan = Plan::new(wanted);
        let mut mappings = Mappings { mappings: &self.before.mappings, found: Vma::default() };
        loop {
            let Ok(step) = plan.next_step(&mut mappings);
            let name = match step {
                Step::Part(_) => "plan: a part",
                Step::Gap(_) => "plan: a gap",
                Step::Done => "plan: done",
                Step::Refused(_) => "plan: refused",
            };
            self.counts.add_one(name);
            if matches!(step, Step::Refused(_) | Step::Done) {
                return;
            }
        }
    }

    fn count_move(&mut self) {
        let len = SPACE.page_align(self.request.new_len);
        let (old, end) = (self.request.old, self.request.old.saturating_add(len));
        let parts = parts(self.before, old, end);
        if parts.first().is_none_or(|first| first.start > old) {
            self.count_if(parts.is_empty(), "EFAULT: nothing in the range");
            self.count_if(!parts.is_empty(), "EFAULT: a leading gap");
            let is_mapped = self.is_target_mapped(old, end);
            self.count_if(
                is_mapped && self.after.errno == EFAULT,
                "EFAULT: the destination is unchanged",
            );
            return;
        }
        let stopper = parts.iter().position(|part| !part.vma.may_move_with_others());
        if self.after.is_success() {
            self.count_moved(&parts, old, end);
        } else if self.after.errno == EFAULT
            && let Some(index) = stopper
        {
            self.count_refused(&parts, index, end);
        } else if self.after.errno == EPERM {
            self.count_sealed(&parts);
        }
    }

    fn count_moved(&mut self, parts: &[Part], old: u64, end: u64) {
        let (new, new_end) = (self.request.new, self.request.new + (end - old));
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return;
        };
        let several = parts.len() > 1;
        let starts_whole = first.vma.start == old;
        self.count_if(!several && starts_whole && first.vma.end == end, "move: one whole VMA");
        self.count_if(!several && !starts_whole && first.vma.end > end, "move: inside one VMA");
        self.count_if(several, "move: several VMAs");
        self.count_if(parts.len() > 16, "move: more than 16 VMAs");
        self.count_if(several && !starts_whole, "move: the first VMA cut");
        self.count_if(several && last.vma.end > end, "move: the last VMA cut");
        self.count_if(
            self.request.old_len != self.request.new_len,
            "move: lengths equal once rounded",
        );
        self.count_if(
            !several && !first.vma.may_move_with_others(),
            "alone: a VMA that may not move with others",
        );
        let dontunmap = self.request.flags & DONTUNMAP != 0;
        self.count_if(dontunmap && !several, "DONTUNMAP: one VMA");
        self.count_if(dontunmap && several, "DONTUNMAP: several VMAs");
        for part in parts {
            self.count_properties(&part.vma);
        }
        let replaced = parts.iter().any(|part| self.is_target_mapped(part.start, part.end));
        self.count_if(replaced, "move: a mapping under a part's target is replaced");
        self.count_gaps(parts, end);
        self.count_if(new == end, "destination: adjacent above the source");
        self.count_if(new_end == old, "destination: adjacent below the source");
        self.count_if(new_end == SPACE.task_size, "destination: up to TASK_SIZE");
        let around = |mapping: &Mapping| mapping.start < new && mapping.end > new_end;
        let wider = self.before.mappings.iter().any(around);
        self.count_if(wider, "destination: inside a larger mapping");
        self.count_if(!self.is_target_mapped(old, end), "destination: nothing mapped");
    }

    fn count_properties(&mut self, vma: &Mapping) {
        self.count_if(vma.has(*b"sh") || vma.class == Class::File, "move: shared memory and files");
        self.count_if(!vma.has(*b"rd"), "move: unreadable pages");
        self.count_if(vma.has(*b"lo"), "move: locked memory");
        let advised = [*b"dc", *b"dd", *b"wf"].iter().any(|&pair| vma.has(pair));
        self.count_if(advised, "move: DONTFORK, DONTDUMP or WIPEONFORK");
        self.count_if(vma.has(*b"gd"), "move: memory that grows down");
        self.count_if(vma.has(*b"gu"), "move: a guard region");
        self.count_if(matches!(vma.class, Class::Vvar | Class::Vdso), "move: [vvar] or [vdso]");
        self.count_if(vma.class == Class::HugePages, "move: huge pages");
    }

    fn count_gaps(&mut self, parts: &[Part], end: u64) {
        let ends = parts.iter().map(|part| part.end);
        let starts = parts.iter().skip(1).map(|part| part.start).chain([end]);
        for (index, (from, until)) in ends.zip(starts).enumerate() {
            if from >= until {
                continue;
            }
            let is_trailing = index + 1 == parts.len();
            self.count_if(!is_trailing, "gap: between two VMAs");
            self.count_if(is_trailing && parts.len() == 1, "gap: trailing, one VMA");
            self.count_if(is_trailing && parts.len() > 1, "gap: trailing, several VMAs");
            self.count_if(until - from >= GIB, "gap: a GiB or more");
            let stays = self.is_target_mapped(from, until);
            self.count_if(stays, "gap: a mapping under its target stays");
        }
    }

    fn count_refused(&mut self, parts: &[Part], index: usize, end: u64) {
        let stopper = &parts[index];
        self.count_if(index == 0 && parts.len() > 1, "refused: the first of several");
        let trailing = parts.len() == 1 && stopper.end < end;
        self.count_if(trailing, "refused: one VMA, with a trailing gap");
        self.count_if(index > 0, "refused: a later one, the earlier ones moved");
        let stays = self.is_target_mapped(stopper.start, stopper.end);
        self.count_if(stays, "refused: its own target stays");
        let by_class = match stopper.vma.class {
            _ if stopper.vma.is_userfaultfd() => "refused: userfaultfd",
            Class::DevZero => "refused: private /dev/zero",
            Class::Ramfs => "refused: ramfs",
            Class::SystemV => "refused: System V shared memory",
            Class::BpfMap => "refused: a BPF map",
            _ => return,
        };
        self.counts.add_one(by_class);
    }

    fn count_sealed(&mut self, parts: &[Part]) {
        let source = parts.iter().position(|part| part.vma.has(*b"sl"));
        self.count_if(source == Some(0), "sealed: the first source VMA");
        self.count_if(
            source.is_some_and(|index| index > 0),
            "sealed: a later source VMA, the earlier ones moved",
        );
        let shift = self.request.new.wrapping_sub(self.request.old);
        let is_under = |part: &Part| {
            let (start, end) = (part.start.wrapping_add(shift), part.end.wrapping_add(shift));
            let mut mappings = self.before.mappings.iter();
            mappings
                .any(|mapping| mapping.has(*b"sl") && mapping.start < end && start < mapping.end)
        };
        let under = source.is_none() && parts.iter().any(is_under);
        self.count_if(under, "sealed: under a part's target");
    }

    /// Whether anything was mapped at the target of a range of the source.
    fn is_target_mapped(&self, start: u64, end: u64) -> bool {
        let shift = self.request.new.wrapping_sub(self.request.old);
        let (start, end) = (start.wrapping_add(shift), end.wrapping_add(shift));
        let mut mappings = self.before.mappings.iter();
        mappings.any(|mapping| mapping.start < end && start < mapping.end)
    }
}

/// A mapping's intersection with the source.
struct Part {
    start: u64,
    end: u64,
    vma: Mapping,
}

fn parts(state: &State, start: u64, end: u64) -> Vec<Part> {
    let inside = |mapping: &&Mapping| mapping.start < end && start < mapping.end;
    let part = |mapping: &Mapping| Part {
        start: mapping.start.max(start),
        end: mapping.end.min(end),
        vma: *mapping,
    };
    state.mappings.iter().filter(inside).map(part).collect()
}

/// Hands the mappings to the planner.
struct Mappings<'a> {
    mappings: &'a [Mapping],
    found: Vma,
}

impl VmaSource for Mappings<'_> {
    type Error = Infallible;

    fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<&Vma>, Infallible> {
        let next = self.mappings.iter().find(|mapping| mapping.end > from);
        let Some(mapping) = next.filter(|mapping| mapping.start < until) else {
            return Ok(None);
        };
        self.found = Vma {
            range: Range { start: mapping.start, end: mapping.end },
            backing: if mapping.may_move_with_others() {
                Backing::Movable
            } else {
                Backing::PlacedByDriver
            },
            ..Vma::default()
        };
        Ok(Some(&self.found))
    }
}
