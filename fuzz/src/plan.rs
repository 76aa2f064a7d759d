//! Checks of the planner's parsers and of its walk.

use std::convert::Infallible;

use arbitrary::{Arbitrary, Unstructured};
use mremap_plan::procmap::ProcmapQuery;
use mremap_plan::{
    AddressSpace, Flags, Judgement, Move, Plan, Range, Request, Step, Vma, VmaSource, maps,
};

/// Checks that a line of maps is parsed without a panic into something that is in it.
pub fn maps_line(line: &[u8]) {
    let _ = maps::flags_name_userfaultfd(line);
    if let Some(parsed) = maps::parse_line(line) {
        assert!(parsed.vma.range.start < parsed.vma.range.end);
        assert!(line.ends_with(parsed.path));
    }
}

/// Checks that a reply of `PROCMAP_QUERY` with any name is read without a panic.
pub fn procmap_reply(bytes: &[u8]) {
    type Reply<'a> = (u64, u64, u64, u64, u32, u32, &'a [u8]);
    let Ok((start, end, flags, inode, major, size, name)) =
        Reply::arbitrary_take_rest(Unstructured::new(bytes))
    else {
        return;
    };
    let mut reply = ProcmapQuery::at_or_above(start, 0, 0);
    (reply.vma_start, reply.vma_end, reply.vma_flags) = (start, end, flags);
    (reply.inode, reply.dev_major, reply.vma_name_size) = (inode, major, size);
    let vma = reply.vma(name);
    assert_eq!((vma.range.start, vma.range.end), (start, end));
}

/// Checks that a walk over any VMAs, even ones that no kernel reports, ends, only advances, and
/// returns nothing outside the range.
pub fn walk(bytes: &[u8]) {
    type Input = (u64, u64, u64, u32, u64, Vec<(u64, u64)>);
    let Ok((old, old_len, new_len, flags, new, vmas)) =
        Input::arbitrary_take_rest(Unstructured::new(bytes))
    else {
        return;
    };
    let request = Request { old, old_len, new_len, flags: Flags(flags), new };
    let space = AddressSpace { page_size: 4096, task_size: (1 << 47) - 4096 };
    if let Judgement::Move(requested) = request.judge(space) {
        walk_over(requested, &vmas);
    }
}

fn walk_over(requested: Move, vmas: &[(u64, u64)]) {
    let (mut plan, mut source) = (Plan::new(requested), Listed(vmas.iter(), Vma::default()));
    let mut at = requested.source.start;
    for _ in 0..2 * vmas.len() + 4 {
        let Ok(step) = plan.next_step(&mut source);
        at = match step {
            Step::Gap(gap) => {
                assert_eq!(gap.start, at);
                assert!(gap.end <= requested.source.end && !gap.is_empty());
                gap.end
            }
            Step::Part(part) => {
                assert_eq!(part.start, at);
                assert!(part.end <= requested.source.end && !part.is_empty());
                assert!(!part.intersect(plan.vma().range).is_empty());
                part.end
            }
            Step::Refused(_) | Step::Done => return,
        };
    }
    panic!("the walk does not end");
}

/// The VMAs of a list in its order, for any probe.
struct Listed<'a>(std::slice::Iter<'a, (u64, u64)>, Vma);

impl VmaSource for Listed<'_> {
    type Error = Infallible;

    fn next_vma(&mut self, _from: u64, _until: u64) -> Result<Option<&Vma>, Infallible> {
        let Some(&(start, end)) = self.0.next() else {
            return Ok(None);
        };
        self.1.range = Range { start, end };
        Ok(Some(&self.1))
    }
}
