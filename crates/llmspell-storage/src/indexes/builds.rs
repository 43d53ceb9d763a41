//! Builds of the indexes of a namespace, and the changes since each began.
//!
//! A builder works on an older state. Changes committed meanwhile are noted for it, until it drops its note: so nothing
//! has to be cleaned up after a builder that failed.

use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};

use super::changes::Changes;
use super::files::Kind;

/// The changes since a builder took its snapshot.
#[derive(Debug, Default)]
pub(crate) struct Noted(Mutex<Changes>);

impl Noted {
    /// The changes so far. Between two commits they are complete.
    pub(crate) fn so_far(&self) -> Changes {
        self.0.lock().clone()
    }

    /// Whether there is a change.
    pub(crate) fn is_any(&self) -> bool {
        !self.0.lock().points.is_empty()
    }
}

/// The builds of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Builds {
    under_way: Mutex<Vec<Kind>>,
    ended: Condvar,
    notes: Mutex<Vec<Weak<Noted>>>,
}

/// The right to build an index of a kind, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    builds: &'a Builds,
    kind: Kind,
}

impl Builds {
    /// Begins to build an index, unless another build is under way.
    pub(crate) fn begin(&self, kind: Kind) -> Option<Turn<'_>> {
        let mut under_way = self.under_way.lock();
        if under_way.contains(&kind) {
            return None;
        }
        under_way.push(kind);
        Some(Turn { builds: self, kind })
    }

    /// Begins to build an index, once no other build is under way.
    pub(crate) fn begin_after_others(&self, kind: Kind) -> Turn<'_> {
        let mut under_way = self.under_way.lock();
        while under_way.contains(&kind) {
            self.ended.wait(&mut under_way);
        }
        under_way.push(kind);
        Turn { builds: self, kind }
    }

    /// The result of `look`, with a note of all later changes.
    pub(crate) fn note_after<T>(&self, look: impl FnOnce() -> T) -> (T, Arc<Noted>) {
        let mut notes = self.notes.lock();
        let seen = look();
        let noted = Arc::default();
        notes.push(Arc::downgrade(&noted));
        (seen, noted)
    }

    /// Notes changes that `show` publishes: a builder sees them in its snapshot or in its note.
    pub(crate) fn note(&self, changes: &Changes, show: impl FnOnce()) {
        let mut notes = self.notes.lock();
        notes.retain(|note| match note.upgrade() {
            Some(noted) => {
                noted.0.lock().extend(changes);
                true
            }
            None => false,
        });
        show();
    }

    /// Whether there is no build and no note.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.lock().is_empty() && self.notes.lock().iter().all(|note| note.strong_count() == 0)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.builds.under_way.lock().retain(|kind| *kind != self.kind);
        self.builds.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_at_a_time_builds_an_index_of_a_kind_and_a_second_one_waits_or_goes_without() {
        let builds = Builds::default();
        let turn = builds.begin(Kind::Metadata).unwrap();
        assert!(builds.begin(Kind::Metadata).is_none());
        assert!(builds.begin(Kind::Graph).is_some(), "another kind does not matter");
        assert!(!builds.is_idle());
        let (sender, has_turn) = mpsc::channel();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let _turn = builds.begin_after_others(Kind::Metadata);
                sender.send(()).unwrap();
            });
            assert!(has_turn.try_recv().is_err(), "the first one still builds");
            drop(turn);
            has_turn.recv_timeout(Duration::from_secs(20)).unwrap();
        });
        assert!(builds.is_idle());
    }

    #[test]
    fn what_changes_after_a_look_is_noted_until_the_note_is_let_go() {
        let builds = Builds::default();
        builds.note(&Changes::of([1]), || {});
        let ((), first) = builds.note_after(|| {});
        builds.note(&Changes::of([2]), || {});
        let ((), second) = builds.note_after(|| {});
        builds.note(&Changes::of([3]), || {});
        assert!(first.so_far().points.iter().eq([2, 3]));
        assert!(second.so_far().points.iter().eq([3]));
        assert!(!builds.is_idle());
        drop((first, second));
        assert!(builds.is_idle());
    }
}
