//! A chart of recall and latency in a terminal.
//!
//! One bar a search: its latency stands before it, its recall is its length. Bars begin at a recall below all of them,
//! so that the difference between 0.95 and 0.99 can be seen.

/// Characters of a bar of recall 1.
const WIDTH: f64 = 48.0;
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Lines of a chart of points (µs, recall), in their order.
pub(super) fn lines(points: &[(f64, f64)]) -> Vec<String> {
    let lowest = points.iter().map(|(_, recall)| *recall).fold(1.0, f64::min);
    let floor = floor_below(lowest);
    let mut lines = vec![format!("{:>10}  recall, from {floor:.2} to 1", "p50 µs")];
    lines.extend(points.iter().map(|(micros, recall)| {
        let share = ((recall - floor) / (1.0 - floor)).clamp(0.0, 1.0);
        format!("{micros:>10.1}  {} {recall:.4}", bar(share))
    }));
    lines
}

/// The next lower round number.
fn floor_below(lowest: f64) -> f64 {
    let floors = [0.9, 0.8, 0.5];
    floors.into_iter().find(|floor| lowest > *floor).unwrap_or(0.0)
}

fn bar(share: f64) -> String {
    let eighths = (share * WIDTH * 8.0).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_with_the_recall_and_fit_the_terminal() {
        let lines = lines(&[(12.0, 0.91), (30.0, 0.95), (90.5, 1.0)]);
        assert!(lines[0].contains("from 0.90"), "{}", lines[0]);
        let lengths: Vec<usize> = lines.iter().map(|line| line.chars().count()).collect();
        assert!(
            lengths[1] < lengths[2] && lengths[2] < lengths[3] && lengths[3] < 80,
            "{lengths:?}"
        );
        assert_eq!(lines[3].matches('█').count(), 48);
    }

    #[test]
    fn a_single_eighth_can_be_seen() {
        assert_eq!(bar(1.0 / 48.0 / 8.0), "▏");
        assert_eq!(bar(0.0), "");
        assert_eq!(floor_below(0.0), 0.0);
    }
}
