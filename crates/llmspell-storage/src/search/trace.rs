//! The trace of a search: what it did, for `explain`.

use std::time::Duration;

use llmspell_core::{EfChoice, SearchPath, SearchPlan, SearchStage};

/// Counts what a search does; times it too, if a clock is given.
pub(crate) struct Trace<'a> {
    pub(crate) plan: SearchPlan,
    clock: Option<&'a dyn Fn() -> Duration>,
    /// When the stage began.
    since: Duration,
}

impl<'a> Trace<'a> {
    /// For a search that nobody asks how it was done.
    pub(crate) fn quiet() -> Self {
        Self {
            plan: SearchPlan::default(),
            clock: None,
            since: Duration::ZERO,
        }
    }

    /// With a clock that says how long ago something began.
    pub(crate) fn timed(clock: &'a dyn Fn() -> Duration) -> Self {
        Self {
            clock: Some(clock),
            since: clock(),
            ..Self::quiet()
        }
    }

    /// A way is gone.
    pub(super) fn go(&mut self, path: SearchPath) {
        if self.clock.is_some() {
            self.plan.paths.push(path);
        }
    }

    /// Says why the beam is as wide as it is.
    pub(super) fn width(&mut self, choice: impl FnOnce() -> EfChoice) {
        if self.clock.is_some() {
            self.plan.ef_choice = Some(choice());
        }
    }

    /// Results were chosen among those found.
    pub(crate) fn choose(&mut self) {
        self.stage("select");
    }

    /// A part of the search has ended.
    pub(super) fn stage(&mut self, name: &str) {
        if let Some(clock) = self.clock {
            let now = clock();
            let micros = now.saturating_sub(self.since).as_secs_f64() * 1e6;
            self.since = now;
            self.plan.stages.push(SearchStage::new(name, micros));
        }
    }
}
