//! The purge of expired keys: one step at a time, in turn with the other steps of the purge.

use std::time::Duration;

use llmspell_core::Result;

use super::backlog::{EXPIRY_DELAY_MS, STEP_ROWS};
use super::batch::Fail;
use super::purge::STEP_ROWS_IF_FULL;
use super::writer::Writer;

/// How long to wait after a failure, in milliseconds.
const RETRY_MS: i64 = 10_000;

/// Whether there is something to do.
#[derive(Debug)]
pub(super) struct ExpiringKeys {
    /// The earliest expiry of a key, in milliseconds since 1970, or an earlier moment.
    first: Option<i64>,
}

impl ExpiringKeys {
    pub(super) fn new(first: Option<i64>) -> Self {
        Self { first }
    }

    /// Notes that a key expires at `moment`.
    pub(super) fn note(&mut self, moment: Option<i64>) {
        self.first = self.first.into_iter().chain(moment).min();
    }

    /// Whether some have expired at `now`.
    pub(super) fn are_over(&self, now: i64) -> bool {
        self.first.is_some_and(|moment| moment <= now)
    }

    /// Whether some expired so long ago that they may be removed.
    pub(super) fn are_due(&self, now: i64) -> bool {
        self.due_after(now) == Some(Duration::ZERO)
    }

    /// How long the next step may wait; none if no key expires.
    pub(super) fn due_after(&self, now: i64) -> Option<Duration> {
        let due_ms = self.first?.saturating_add(EXPIRY_DELAY_MS).saturating_sub(now);
        Some(Duration::from_millis(u64::try_from(due_ms).unwrap_or(0)))
    }
}

impl Writer {
    /// Removes some of the expired keys.
    pub(super) fn purge_keys(&mut self) -> Result<()> {
        // A clock that is ahead and not confirmed hides keys, but removes none.
        let now = self.shared.clock.confirmed();
        let keys_max = match self.shared.is_nearly_full() {
            false => STEP_ROWS,
            true => STEP_ROWS_IF_FULL,
        };
        let done = self.transact(|batch| {
            let expired = batch.rows.expired_keys(now, keys_max).map_err(Fail::Batch)?;
            batch.purge_keys(&expired, now)?;
            Ok(expired.len() < keys_max)
        });
        let first = done.and_then(|is_last| match is_last {
            true => self.shared.truth.read()?.first_key_expiry(),
            false => Ok(Some(i64::MIN)),
        });
        self.backlog.expiring_keys.first = match &first {
            Ok(first) => *first,
            Err(_) => Some(now.saturating_add(RETRY_MS)),
        };
        first.map(drop)
    }
}
