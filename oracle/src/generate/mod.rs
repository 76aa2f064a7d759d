//! Cases drawn at random, weighted so that every rule is met often enough to be trusted.

mod layout;
mod requests;

use crate::case::{Case, Features, PAGE, Piece, Shape};
use crate::random::Random;

/// Pages of a piece and of a gap that are moved before.
const MOST_PAGES: u64 = 512;
const MOST_GAP: u64 = 1 << 16;

/// The case of a number in a run of a seed.
pub fn case(seed: u64, number: u64, features: Features) -> Case {
    let mut random = Random::of_case(seed, number);
    let layout = layout::draw(&mut random, features);
    let requests = requests::draw(&mut random, &layout);
    let shapes = shapes_of(&layout.source);
    let mut pieces = layout.source;
    pieces.extend(layout.destination);
    Case { pieces, requests, forked: random.percent(10), practised: practice(&mut random, &shapes) }
}

/// What the process has moved before: nothing, what lies like this layout, or nearly so, or a few of one shape.
fn practice(random: &mut Random, of_layout: &[Shape]) -> Vec<Shape> {
    let other = Shape { gap: random.below(3), pages: random.between(1, 3) };
    let mut nearly = of_layout.to_vec();
    let changed = random.below(nearly.len().max(1) as u64) as usize;
    if let Some(shape) = nearly.get_mut(changed) {
        if random.percent(50) {
            shape.gap = shape.gap.wrapping_sub(1).min(shape.gap + 1);
        } else {
            shape.pages = random.between(1, shape.pages + 2);
        }
    }
    let begins_later = random.below(1 + of_layout.len() as u64 / 2) as usize;
    let of_others = [other; 3];
    let shapes: &[Shape] = random.weighted(&[
        (30, [].as_slice()),
        (25, of_layout),
        (20, &nearly),
        (10, &of_layout[begins_later..]),
        (15, &of_others),
    ]);
    shapes.to_vec()
}

fn shapes_of(pieces: &[Piece]) -> Vec<Shape> {
    let mut end = pieces.first().map_or(0, |first| first.at);
    let shapes = pieces.iter().map(|piece| {
        let gap = (piece.at - end) / PAGE;
        end = piece.end();
        Shape { gap: gap.min(MOST_GAP), pages: piece.pages.min(MOST_PAGES) }
    });
    shapes.collect()
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
                    others.iter().all(|other| other.at >= piece.end() || other.end() <= piece.at),
                    "{number}: {case:#?}"
                );
            }
        }
    }
}
