//! The metadata of each row, and the filters that are measured.
//!
//! | filter       | condition                     | rows that pass                                  |
//! |--------------|-------------------------------|-------------------------------------------------|
//! | `one field`  | `tag = "s10"`                 | a share, by chance                              |
//! | `two fields` | `a >= 3 and b >= 3`           | a share of a share, by chance, independently    |
//! | `range`      | `size < 100000000`            | a share, by chance; nearly each value is unique |
//! | `far`        | `at5 <= -3`                   | those that are farthest from a pivot            |
//! | `near`       | `at5 >= 3`                    | those that are nearest to it                    |
//!
//! Pivots are queries. The vector that is asked with `far` and `near` is a quarter of the way from the pivot to another query, so
//! that these filters are correlated with the query: nothing near it passes, or nearly everything does.

use llmspell_storage::Filter;
use serde_json::{Map, Value, json};

use llmspell_cli_base::random::Random;

/// Shares of the rows that pass.
pub(super) const SHARES: [f64; 8] = [0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001];
/// Queries that `far` and `near` are seen from, at most.
pub(super) const PIVOTS: usize = 8;
/// How far a query is from its pivot, on the way to another query.
const FROM_PIVOT: f32 = 0.25;
/// Values of `size` are below this.
const SIZE_END: u64 = 1_000_000_000;

/// A kind of filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    OneField,
    TwoFields,
    Range,
    Far,
    Near,
}

impl Kind {
    /// Those that have nothing to do with the query.
    pub(super) const BY_CHANCE: [Self; 3] = [Self::OneField, Self::TwoFields, Self::Range];
    /// Those that are seen from a pivot.
    pub(super) const BY_PIVOT: [Self; 2] = [Self::Far, Self::Near];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OneField => "one field",
            Self::TwoFields => "two fields",
            Self::Range => "range",
            Self::Far => "far",
            Self::Near => "near",
        }
    }

    /// The filter through which the share in this place goes.
    pub(super) fn filter(self, place: usize, pivot: usize) -> Filter {
        let level = place as i64 + 1;
        match self {
            Self::OneField => Filter::eq("tag", tag(place)),
            Self::TwoFields => Filter::ge("a", level).and(Filter::ge("b", level)),
            Self::Range => Filter::lt("size", size_end(place)),
            Self::Far => Filter::le(at(pivot), -level),
            Self::Near => Filter::ge(at(pivot), level),
        }
    }
}

fn at(pivot: usize) -> String {
    format!("at{pivot}")
}

fn tag(place: usize) -> String {
    match SHARES.get(place) {
        Some(share) => format!("s{}", 100.0 * share),
        None => "rest".into(),
    }
}

fn size_end(place: usize) -> u64 {
    (SHARES[place] * SIZE_END as f64) as u64
}

/// Metadata of all rows, made from a seed and from the distances to the pivots.
#[derive(Debug)]
pub(super) struct Fields {
    seed: u64,
    /// For each pivot and row: how many of the shares, counted from the pivot, the row is in; negative if from the other
    /// end.
    levels: Vec<Vec<i8>>,
}

/// What one row has.
struct Drawn {
    tag: usize,
    a: usize,
    b: usize,
    size: u64,
}

impl Fields {
    /// `distances` are those of all rows, for each pivot.
    pub(super) fn new(seed: u64, distances: &[Vec<f32>]) -> Self {
        Self {
            seed,
            levels: distances.iter().map(|distances| levels(distances)).collect(),
        }
    }

    fn draw(&self, row: usize) -> Drawn {
        let mut random = Random::new(&[self.seed, row as u64]);
        let mut left = random.unit();
        let tag = SHARES.iter().position(|share| {
            left -= share;
            left < 0.0
        });
        let mut level = || {
            let drawn = random.unit();
            SHARES.iter().filter(|share| drawn < share.sqrt()).count()
        };
        Drawn {
            tag: tag.unwrap_or(SHARES.len()),
            a: level(),
            b: level(),
            size: random.below(SIZE_END),
        }
    }

    pub(super) fn of(&self, row: usize) -> Value {
        let Drawn { tag: place, a, b, size } = self.draw(row);
        let mut fields = Map::new();
        fields.insert("tag".into(), json!(tag(place)));
        fields.insert("a".into(), json!(a));
        fields.insert("b".into(), json!(b));
        fields.insert("size".into(), json!(size));
        for (pivot, levels) in self.levels.iter().enumerate() {
            fields.insert(at(pivot), json!(levels[row]));
        }
        Value::Object(fields)
    }

    /// Which filters a row passes: bit `kind * SHARES.len() + share`, kinds as in [`Kind::BY_CHANCE`].
    pub(super) fn passes_by_chance(&self, row: usize) -> u64 {
        let Drawn { tag, a, b, size } = self.draw(row);
        let mut mask = 0;
        for place in 0..SHARES.len() {
            let passes = [tag == place, a.min(b) > place, size < size_end(place)];
            for (kind, passes) in passes.into_iter().enumerate() {
                mask |= u64::from(passes) << (kind * SHARES.len() + place);
            }
        }
        mask
    }

    /// The same for [`Kind::BY_PIVOT`].
    pub(super) fn passes_by_pivot(&self, row: usize, pivot: usize) -> u64 {
        let level = self.levels[pivot][row];
        let first = |count: i8| (1_u64 << count.max(0)) - 1;
        first(-level) | first(level) << SHARES.len()
    }
}

fn levels(distances: &[f32]) -> Vec<i8> {
    let mut order: Vec<u32> = (0..distances.len() as u32).collect();
    order.sort_unstable_by(|a, b| distances[*a as usize].total_cmp(&distances[*b as usize]).then(a.cmp(b)));
    let mut levels = vec![0_i8; distances.len()];
    for share in SHARES {
        let count = (share * distances.len() as f64) as usize;
        for row in &order[..count] {
            levels[*row as usize] += 1;
        }
        for row in &order[order.len() - count..] {
            levels[*row as usize] -= 1;
        }
    }
    levels
}

/// The query of a number, moved to its pivot. Which pivot that is, the second value says.
pub(super) fn near_pivot(queries: &[Vec<f32>], number: usize) -> (Vec<f32>, usize) {
    let pivot = number % queries.len().min(PIVOTS);
    let (from, to) = (&queries[pivot], &queries[number]);
    let moved = from.iter().zip(to).map(|(from, to)| from + FROM_PIVOT * (to - from));
    (moved.collect(), pivot)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 20_000;

    /// Distances in no order, so that rows and ranks differ.
    fn fields() -> Fields {
        let distances = (0..ROWS).map(|row| ((row * 7919) % ROWS) as f32).collect();
        Fields::new(5, &[distances, vec![1.0; ROWS]])
    }

    #[test]
    fn as_many_pass_as_the_share_says() {
        let fields = fields();
        let counted =
            |masks: &dyn Fn(usize) -> u64, bit: usize| (0..ROWS).filter(|row| masks(*row) >> bit & 1 == 1).count();
        for (place, share) in SHARES.into_iter().enumerate() {
            let expected = share * ROWS as f64;
            for kind in 0..Kind::BY_CHANCE.len() {
                let count = counted(&|row| fields.passes_by_chance(row), kind * SHARES.len() + place) as f64;
                assert!(
                    (count - expected).abs() <= 5.0 * expected.sqrt(),
                    "{kind} {share}: {count} of {ROWS}"
                );
            }
            for kind in 0..Kind::BY_PIVOT.len() {
                let count = counted(&|row| fields.passes_by_pivot(row, 0), kind * SHARES.len() + place);
                assert_eq!(count, expected as usize, "{kind} {share}");
            }
        }
    }

    /// What the store is asked and what the truth takes for an answer are the same.
    #[test]
    fn masks_say_what_the_filters_say_about_the_metadata() {
        let fields = fields();
        let kinds = |kinds: &'static [Kind], pivot: usize, masks: &dyn Fn(usize) -> u64| {
            for (number, kind) in kinds.iter().enumerate() {
                for place in 0..SHARES.len() {
                    let filter = kind
                        .filter(place, pivot)
                        .compile(&llmspell_storage::DateFields::none())
                        .unwrap();
                    for row in 0..2_000 {
                        let Value::Object(metadata) = fields.of(row) else {
                            unreachable!("metadata is an object");
                        };
                        let passes = masks(row) >> (number * SHARES.len() + place) & 1 == 1;
                        assert_eq!(filter.matches(&metadata), passes, "{kind:?} {place} row {row}");
                    }
                }
            }
        };
        kinds(&Kind::BY_CHANCE, 0, &|row| fields.passes_by_chance(row));
        kinds(&Kind::BY_PIVOT, 1, &|row| fields.passes_by_pivot(row, 1));
    }

    #[test]
    fn far_is_far_and_near_is_near() {
        let fields = Fields::new(1, &[(0..100).map(|row| row as f32).collect()]);
        let passes = |row, bit: usize| fields.passes_by_pivot(row, 0) >> bit & 1 == 1;
        assert!(passes(99, 0) && passes(50, 0) && !passes(49, 0), "the far half");
        assert!(
            passes(0, SHARES.len()) && passes(49, SHARES.len()) && !passes(50, SHARES.len()),
            "the near half"
        );
    }
}
