//! Cases drawn at random, weighted so that every rule is met often enough to be trusted.

mod layout;
mod requests;

use crate::case::{Case, Features, PAGE, Piece, Shape};
use crate::random::Random;

/// Pages of what is moved before.
const MOST_PRACTISED: u64 = 16;

/// The case of a number in a run of a seed.
pub fn case(seed: u64, number: u64, features: Features) -> Case {
    let mut random = Random::of_case(seed, number);
    let layout = layout::draw(&mut random, features);
    let requests = requests::draw(&mut random, &layout);
    let shape = Shape::of(&layout.source);
    let mut pieces = layout.source;
    pieces.extend(layout.destination);
    Case {
        pieces,
        requests,
        forked: random.percent(10),
        practised: practice(&mut random, shape),
    }
}

/// What the process has moved before: nothing, or what is like this layout's beginning, or not.
fn practice(random: &mut Random, of_layout: Shape) -> Option<Shape> {
    let other = Shape {
        gap: random.below(3),
        pages: random.between(1, 3),
    };
    random.weighted(&[(40, None), (40, Some(of_layout)), (20, Some(other))])
}

impl Shape {
    /// As the second piece follows the first one.
    fn of(pieces: &[Piece]) -> Self {
        let gap = pieces
            .windows(2)
            .next()
            .map_or(0, |two| (two[1].at - two[0].end()) / PAGE);
        Self {
            gap: gap.min(MOST_PRACTISED),
            pages: pieces.first().map_or(1, |first| first.pages.min(MOST_PRACTISED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_case_for_ever_and_no_piece_lies_over_another() {
        for number in 0..2000 {
            let case = case(1, number, Features(u32::MAX));
            assert_eq!(case, super::case(1, number, Features(u32::MAX)));
            assert!(!case.requests.is_empty());
            for (index, piece) in case.pieces.iter().enumerate() {
                let others = &case.pieces[index + 1..];
                assert!(
                    others
                        .iter()
                        .all(|other| other.at >= piece.end() || other.end() <= piece.at),
                    "{number}: {case:#?}"
                );
            }
        }
    }
}
