//! Any request over any VMAs, even ones no kernel would show: the walk ends, goes forward, and hands out nothing
//! outside the range.
#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use mremap_plan::{AddressSpace, Flags, Judgement, Plan, Range, Request, Step, Vma, VmaSource};

struct Any<'a>(std::slice::Iter<'a, (u64, u64)>);

impl VmaSource for Any<'_> {
    type Error = Infallible;

    fn next_vma(&mut self, _from: u64, _until: u64) -> Result<Option<Vma>, Infallible> {
        Ok(self.0.next().map(|&(start, end)| Vma {
            range: Range { start, end },
            ..Vma::default()
        }))
    }
}

fuzz_target!(|input: (u64, u64, u64, u32, u64, Vec<(u64, u64)>)| {
    let (old, old_len, new_len, flags, new, vmas) = input;
    let request = Request {
        old,
        old_len,
        new_len,
        flags: Flags(flags),
        new,
    };
    let space = AddressSpace {
        page_size: 4096,
        task_size: (1 << 47) - 4096,
    };
    let Judgement::Move(wanted) = request.judge(space) else {
        return;
    };
    let (mut plan, mut source) = (Plan::new(wanted), Any(vmas.iter()));
    let mut at = wanted.source.start;
    for _ in 0..2 * vmas.len() + 4 {
        let Ok(step) = plan.next_step(&mut source);
        match step {
            Step::Gap(gap) => {
                assert_eq!(gap.start, at);
                assert!(gap.end <= wanted.source.end && !gap.is_empty());
                at = gap.end;
            }
            Step::Part { part, target, .. } => {
                assert_eq!(part.start, at);
                assert!(part.end <= wanted.source.end && !part.is_empty());
                assert_eq!(target.wrapping_sub(wanted.destination), part.start - wanted.source.start);
                at = part.end;
            }
            Step::Refused(_) | Step::Done => return,
        }
    }
    panic!("the walk does not end");
});
