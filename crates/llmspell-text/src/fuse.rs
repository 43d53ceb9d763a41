//! One ranking of several: of words and of vectors, for example.
//!
//! In all formulas a list is in the order of its scores, the best first, ties by id; an id that stands twice in a list counts once, as
//! its best. What a list lacks adds nothing.
//!
//! ```text
//! Rrf      Σ over lists: 1 / (k + rank)                          the best of a list has rank 0
//! Dbsf     Σ over lists: (score - (m - 3 s)) / (6 s), within 0..=1   m the mean, s the standard deviation of the list
//! Linear   alpha × first + (1 - alpha) × second                  each (score - lowest) / (highest - lowest) of its list
//! ```
//!
//! Where all scores of a list are equal, each counts 0.5 by `Dbsf` and 1 by `Linear`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `k` of [`Fusion::Rrf`] unless it is chosen. Small ones suit questions with few right answers.
pub const DEFAULT_RRF_K: f32 = 10.0;

/// How rankings become one.
///
/// In JSON `{"rrf": {"k": 10.0}}`, `"dbsf"` or `{"linear": {"alpha": 0.3}}`; as a text, on a command line for example, `rrf`,
/// `rrf:60`, `dbsf` or `linear:0.3`.
///
/// ```
/// # use llmspell_text::{FusionError, Fusion};
/// assert_eq!("rrf".parse(), Ok(Fusion::default()));
/// assert_eq!("linear:0.3".parse(), Ok(Fusion::Linear { alpha: 0.3 }));
/// assert_eq!(Fusion::Rrf { k: 60.0 }.to_string(), "rrf:60");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fusion {
    /// By ranks alone (Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
    /// methods", 2009, where ranks begin with 1 and `k` is 60, which is 61 here). The default, with [`DEFAULT_RRF_K`].
    Rrf {
        /// How little the first ranks count more than the next. Above 0.
        k: f32,
    },
    /// By scores, each list brought to the same mean and deviation ("distribution-based score fusion", Mazzeschi, 2023).
    Dbsf,
    /// By scores of two lists, each brought to the range 0 to 1 (Bruch, Gai and Ingber, "An analysis of fusion functions for hybrid
    /// retrieval", 2023).
    Linear {
        /// The share of the first list, from 0 to 1.
        alpha: f32,
    },
}

impl Default for Fusion {
    fn default() -> Self {
        Self::Rrf { k: DEFAULT_RRF_K }
    }
}

/// Why lists cannot be fused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FusionError {
    /// `k` is not above 0 and finite.
    #[error("k of reciprocal rank fusion is {0}; it must be above 0 and finite")]
    K(f32),
    /// `alpha` is not between 0 and 1.
    #[error("alpha of linear fusion is {0}; it must be between 0 and 1")]
    Alpha(f32),
    /// A linear fusion of other than two lists.
    #[error("linear fusion is of 2 lists, not of {0}")]
    Lists(usize),
    /// A score that is not finite.
    #[error("a score of list {list} is {score}; it must be finite")]
    Score {
        /// The place of the list.
        list: usize,
        /// The score.
        score: f32,
    },
    /// A text that names no fusion.
    #[error("`{0}` is no fusion; write rrf, rrf:60, dbsf or linear:0.3")]
    Unreadable(String),
}

impl fmt::Display for Fusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rrf { k } => write!(f, "rrf:{k}"),
            Self::Dbsf => f.write_str("dbsf"),
            Self::Linear { alpha } => write!(f, "linear:{alpha}"),
        }
    }
}

impl FromStr for Fusion {
    type Err = FusionError;

    fn from_str(text: &str) -> Result<Self, FusionError> {
        let unreadable = || FusionError::Unreadable(text.chars().take(40).collect());
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number.parse::<f32>().map_err(|_| unreadable())?)),
            None => (text, None),
        };
        let fusion = match (name, number) {
            ("rrf", None) => Self::default(),
            ("rrf", Some(k)) => Self::Rrf { k },
            ("dbsf", None) => Self::Dbsf,
            ("linear", Some(alpha)) => Self::Linear { alpha },
            _ => return Err(unreadable()),
        };
        fusion.validate()?;
        Ok(fusion)
    }
}

impl Fusion {
    /// # Errors
    ///
    /// [`FusionError::K`] or [`FusionError::Alpha`] for a number out of range.
    pub fn validate(&self) -> Result<(), FusionError> {
        match *self {
            Self::Rrf { k } if !(k > 0.0 && k.is_finite()) => Err(FusionError::K(k)),
            Self::Linear { alpha } if !(0.0..=1.0).contains(&alpha) => Err(FusionError::Alpha(alpha)),
            _ => Ok(()),
        }
    }
}

/// Fuses lists of ids with scores, the larger the better, into one list, the best first, ties by id.
///
/// ```
/// # use llmspell_text::{Fusion, FusionError, fuse};
/// let (words, meaning) = (vec![("a", 9.0), ("b", 4.0)], vec![("b", 0.9), ("c", 0.8)]);
/// let fused = fuse(Fusion::Rrf { k: 60.0 }, &[words, meaning])?;
/// assert_eq!(fused.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["b", "a", "c"]);
/// # Ok::<(), FusionError>(())
/// ```
///
/// # Errors
///
/// [`FusionError`] for a number out of range, a score that is not finite, or a linear fusion of other than two lists.
pub fn fuse<I: Ord + Clone>(fusion: Fusion, lists: &[Vec<(I, f32)>]) -> Result<Vec<(I, f32)>, FusionError> {
    fusion.validate()?;
    for (list, scores) in lists.iter().enumerate() {
        if let Some((_, score)) = scores.iter().find(|(_, score)| !score.is_finite()) {
            return Err(FusionError::Score { list, score: *score });
        }
    }
    if matches!(fusion, Fusion::Linear { .. }) && lists.len() != 2 {
        return Err(FusionError::Lists(lists.len()));
    }
    let mut sums: BTreeMap<I, f64> = BTreeMap::new();
    for (place, list) in lists.iter().enumerate() {
        let ranked = ranked(list);
        let scores: Vec<f64> = ranked.iter().map(|(_, score)| f64::from(*score)).collect();
        let parts: Vec<f64> = match fusion {
            Fusion::Rrf { k } => (0..scores.len())
                .map(|rank| 1.0 / (f64::from(k) + rank as f64))
                .collect(),
            Fusion::Dbsf => by_distribution(&scores),
            Fusion::Linear { alpha } => {
                let share = if place == 0 {
                    f64::from(alpha)
                } else {
                    1.0 - f64::from(alpha)
                };
                by_range(&scores).into_iter().map(|score| share * score).collect()
            }
        };
        for ((id, _), part) in ranked.into_iter().zip(parts) {
            *sums.entry(id).or_insert(0.0) += part;
        }
    }
    // Ids are in order, and the sort keeps that order among ties.
    let mut fused: Vec<(I, f32)> = sums.into_iter().map(|(id, sum)| (id, sum as f32)).collect();
    fused.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(fused)
}

/// Each id once, the best first.
fn ranked<I: Ord + Clone>(list: &[(I, f32)]) -> Vec<(I, f32)> {
    let mut best: BTreeMap<I, f32> = BTreeMap::new();
    for (id, score) in list {
        match best.entry(id.clone()) {
            Entry::Vacant(free) => drop(free.insert(*score)),
            Entry::Occupied(mut there) => *there.get_mut() = there.get().max(*score),
        }
    }
    let mut ranked: Vec<(I, f32)> = best.into_iter().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}

fn by_distribution(scores: &[f64]) -> Vec<f64> {
    let count = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / count;
    let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
    let place = |score: &f64| match deviation > 0.0 {
        true => ((score - (mean - 3.0 * deviation)) / (6.0 * deviation)).clamp(0.0, 1.0),
        false => 0.5,
    };
    scores.iter().map(place).collect()
}

fn by_range(scores: &[f64]) -> Vec<f64> {
    let (Some(highest), Some(lowest)) = (scores.first(), scores.last()) else {
        return Vec::new();
    };
    let range = highest - lowest;
    scores
        .iter()
        .map(|score| if range > 0.0 { (score - lowest) / range } else { 1.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_fusion_follows_its_formula() {
        let lists = [
            vec![("a", 4.0), ("b", 2.0), ("c", 0.0)],
            vec![("c", 0.9), ("d", 0.9), ("c", 0.1)],
        ];
        let fused = |fusion| fuse(fusion, &lists).unwrap();
        assert_eq!(
            fused(Fusion::Rrf { k: 1.0 }),
            [("c", 1.0 / 3.0 + 1.0), ("a", 1.0), ("b", 0.5), ("d", 0.5)]
        );
        // Mean 2, deviation 2: a is one deviation above the mean.
        assert_eq!(
            fused(Fusion::Dbsf),
            [("c", 5.0 / 6.0), ("a", 2.0 / 3.0), ("b", 0.5), ("d", 0.5)]
        );
        assert_eq!(
            fused(Fusion::Linear { alpha: 0.25 }),
            [("c", 0.75), ("d", 0.75), ("a", 0.25), ("b", 0.125)]
        );
        let none: Vec<(u8, f32)> = fuse(Fusion::Dbsf, &[]).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn a_fusion_is_read_as_it_is_written() {
        for fusion in [
            Fusion::default(),
            Fusion::Rrf { k: 0.5 },
            Fusion::Dbsf,
            Fusion::Linear { alpha: 0.25 },
        ] {
            assert_eq!(fusion.to_string().parse(), Ok(fusion));
            let json = serde_json::to_string(&fusion).unwrap();
            assert_eq!(serde_json::from_str::<Fusion>(&json).unwrap(), fusion, "{json}");
        }
        assert_eq!(
            serde_json::to_value(Fusion::Linear { alpha: 0.5 }).unwrap(),
            serde_json::json!({"linear": {"alpha": 0.5}})
        );
        for bad in ["", "linear", "rrf:", "rrf:x", "dbsf:1", "max", "RRF"] {
            assert_eq!(bad.parse::<Fusion>(), Err(FusionError::Unreadable(bad.to_string())));
        }
        assert_eq!("rrf:0".parse::<Fusion>(), Err(FusionError::K(0.0)));
        assert_eq!("linear:1.5".parse::<Fusion>(), Err(FusionError::Alpha(1.5)));
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        let list = vec![("a", 1.0)];
        let refused = |fusion, lists: &[Vec<(&'static str, f32)>]| fuse(fusion, lists).unwrap_err();
        assert_eq!(refused(Fusion::Rrf { k: 0.0 }, &[]), FusionError::K(0.0));
        assert_eq!(refused(Fusion::Linear { alpha: 1.5 }, &[]), FusionError::Alpha(1.5));
        assert_eq!(
            refused(Fusion::Linear { alpha: 0.5 }, std::slice::from_ref(&list)),
            FusionError::Lists(1)
        );
        let infinite = vec![("a", f32::INFINITY)];
        let score = f32::INFINITY;
        assert_eq!(
            refused(Fusion::Dbsf, &[list, infinite]),
            FusionError::Score { list: 1, score }
        );
    }

    proptest! {
        /// The order of a list, and the order of lists where they count alike, change nothing.
        #[test]
        fn order_does_not_matter(
            mut a in prop::collection::vec((0..20u8, -9.0..9.0f32), 0..20),
            b in prop::collection::vec((0..20u8, -9.0..9.0f32), 0..20),
            fusion in prop_oneof![Just(Fusion::Rrf { k: 5.0 }), Just(Fusion::Dbsf)],
        ) {
            let fused = fuse(fusion, &[a.clone(), b.clone()]).unwrap();
            prop_assert!(fused.is_sorted_by(|x, y| (-x.1, x.0) < (-y.1, y.0)));
            a.reverse();
            let near = |x: f32, y: f32| (x - y).abs() < 1e-5;
            let mut others: BTreeMap<u8, f32> = fuse(fusion, &[b, a]).unwrap().into_iter().collect();
            for (id, score) in fused {
                prop_assert!(others.remove(&id).is_some_and(|other| near(other, score)));
            }
            prop_assert!(others.is_empty());
        }
    }
}
