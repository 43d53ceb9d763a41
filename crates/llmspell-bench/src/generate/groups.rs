//! Near-duplicates: templates, boilerplate, messages that are sent again and again.
//!
//! With `g` a number drawn from the normal distribution, each time another one:
//!
//! ```text
//! center_i  = g                           of each group
//! spread    = √(1 / cosine - 1)
//! x_i       = center_i + spread g         a member; the cosine of two is about `cosine`, the nearer the more components
//! ```
//!
//! Of one group among unrelated vectors, those are `x_i = g`. Rows of a group are not neighbors in the file: which row is
//! in which group is a shuffle from the seed. Each query is a member that was not stored, of a group drawn at random.
//! Under cosine, `x` is divided by its length.

use super::Recipe;
use super::mixture::{Kind, length};
use llmspell_cli_base::random::Random;

/// Rows of the base, and the group of each.
#[derive(Debug)]
pub(super) struct Groups {
    recipe: Recipe,
    size: u64,
    /// Groups; rows beyond them are unrelated.
    count: u64,
    spread: f32,
    /// Where each row would stand if they were in the order of their groups.
    places: Vec<u32>,
}

impl Groups {
    /// Bytes of RAM that the groups of this many rows take.
    pub(super) fn bytes(rows: u64) -> u64 {
        rows.saturating_mul(4)
    }

    /// All rows are in groups of `size`; the last one may have fewer.
    pub(super) fn of_all(recipe: Recipe, size: u64, cosine: f64) -> Self {
        Self::new(recipe, size, cosine, recipe.n.div_ceil(size))
    }

    /// `size` of the rows are one group.
    pub(super) fn of_few(recipe: Recipe, size: u64, cosine: f64) -> Self {
        Self::new(recipe, size, cosine, 1)
    }

    fn new(recipe: Recipe, size: u64, cosine: f64, count: u64) -> Self {
        let rows = u32::try_from(recipe.n).expect("the arguments bound the rows");
        let mut places: Vec<u32> = (0..rows).collect();
        let mut random = Random::new(&[recipe.seed, Kind::Order as u64]);
        for last in (1..places.len()).rev() {
            let other = random.below(last as u64 + 1) as usize;
            places.swap(last, other);
        }
        Self {
            recipe,
            size,
            count,
            spread: (1.0 / cosine - 1.0).sqrt() as f32,
            places,
        }
    }

    /// Writes row `number` of its kind.
    pub(super) fn row(&self, kind: Kind, number: u64, row: &mut [f32]) {
        let mut random = Random::new(&[self.recipe.seed, kind as u64, number]);
        let group = match kind {
            Kind::Query => random.below(self.count),
            _ => u64::from(self.places[number as usize]) / self.size,
        };
        if group < self.count {
            let mut center = Random::new(&[self.recipe.seed, Kind::Center as u64, group]);
            row.fill_with(|| center.normal() + self.spread * random.normal());
        } else {
            row.fill_with(|| random.normal());
        }
        if self.recipe.unit_length {
            let length = length(row);
            for component in row {
                *component = (f64::from(*component) / length) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::data::Data;
    use super::*;

    const RECIPE: Recipe = Recipe {
        data: Data::Gaussian,
        n: 1_000,
        dim: 200,
        unit_length: true,
        seed: 5,
    };

    fn rows(groups: &Groups, kind: Kind, count: u64) -> Vec<Vec<f32>> {
        let one = |number| {
            let mut row = vec![0.0; groups.recipe.dim];
            groups.row(kind, number, &mut row);
            row
        };
        (0..count).map(one).collect()
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        dot / length(a) / length(b)
    }

    /// How many others are within the cosine of a group, give or take what chance does, of each row.
    fn near(of: &[Vec<f32>], rows: &[Vec<f32>], at_least: f64) -> Vec<usize> {
        let count = |row: &Vec<f32>| rows.iter().filter(|other| cosine(row, other) >= at_least).count();
        of.iter().map(count).collect()
    }

    #[test]
    fn each_row_has_a_whole_group_around_it_with_the_cosine_that_was_asked_for() {
        for wanted in [0.92, 0.9998] {
            let groups = Groups::of_all(RECIPE, 50, wanted);
            let base = rows(&groups, Kind::Base, 1_000);
            let within = wanted - (1.0 - wanted);
            assert!(near(&base[..100], &base, within).iter().all(|count| *count == 50));
            let queries = rows(&groups, Kind::Query, 30);
            assert!(near(&queries, &base, within).iter().all(|count| *count == 50));
            assert!(queries.iter().all(|query| !base.contains(query)));

            let member = base.iter().skip(1).filter(|row| cosine(&base[0], row) >= within);
            let mean = member.map(|row| cosine(&base[0], row)).sum::<f64>() / 49.0;
            assert!(
                (mean - wanted).abs() < 0.15 * (1.0 - wanted),
                "{mean} instead of {wanted}"
            );
        }
    }

    #[test]
    fn rows_of_a_group_do_not_follow_each_other() {
        let base = rows(&Groups::of_all(RECIPE, 50, 0.99), Kind::Base, 1_000);
        let neighbors = base.windows(2).filter(|pair| cosine(&pair[0], &pair[1]) > 0.9).count();
        // By chance one in twenty.
        assert!((20..100).contains(&neighbors), "{neighbors}");
    }

    #[test]
    fn at_a_cosine_of_one_a_group_is_one_vector() {
        let base = rows(&Groups::of_all(RECIPE, 100, 1.0), Kind::Base, 1_000);
        let mut different: Vec<Vec<u32>> = base
            .iter()
            .map(|row| row.iter().map(|x| x.to_bits()).collect())
            .collect();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), 10);
    }

    #[test]
    fn a_few_near_duplicates_stand_among_unrelated_vectors() {
        let groups = Groups::of_few(RECIPE, 30, 0.99);
        let base = rows(&groups, Kind::Base, 1_000);
        let counts = near(&base, &base, 0.9);
        assert_eq!(counts.iter().filter(|count| **count == 30).count(), 30);
        assert_eq!(counts.iter().filter(|count| **count == 1).count(), 970);
        assert!(
            near(&rows(&groups, Kind::Query, 20), &base, 0.9)
                .iter()
                .all(|count| *count == 30)
        );
    }
}
