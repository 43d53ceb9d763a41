//! The speed at a recall between two measured ones.

use serde::Serialize;

use super::rounds::SearchReport;

/// Recalls at which speeds are compared.
pub(super) const TARGETS: [f64; 2] = [0.95, 0.99];

/// One line of phase `at`.
#[derive(Debug, Serialize)]
pub(crate) struct AtRecall {
    phase: &'static str,
    recall: f64,
    threads: usize,
    /// None if the recall was not reached.
    pub(crate) qps: Option<f64>,
    pub(crate) qps_median: Option<f64>,
    /// Whether even the fastest search reached the recall, so that it could be had faster.
    pub(super) at_least: bool,
}

impl AtRecall {
    pub(crate) fn of(searches: &[SearchReport], target: f64) -> Self {
        let points = |qps: fn(&SearchReport) -> f64| -> Vec<(f64, f64)> {
            searches.iter().map(|search| (search.recall, qps(search))).collect()
        };
        let best = interpolated(points(|search| search.qps), target);
        Self {
            phase: "at",
            recall: target,
            threads: searches.first().map_or(0, |search| search.threads),
            qps: best.map(|(qps, _)| tenth(qps)),
            qps_median: interpolated(points(|search| search.qps_median), target).map(|(qps, _)| tenth(qps)),
            at_least: best.is_some_and(|(_, at_least)| at_least),
        }
    }

    pub(super) fn sentence(&self) -> String {
        let Self { recall, threads, .. } = self;
        let threads = format!("{threads} {}", if *threads == 1 { "thread" } else { "threads" });
        match (self.qps, self.qps_median) {
            (Some(qps), Some(median)) => format!(
                "at recall >= {recall:.2}, {threads}: {}{} queries a second, {} at the median",
                if self.at_least { "more than " } else { "" },
                llmspell_cli_base::output::grouped(qps as u64),
                llmspell_cli_base::output::grouped(median as u64)
            ),
            (Some(_) | None, _) => format!("at recall >= {recall:.2}, {threads}: not reached"),
        }
    }
}

/// Queries a second at a recall, from points (recall, queries a second), and whether all points are above it.
///
/// Between the nearest points below and above, the logarithm of the speed is taken to be linear in the recall. A faster
/// point above the target counts more than that.
fn interpolated(mut points: Vec<(f64, f64)>, target: f64) -> Option<(f64, bool)> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let (below, above) = points.split_at(points.partition_point(|(recall, _)| *recall < target));
    let best = above.iter().map(|(_, qps)| *qps).max_by(f64::total_cmp)?;
    let (Some((low, low_qps)), Some((high, high_qps))) = (below.last(), above.first()) else {
        return Some((best, true));
    };
    let share = (target - low) / (high - low);
    let between = (low_qps.ln() * (1.0 - share) + high_qps.ln() * share).exp();
    Some((best.max(between), false))
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_points_the_logarithm_of_the_speed_is_linear() {
        let points = vec![(0.90, 1000.0), (1.0, 10.0)];
        let (qps, at_least) = interpolated(points, 0.95).unwrap();
        assert!((qps - 100.0).abs() < 1e-6 && !at_least, "{qps}");
    }

    #[test]
    fn a_faster_point_above_the_target_wins() {
        let points = vec![(0.90, 100.0), (0.96, 50.0), (0.97, 90.0)];
        assert_eq!(interpolated(points, 0.959), Some((90.0, false)));
    }

    #[test]
    fn a_target_that_all_points_reach_is_a_lower_bound_and_one_that_none_reaches_is_nothing() {
        let points = vec![(0.97, 50.0), (0.98, 60.0)];
        assert_eq!(interpolated(points.clone(), 0.95), Some((60.0, true)));
        assert_eq!(interpolated(points, 0.99), None);
        assert_eq!(interpolated(Vec::new(), 0.95), None);
    }
}
