//! Spans of searches, and the fields that say how a search was done.

use std::time::Instant;

use llmspell_core::Result;

use crate::base::observe::SearchSpan;
use crate::search::Trace;

/// Runs a search of one scope: with a trace if its span is looked at.
pub(crate) fn traced<T>(span: &SearchSpan, search: impl FnOnce(&mut Trace<'_>) -> Result<T>) -> Result<T> {
    if !span.is_on() {
        return search(&mut Trace::quiet());
    }
    let start = Instant::now();
    let clock = || start.elapsed();
    let mut trace = Trace::timed(&clock);
    let found = search(&mut trace)?;
    span.searched(&trace.plan, start.elapsed());
    Ok(found)
}
