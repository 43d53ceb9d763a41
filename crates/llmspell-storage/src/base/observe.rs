//! Events and fields of spans for `tracing`. Empty without the feature `tracing`.
//!
//! The span of a call is an attribute above it: `cfg_attr(feature = "tracing", tracing::instrument(…))`. Spans and
//! events never contain keys, values, vectors, metadata, or ids of entries; the id of a scope only with
//! [`DatabaseOptions::trace_scope_ids`](crate::DatabaseOptions::trace_scope_ids).

#![cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, reason = "nothing is told without the feature")
)]

use std::fmt;
use std::time::Duration;

use llmspell_core::{SearchPlan, StorageError};

#[cfg(feature = "tracing")]
pub(crate) use on::Seen;

/// Sends an event, with the feature.
macro_rules! event {
    ($level:ident, $($fields:tt)+) => {{
        #[cfg(feature = "tracing")]
        tracing::event!(target: "llmspell_storage", tracing::Level::$level, $($fields)+);
    }};
}

/// A number that only an event needs; 0 without the feature.
pub(crate) fn if_on(number: impl FnOnce() -> usize) -> usize {
    #[cfg(feature = "tracing")]
    let number = if tracing::enabled!(target: "llmspell_storage", tracing::Level::DEBUG) {
        number()
    } else {
        0
    };
    #[cfg(not(feature = "tracing"))]
    let number = 0;
    number
}

/// Requests became durable together, or were refused.
pub(crate) fn committed(requests: usize, bytes: usize, took: Duration) {
    event!(DEBUG, requests, bytes, us = micros(took), "commit");
}

/// Work on the index of a scope. Dropped before its end, it has failed.
#[derive(Debug)]
pub(crate) struct IndexWork<'a> {
    #[cfg(feature = "tracing")]
    told: Option<(&'a str, String)>,
    #[cfg(not(feature = "tracing"))]
    told: std::marker::PhantomData<&'a str>,
}

impl<'a> IndexWork<'a> {
    /// It begins; not if there is nothing to do.
    pub(crate) fn begin(space: &'a str, work: &impl fmt::Debug, is_any: bool) -> Self {
        #[cfg(feature = "tracing")]
        let told = is_any.then(|| (space, format!("{work:?}").to_lowercase()));
        #[cfg(feature = "tracing")]
        if let Some((space, work)) = &told {
            event!(DEBUG, space, work, "index work begun");
        }
        #[cfg(not(feature = "tracing"))]
        let told = std::marker::PhantomData;
        Self { told }
    }

    /// It has ended: done, or given up for something more urgent.
    pub(crate) fn end(self) {
        #[cfg(feature = "tracing")]
        let mut this = self;
        #[cfg(feature = "tracing")]
        if let Some((space, work)) = this.told.take() {
            event!(DEBUG, space, work, "index work ended");
        }
    }
}

#[cfg(feature = "tracing")]
impl Drop for IndexWork<'_> {
    fn drop(&mut self) {
        if let Some((space, work)) = &self.told {
            event!(DEBUG, space, work, "index work failed");
        }
    }
}

/// An index file is written and named.
pub(crate) fn file_written(space: &str, bytes: u64) {
    event!(DEBUG, space, bytes, "index file written");
}

/// A step of the purge has ended.
pub(crate) fn purged(task: &str, is_done: bool) {
    event!(DEBUG, task, is_done, "purge step");
}

/// Loaded scopes took more than they may, and some were unloaded.
pub(crate) fn unloaded(freed_bytes: u64, excess_bytes: u64) {
    event!(DEBUG, freed_bytes, excess_bytes, "scopes unloaded");
}

/// Something failed in the background. Its text may name a scope.
pub(crate) fn failed(task: &str, error: &StorageError, shows_ids: bool) {
    event!(
        WARN,
        task,
        kind = ?error.kind(),
        error = shows_ids.then(|| tracing::field::display(error)),
        "failed in the background"
    );
}

#[cfg(feature = "tracing")]
fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// The span of a search, if a subscriber looks at it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchSpan {
    #[cfg(feature = "tracing")]
    span: Option<tracing::Span>,
}

impl SearchSpan {
    /// That of the search under way.
    pub(crate) fn current() -> Self {
        #[cfg(feature = "tracing")]
        {
            let span = tracing::Span::current();
            // Where ours is not wanted, the current one is the application's.
            Self {
                span: span.has_field("distances").then_some(span),
            }
        }
        #[cfg(not(feature = "tracing"))]
        Self {}
    }

    /// Whether anything is looked at.
    pub(crate) fn is_on(&self) -> bool {
        #[cfg(feature = "tracing")]
        let is_on = self.span.is_some();
        #[cfg(not(feature = "tracing"))]
        let is_on = false;
        is_on
    }

    /// How one scope was searched.
    pub(crate) fn searched(&self, plan: &SearchPlan, took: Duration) {
        #[cfg(feature = "tracing")]
        if let Some(span) = &self.span {
            let paths: Vec<&str> = plan.paths.iter().map(|path| path.name()).collect();
            span.record("path", paths.join(", then "));
            span.record("codes", plan.codes);
            span.record("distances", plan.distances);
            span.record("us", micros(took));
        }
    }

    /// What came of it.
    pub(crate) fn answered(&self, results: usize) {
        #[cfg(feature = "tracing")]
        if let Some(span) = &self.span {
            span.record("results", results);
        }
    }
}

#[cfg(feature = "tracing")]
mod on {
    use std::fmt;

    use llmspell_core::{StateScope, VectorQuery};

    /// A scope as spans show it: its kind alone, since its id tells whose it is, unless ids are asked for.
    pub(crate) struct Seen<'a> {
        /// None: several.
        scope: Option<&'a StateScope>,
        shows_id: bool,
    }

    impl<'a> Seen<'a> {
        pub(crate) fn new(scope: &'a StateScope, shows_id: bool) -> Self {
            let scope = Some(scope);
            Self { scope, shows_id }
        }

        pub(crate) fn of(query: &'a VectorQuery, shows_id: bool) -> Self {
            let scope = query.scopes.is_none().then_some(&query.scope);
            Self { scope, shows_id }
        }
    }

    impl fmt::Display for Seen<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.scope {
                None => f.write_str("several"),
                Some(scope) if self.shows_id => scope.fmt(f),
                Some(scope) => f.write_str(scope.kind().name()),
            }
        }
    }
}
