//! The ladder of beam widths, and the smallest one that reaches a recall.
//!
//! A pure function of the measurements so far. Recall rises with the width, apart from noise.

use std::collections::BTreeMap;

use llmspell_core::limits::EF_SEARCH_CHOSEN_MAX;

/// Widths that are measured, in candidates: each about a quarter wider than the one before.
pub(super) const RUNGS: [usize; 25] = [
    16,
    20,
    24,
    32,
    40,
    48,
    64,
    80,
    100,
    128,
    160,
    200,
    256,
    320,
    400,
    512,
    640,
    800,
    1_024,
    1_280,
    1_600,
    2_048,
    2_560,
    3_200,
    EF_SEARCH_CHOSEN_MAX,
];
/// The highest rung.
const TOP: usize = RUNGS.len() - 1;
/// A narrower beam replaces the one in use only if it is this many rungs below: about half as wide.
const WORTH_IT: usize = 3;

/// The recall of some searches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    /// Mean recall.
    pub(super) mean: f64,
    /// Mean minus its standard error.
    pub(super) lower: f64,
}

/// Recalls of searches, summed up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) count: usize,
    sum: f64,
    squares: f64,
}

impl Sums {
    pub(super) fn add(&mut self, recall: f64) {
        self.count += 1;
        self.sum += recall;
        self.squares += recall * recall;
    }

    /// Whether the mean of `all` searches stays below a target, whatever the remaining ones find.
    pub(super) fn is_lost(&self, all: usize, target: f64) -> bool {
        let to_come = all.saturating_sub(self.count) as f64;
        self.sum + to_come < target * all as f64
    }

    /// The recall of `all` searches, as far as known: if some are missing, the others have found so little that the
    /// missing ones cannot reach the target.
    pub(super) fn estimate_of(&self, all: usize) -> Estimate {
        if self.count == all {
            return self.estimate();
        }
        let mean = self.sum / all.max(1) as f64;
        Estimate { mean, lower: mean }
    }

    fn estimate(&self) -> Estimate {
        let count = self.count.max(1) as f64;
        let mean = self.sum / count;
        let variance = (self.squares / count - mean * mean).max(0.0);
        Estimate {
            mean,
            lower: mean - (variance / count).sqrt(),
        }
    }
}

/// The parameters of the search for a rung.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LadderSearch {
    /// No rung below this one is chosen.
    pub(super) lowest: usize,
    /// The rung that is measured first: the one in use.
    pub(super) first: usize,
    /// Whether that one was chosen for this target before: then it stays unless there is a good reason to change.
    pub(super) is_chosen: bool,
    pub(super) target: f64,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Measures this rung, which was not measured yet.
    Measure(usize),
    /// Takes this rung, which was measured.
    Choose(usize),
}

/// The lowest rung that is at least this wide, or the highest.
pub(super) fn rung_of(ef: usize) -> usize {
    RUNGS.partition_point(|rung| *rung < ef).min(TOP)
}

impl LadderSearch {
    /// The next step, given the measured rungs.
    pub(super) fn next(&self, known: &BTreeMap<usize, Estimate>) -> Next {
        let first = self.first.max(self.lowest);
        let Some(in_use) = known.get(&first) else {
            return Next::Measure(first);
        };
        // The rung in use is given up only if it misses the target; its replacement must reach it for certain.
        let stays = self.is_chosen && first == self.first && in_use.mean >= self.target;
        if stays {
            let narrower = first.saturating_sub(WORTH_IT);
            if first < self.lowest + WORTH_IT {
                return Next::Choose(first);
            }
            match known.get(&narrower) {
                None => return Next::Measure(narrower),
                Some(estimate) if estimate.lower < self.target => return Next::Choose(first),
                Some(_) => {}
            }
        }
        let reaches = |rung: usize, estimate: &Estimate| estimate.lower >= self.target || (stays && rung == first);
        let missed = known.iter().rev().find(|(rung, of)| !reaches(**rung, of));
        let missed = missed.map(|(rung, _)| *rung);
        let above = known.range(missed.map_or(0, |missed| missed + 1)..);
        let reached = above.map(|(rung, _)| *rung).next();
        let stride = 1 << known.len().min(5);
        match (missed, reached) {
            (Some(missed), None) if missed >= TOP => Next::Choose(TOP),
            (Some(missed), None) => Next::Measure((missed + stride).min(TOP)),
            (Some(missed), Some(reached)) if missed + 1 == reached => Next::Choose(reached),
            (Some(missed), Some(reached)) => Next::Measure(usize::midpoint(missed, reached)),
            (None, Some(reached)) if reached <= self.lowest => Next::Choose(reached),
            (None, Some(reached)) => Next::Measure(reached.saturating_sub(stride).max(self.lowest)),
            (None, None) => Next::Measure(first),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sure(mean: f64) -> Estimate {
        Estimate { mean, lower: mean }
    }

    /// The rung that is chosen where each has this recall, and how many were measured.
    fn choose(search: LadderSearch, recall: impl Fn(usize) -> Estimate) -> (usize, usize) {
        let mut known = BTreeMap::new();
        loop {
            match search.next(&known) {
                Next::Measure(rung) => {
                    assert!(known.insert(rung, recall(rung)).is_none(), "rung {rung} was measured");
                }
                Next::Choose(rung) => {
                    assert!(known.contains_key(&rung), "rung {rung} was not measured");
                    return (rung, known.len());
                }
            }
        }
    }

    fn search(lowest: usize, first: usize, is_chosen: bool) -> LadderSearch {
        LadderSearch {
            lowest,
            first,
            is_chosen,
            target: 0.9,
        }
    }

    proptest! {
        #[test]
        fn the_lowest_rung_that_reaches_the_target_is_chosen_after_few_measurements(
            lowest in 0..RUNGS.len(),
            first in 0..RUNGS.len(),
            reaching in 0..RUNGS.len() + 3,
        ) {
            let recall = |rung: usize| sure(if rung >= reaching { 0.95 } else { 0.5 });
            let (chosen, measured) = choose(search(lowest, first, false), recall);
            prop_assert_eq!(chosen, reaching.clamp(lowest, TOP));
            prop_assert!(measured <= 9, "{} were measured", measured);
        }

        #[test]
        fn whatever_is_measured_it_ends_with_a_rung_that_was(
            recalls in prop::collection::vec((0.0_f64..1.0, 0.0_f64..0.1), RUNGS.len()),
            lowest in 0..RUNGS.len(),
            first in 0..RUNGS.len(),
            is_chosen in any::<bool>(),
        ) {
            let recall = |rung: usize| {
                let (mean, error) = recalls[rung];
                Estimate { mean, lower: mean - error }
            };
            let (chosen, measured) = choose(search(lowest, first, is_chosen), recall);
            prop_assert!(chosen >= lowest && measured <= RUNGS.len());
            let is_reached = recall(chosen).mean >= 0.9;
            prop_assert!(is_reached || chosen == TOP);
        }
    }

    #[test]
    fn what_is_in_use_stays_while_it_reaches_the_target_and_nothing_much_narrower_does() {
        let in_use = search(0, 10, true);
        // The mean reaches it, though not for certain; three rungs below it is missed.
        let noisy = |rung: usize| Estimate {
            mean: if rung >= 10 { 0.905 } else { 0.89 },
            lower: if rung >= 12 { 0.91 } else { 0.88 },
        };
        assert_eq!(choose(in_use, noisy), (10, 2));
        assert_eq!(
            choose(search(0, 10, false), noisy).0,
            12,
            "what is new has to be certain"
        );
        // Two rungs narrower would do: not worth a change.
        let reaching_from = |least: usize| move |rung: usize| sure(if rung >= least { 0.95 } else { 0.8 });
        assert_eq!(choose(in_use, reaching_from(8)), (10, 2));
        assert_eq!(choose(in_use, reaching_from(6)).0, 6);
        assert_eq!(choose(in_use, reaching_from(12)).0, 12);
        assert_eq!(
            choose(search(8, 10, true), reaching_from(0)),
            (10, 1),
            "too near the lowest"
        );
        assert_eq!(choose(in_use, |_| sure(0.5)).0, TOP, "the widest there is");
    }

    #[test]
    fn an_estimate_has_the_standard_error_of_its_mean() {
        let mut sums = Sums::default();
        for recall in [1.0, 1.0, 0.9, 0.7] {
            sums.add(recall);
        }
        let Estimate { mean, lower } = sums.estimate();
        assert!((mean - 0.9).abs() < 1e-9);
        // The variance is 0.015, that of the mean a quarter of it.
        assert!((mean - lower - (0.015_f64 / 4.0).sqrt()).abs() < 1e-9);
        assert!(sums.is_lost(6, 0.94) && !sums.is_lost(6, 0.93));
    }

    #[test]
    fn rungs_ascend_to_the_widest_that_may_be_chosen_and_have_the_numbers_of_the_presets() {
        assert!(
            RUNGS
                .windows(2)
                .all(|pair| pair[0] < pair[1] && pair[1] * 3 <= pair[0] * 4)
        );
        assert_eq!(RUNGS[TOP], EF_SEARCH_CHOSEN_MAX);
        for ef in [40, 100, 256] {
            assert_eq!(RUNGS[rung_of(ef)], ef);
        }
        assert_eq!([1, 17, 4_097, 100_000].map(rung_of), [0, 1, TOP, TOP]);
    }
}
