//! Cases drawn at random, weighted so that every rule is met often enough to be trusted.

mod layout;
mod requests;

use crate::case::{Case, Features};
use crate::random::Random;

/// The case of a number in a run of a seed.
pub fn case(seed: u64, number: u64, features: Features) -> Case {
    let mut random = Random::of_case(seed, number);
    let layout = layout::draw(&mut random, features);
    let requests = requests::draw(&mut random, &layout);
    let mut pieces = layout.source;
    pieces.extend(layout.destination);
    Case {
        pieces,
        requests,
        forked: random.percent(10),
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
