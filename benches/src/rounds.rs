//! Measures variants in turns: each round measures every variant once, in a changing order.

use serde::{Deserialize, Serialize};

/// The figures of a variant, one a round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    /// The variant's name.
    pub name: String,
    /// Its figures, by default in ns for one call.
    pub figures: Vec<f64>,
}

/// A variant: its name, and a function that measures it once.
pub type Variant<'a> = (String, Box<dyn FnMut() -> f64 + 'a>);

/// Runs every variant once without measuring, then `rounds` rounds. Odd rounds go backwards, so
/// that no variant always follows the same one.
pub fn run(rounds: usize, variants: &mut [Variant<'_>]) -> Vec<Series> {
    let mut series: Vec<Series> = variants
        .iter()
        .map(|(name, _)| Series { name: name.clone(), figures: Vec::with_capacity(rounds) })
        .collect();
    for (_, measure) in variants.iter_mut() {
        measure();
    }
    for round in 0..rounds {
        for step in 0..variants.len() {
            let index = (step + round / 2) % variants.len();
            let index = if round % 2 == 0 { index } else { variants.len() - 1 - index };
            series[index].figures.push(variants[index].1());
        }
    }
    series
}

/// Prints the series as JSON.
///
/// # Panics
/// stdout cannot be written.
pub fn print(series: &[Series]) {
    println!("{}", serde_json::to_string(series).expect("numbers and names"));
}
