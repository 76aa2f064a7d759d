//! Makes a differing case as small as possible, as long as it differs.

use crate::case::{Case, PAGE, Touch};

/// Limit of attempts: a request of many GiB could be shortened page by page endlessly.
const MAX_TRIED: usize = 4000;

/// Tries smaller cases until none of them differs.
pub fn shrink(case: Case, mut differs: impl FnMut(&Case) -> bool) -> Case {
    let (mut best, mut tried) = (case, 0);
    while let Some(smaller) = candidates(&best).into_iter().find(|case| {
        tried += 1;
        tried < MAX_TRIED && differs(case)
    }) {
        best = smaller;
    }
    best
}

/// Smaller cases, those with the largest steps first.
fn candidates(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    let mut with = |change: &dyn Fn(&mut Case)| {
        let mut smaller = case.clone();
        change(&mut smaller);
        if smaller != *case {
            found.push(smaller);
        }
    };
    let vmas = case.vmas.len();
    for len in [vmas / 2, vmas / 4, 1] {
        for start in (0..vmas).step_by(len.max(1)) {
            with(&|case| drop(case.vmas.drain(start..(start + len).min(case.vmas.len()))));
        }
    }
    for index in (0..case.requests.len()).rev() {
        with(&|case| {
            case.requests.remove(index);
        });
    }
    with(&|case| case.forked = false);

    for index in 0..vmas {
        with(&|case| case.vmas[index].marks.clear());
        for mark in 0..case.vmas[index].marks.len() {
            with(&|case| {
                case.vmas[index].marks.remove(mark);
            });
        }
        if !case.vmas[index].kind.is_huge() {
            with(&|case| case.vmas[index].pages = 1);
            with(&|case| case.vmas[index].pages -= u64::from(case.vmas[index].pages > 1));
        }
        with(&|case| case.vmas[index].touch = Touch::None);
        with(&|case| case.vmas[index].prot = 3);
        with(&|case| case.vmas[index].offset = 0);
    }
    for index in 0..case.requests.len() {
        for fraction in [2, 8, 64, 4096, u64::MAX] {
            with(&|case| {
                let request = &mut case.requests[index];
                let pages = request.old_len.min(request.new_len) / PAGE;
                let cut = (pages / fraction).max(1) * PAGE;
                if pages > 1 {
                    request.old_len -= cut;
                    request.new_len -= cut;
                }
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Features, Kind};
    use crate::generate;

    #[test]
    fn keeps_only_what_the_predicate_needs() {
        let needed = |case: &Case| {
            case.vmas.iter().any(|vma| vma.kind == Kind::SharedAnon && vma.pages >= 2)
                && case.requests.iter().any(|request| request.flags & 4 != 0)
        };
        let case = (0..100_000)
            .map(|number| generate::case(3, number, Features(u32::MAX)))
            .find(|case| needed(case) && case.vmas.len() > 8)
            .unwrap();
        let small = shrink(case, needed);
        assert_eq!((small.vmas.len(), small.requests.len()), (1, 1), "{small:#?}");
        assert_eq!(small.vmas[0].pages, 2);
        assert!(!small.forked && small.vmas[0].marks.is_empty());
    }
}
