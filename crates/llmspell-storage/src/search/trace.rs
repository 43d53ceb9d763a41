//! The trace of a search: what it did, for `explain`.

use std::time::Duration;

use llmspell_core::{EfChoice, SearchPath, SearchPlan, SearchStage};

/// Counts what a search does, and times it if a clock is given.
pub(crate) struct Trace<'a> {
    pub(crate) plan: SearchPlan,
    clock: Option<&'a dyn Fn() -> Duration>,
    /// When the current stage began.
    since: Duration,
}

impl<'a> Trace<'a> {
    /// A trace without a clock.
    pub(crate) fn quiet() -> Self {
        Self {
            plan: SearchPlan::default(),
            clock: None,
            since: Duration::ZERO,
        }
    }

    /// A trace with a clock that gives the time since some moment.
    pub(crate) fn timed(clock: &'a dyn Fn() -> Duration) -> Self {
        Self {
            clock: Some(clock),
            since: clock(),
            ..Self::quiet()
        }
    }

    /// Records that a path was tried.
    pub(super) fn record_path(&mut self, path: SearchPath) {
        if self.clock.is_some() {
            self.plan.paths.push(path);
        }
    }

    /// Records the width of the beam and the reason for it.
    pub(super) fn width(&mut self, choice: impl FnOnce() -> EfChoice) {
        if self.clock.is_some() {
            self.plan.ef_choice = Some(choice());
        }
    }

    /// Records that results were selected from candidates.
    pub(crate) fn choose(&mut self) {
        self.stage("select");
    }

    /// Records the end of a stage.
    pub(super) fn stage(&mut self, name: &str) {
        if let Some(clock) = self.clock {
            let now = clock();
            let micros = now.saturating_sub(self.since).as_secs_f64() * 1e6;
            self.since = now;
            self.plan.stages.push(SearchStage::new(name, micros));
        }
    }
}
