//! Lengths of time on the command line, in seconds.

use std::time::Duration;

/// Reads a number of seconds, at most an hour.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    let seconds = seconds.ok_or("write a number of seconds, at most 3600")?;
    Ok(Duration::from_secs_f64(seconds))
}
