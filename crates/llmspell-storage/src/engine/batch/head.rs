//! The numbers that a batch gives out, and the moment that is stored with them.

use llmspell_core::Result;

use crate::base::ids::{Lsn, ScopeId, SpaceId};
use crate::engine::Clock;
use crate::truth::{Head, Rows};

/// What the next mutation starts from, as a batch has changed it so far.
pub(super) struct HeadChanges<'a> {
    pub(super) now: Head,
    before: Head,
    clock: &'a Clock,
    /// What is stored of the clock.
    pub(super) clock_version: u64,
}

impl<'a> HeadChanges<'a> {
    pub(super) fn new(head: Head, clock: &'a Clock) -> Self {
        Self {
            now: head,
            before: head,
            clock,
            clock_version: 0,
        }
    }

    /// The number of the next mutation.
    pub(super) fn next_lsn(&mut self) -> Lsn {
        self.now.lsn = Lsn(self.now.lsn.0 + 1);
        self.now.lsn
    }

    /// A number that no scope has.
    pub(super) fn new_scope_id(&mut self) -> ScopeId {
        let id = ScopeId(self.now.next_scope_id);
        self.now.next_scope_id += 1;
        id
    }

    /// The number that the next new space gets.
    pub(super) fn next_space_id(&self) -> SpaceId {
        SpaceId(self.now.next_space_id)
    }

    /// The space of that number was made.
    pub(super) fn use_space_id(&mut self) {
        self.now.next_space_id += 1;
    }

    /// Records that it is `now`, in milliseconds since 1970, as far as that is confirmed.
    pub(super) fn set_clock(&mut self, now: i64) {
        // A clock that is ahead for a moment must not stop time for good.
        let confirmed = now.min(self.clock.latest());
        self.now.clock_ms = self.now.clock_ms.max(confirmed);
    }

    /// Writes the rows that changed.
    pub(super) fn finish(&mut self, rows: &mut Rows<'_>) -> Result<()> {
        if self.now != self.before {
            rows.set_head(&self.now)?;
        }
        if let Some((version, row)) = self.clock.unsaved() {
            rows.set_clock(Some(&row))?;
            self.clock_version = version;
        }
        Ok(())
    }
}
