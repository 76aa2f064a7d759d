//! Makes a case that differs as small as it goes, keeping that it differs.

use crate::case::{Case, PAGE, Touch};

/// Cases tried before the smallest so far is taken: a request of many GiB could be cut page by page for ever.
const MOST_TRIED: usize = 4000;

/// Tries ever smaller cases until none of them differs.
pub fn shrink(case: Case, mut differs: impl FnMut(&Case) -> bool) -> Case {
    let (mut best, mut tried) = (case, 0);
    while let Some(smaller) = candidates(&best).into_iter().find(|case| {
        tried += 1;
        tried < MOST_TRIED && differs(case)
    }) {
        best = smaller;
    }
    best
}

/// Cases a step smaller, the boldest steps first.
fn candidates(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    let mut with = |change: &dyn Fn(&mut Case)| {
        let mut smaller = case.clone();
        change(&mut smaller);
        if smaller != *case {
            found.push(smaller);
        }
    };
    let pieces = case.pieces.len();
    for len in [pieces / 2, pieces / 4, 1] {
        for start in (0..pieces).step_by(len.max(1)) {
            with(&|case| drop(case.pieces.drain(start..(start + len).min(case.pieces.len()))));
        }
    }
    for index in (0..case.requests.len()).rev() {
        with(&|case| {
            case.requests.remove(index);
        });
    }
    with(&|case| case.forked = false);
    with(&|case| case.practised.clear());
    for index in 0..case.practised.len() {
        with(&|case| {
            case.practised.remove(index);
        });
    }
    for index in 0..pieces {
        with(&|case| case.pieces[index].marks.clear());
        for mark in 0..case.pieces[index].marks.len() {
            with(&|case| {
                case.pieces[index].marks.remove(mark);
            });
        }
        if !case.pieces[index].kind.is_huge() {
            with(&|case| case.pieces[index].pages = 1);
            with(&|case| case.pieces[index].pages -= u64::from(case.pieces[index].pages > 1));
        }
        with(&|case| case.pieces[index].touch = Touch::None);
        with(&|case| case.pieces[index].prot = 3);
        with(&|case| case.pieces[index].offset = 0);
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
    fn what_is_needed_stays_and_nothing_else() {
        let needed = |case: &Case| {
            case.pieces.iter().any(|piece| piece.kind == Kind::SharedAnon && piece.pages >= 2)
                && case.requests.iter().any(|request| request.flags & 4 != 0)
        };
        let case = (0..100_000)
            .map(|number| generate::case(3, number, Features(u32::MAX)))
            .find(|case| needed(case) && case.pieces.len() > 8)
            .unwrap();
        let small = shrink(case, needed);
        assert_eq!((small.pieces.len(), small.requests.len()), (1, 1), "{small:#?}");
        assert_eq!(small.pieces[0].pages, 2);
        assert!(!small.forked && small.pieces[0].marks.is_empty());
    }
}
