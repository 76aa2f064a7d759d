//! Draws cases at random, weighted so that every rule is met often.

mod layout;
mod requests;

use crate::case::{Case, Features};
use crate::random::Random;

/// Draws the case of a number in a run of a seed.
pub fn case(seed: u64, number: u64, features: Features) -> Case {
    let mut random = Random::of_case(seed, number);
    let layout = layout::draw(&mut random, features);
    let requests = requests::draw(&mut random, &layout);
    let mut vmas = layout.source;
    vmas.extend(layout.destination);
    Case { vmas, requests, forked: random.percent(10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_the_same_case_for_a_number_without_overlapping_vmas() {
        for number in 0..2000 {
            let case = case(1, number, Features(u32::MAX));
            assert_eq!(case, super::case(1, number, Features(u32::MAX)));
            assert!(!case.requests.is_empty());
            for (index, vma) in case.vmas.iter().enumerate() {
                let others = &case.vmas[index + 1..];
                assert!(
                    others.iter().all(|other| other.at >= vma.end() || other.end() <= vma.at),
                    "{number}: {case:#?}"
                );
            }
        }
    }
}
