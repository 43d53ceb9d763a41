//! Vectors without any order: uniform and Gaussian ones, exact duplicates, lengths that differ.
//!
//! With `g` a number drawn from the normal distribution, each time another one, and `u` one drawn evenly from 0..1:
//!
//! ```text
//! x_i = g                                 Gaussian
//! x   = an earlier row                    for the share of rows that are copies, whichever they are
//! x   = ratio^(u - 1/2) y / |y|, y_i = g  lengths from 1 / √ratio to √ratio, as many in 0.1..1 as in 1..10
//! ```
//!
//! Of exact duplicates, the same share of the queries are copies of rows; all others are in no base. Under cosine, `x` is
//! divided by its length.

use super::Recipe;
use super::mixture::{Kind, length};
use llmspell_cli_base::random::Random;

/// Halvings of an exponent: beyond them `f64` sees no difference.
const EXPONENT_BITS: u32 = 52;

#[derive(Debug)]
pub(super) struct Scattered {
    recipe: Recipe,
    /// Of the rows, and of the queries, those that are copies.
    copies: f64,
    /// The longest row as a multiple of the shortest; 1 if lengths are as they come.
    ratio: f64,
}

impl Scattered {
    pub(super) fn new(recipe: Recipe, copies: f64, ratio: f64) -> Self {
        Self { recipe, copies, ratio }
    }

    /// Writes row `number` of its kind.
    pub(super) fn row(&self, kind: Kind, number: u64, row: &mut [f32]) {
        let (kind, number) = self.original(kind, number);
        let mut random = Random::new(&[self.recipe.seed, kind as u64, number]);
        row.fill_with(|| random.normal());
        let wanted = if self.recipe.unit_length {
            1.0
        } else if self.ratio > 1.0 {
            power(self.ratio, random.unit()) / self.ratio.sqrt()
        } else {
            return;
        };
        let factor = wanted / length(row);
        for component in row {
            *component = (f64::from(*component) * factor) as f32;
        }
    }

    /// The row that a row is a copy of, followed to the first; the row itself if it is no copy.
    fn original(&self, kind: Kind, number: u64) -> (Kind, u64) {
        // The first row has none before it.
        let rows = if kind == Kind::Base { number } else { self.recipe.n };
        if self.copies == 0.0 || rows == 0 {
            return (kind, number);
        }
        let mut random = Random::new(&[self.recipe.seed, Kind::Copy as u64, kind as u64, number]);
        if random.unit() >= self.copies {
            return (kind, number);
        }
        self.original(Kind::Base, random.below(rows))
    }
}

/// `base` to the power of an exponent within 0..1, by square roots alone: they have the same bits everywhere.
fn power(base: f64, mut exponent: f64) -> f64 {
    let (mut power, mut root) = (1.0, base);
    for _ in 0..EXPONENT_BITS {
        root = root.sqrt();
        exponent *= 2.0;
        if exponent >= 1.0 {
            exponent -= 1.0;
            power *= root;
        }
    }
    power
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::data::Data;
    use super::*;

    const RECIPE: Recipe = Recipe {
        data: Data::Gaussian,
        n: 4_000,
        dim: 12,
        unit_length: false,
        seed: 5,
    };

    fn rows(scattered: &Scattered, kind: Kind, count: u64) -> Vec<Vec<f32>> {
        let one = |number| {
            let mut row = vec![0.0; scattered.recipe.dim];
            scattered.row(kind, number, &mut row);
            row
        };
        (0..count).map(one).collect()
    }

    fn bits(rows: &[Vec<f32>]) -> HashSet<Vec<u32>> {
        rows.iter()
            .map(|row| row.iter().map(|x| x.to_bits()).collect())
            .collect()
    }

    #[test]
    fn a_fifth_of_rows_and_queries_are_copies_of_rows() {
        let scattered = Scattered::new(RECIPE, 0.2, 1.0);
        let (base, queries) = (
            rows(&scattered, Kind::Base, 4_000),
            rows(&scattered, Kind::Query, 2_000),
        );
        let different = bits(&base).len();
        assert!((3_100..3_300).contains(&different), "{different}");
        let copies = bits(&base).intersection(&bits(&queries)).count();
        assert!((300..450).contains(&copies), "{copies}");
        // More rows do not change those that are there.
        let more = Scattered::new(Recipe { n: 9_000, ..RECIPE }, 0.2, 1.0);
        assert_eq!(rows(&more, Kind::Base, 4_000), base);
    }

    #[test]
    fn gaussian_rows_are_all_different_and_no_query_is_among_them() {
        let scattered = Scattered::new(RECIPE, 0.0, 1.0);
        let base = bits(&rows(&scattered, Kind::Base, 4_000));
        assert_eq!(base.len(), 4_000);
        assert!(base.is_disjoint(&bits(&rows(&scattered, Kind::Query, 500))));
    }

    #[test]
    fn lengths_go_from_a_tenth_to_ten_and_half_of_them_are_below_one() {
        let scattered = Scattered::new(RECIPE, 0.0, 100.0);
        let lengths: Vec<f64> = rows(&scattered, Kind::Base, 4_000)
            .iter()
            .map(|row| length(row))
            .collect();
        assert!(lengths.iter().all(|length| (0.0999..10.001).contains(length)));
        for (below, share) in [(0.2, 0.1505), (1.0, 0.5), (5.0, 0.8495)] {
            let found = lengths.iter().filter(|length| **length < below).count() as f64 / 4_000.0;
            assert!((found - share).abs() < 0.03, "{found} below {below}");
        }
        let unit = Recipe {
            unit_length: true,
            ..RECIPE
        };
        let unit = rows(&Scattered::new(unit, 0.0, 100.0), Kind::Base, 50);
        assert!(unit.iter().all(|row| (length(row) - 1.0).abs() < 1e-6));
    }

    #[test]
    fn a_power_is_that_of_the_library_of_maths() {
        for exponent in [0.0, 0.25, 0.3, 0.77, 0.999_999] {
            assert!(
                (power(100.0, exponent) / 100.0_f64.powf(exponent) - 1.0).abs() < 1e-12,
                "{exponent}"
            );
        }
    }
}
