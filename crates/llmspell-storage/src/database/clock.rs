//! What time is it? Never earlier than it was.
//!
//! Expiry must not be undone by a clock that is set back, so time is the latest of what the system says, what it said
//! before, and what the database last stored.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use llmspell_core::Timestamp;

use crate::options::TimeSource;

/// The clock of a database, in milliseconds since 1970.
#[derive(Debug)]
pub(crate) struct Clock {
    /// None: the clock of the system.
    source: Option<TimeSource>,
    latest: AtomicI64,
}

impl Clock {
    /// A clock that does not go back behind `earliest`.
    pub(crate) fn new(source: Option<TimeSource>, earliest: i64) -> Self {
        Self {
            source,
            latest: AtomicI64::new(earliest),
        }
    }

    /// Now.
    pub(crate) fn now(&self) -> i64 {
        let now = match &self.source {
            Some(source) => source.now(),
            None => Timestamp::from(SystemTime::now()),
        };
        self.advance_to(now.as_millis())
    }

    fn advance_to(&self, wall: i64) -> i64 {
        let latest = self.latest.load(Ordering::SeqCst);
        if latest >= wall {
            // Most calls come within the millisecond of another: they need not write.
            return latest;
        }
        self.latest.fetch_max(wall, Ordering::SeqCst).max(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back_when_the_wall_clock_does() {
        let clock = Clock::new(None, 1_000);
        assert_eq!(clock.advance_to(500), 1_000);
        assert_eq!(clock.advance_to(2_000), 2_000);
        assert_eq!(clock.advance_to(1_500), 2_000);
    }
}
