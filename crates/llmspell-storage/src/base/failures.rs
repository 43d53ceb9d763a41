//! Failures in the background, kept until the work succeeds.

use parking_lot::Mutex;

use llmspell_core::{Result, StateScope, StorageError, Timestamp};
use serde::{Deserialize, Serialize};

use crate::base::error::with_causes;
use crate::base::ids::{ScopeId, SpaceId};

/// Failures that are kept; beyond them, the oldest is dropped.
const KEPT_MAX: usize = 16;
/// Bytes of an error's text that are kept, about.
const ERROR_BYTES_MAX: usize = 512;

/// Something that a database tried in the background and that failed; see
/// [`DatabaseStats::background_failures`](crate::DatabaseStats::background_failures).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BackgroundFailure {
    /// The task, for example `build the index`.
    pub task: String,
    /// The place, for example ``scope user:ada of space `memories` ``; empty for the database as a whole.
    pub place: String,
    /// The latest error and its causes, in one line of about 512 bytes at most.
    pub error: String,
    /// How often it failed since it last succeeded, or since the database was opened.
    pub times: u64,
    /// When it first failed, by the clock of the database.
    pub first_at: Timestamp,
    /// When it last failed.
    pub last_at: Timestamp,
}

/// The tasks in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Index,
    MetadataIndex,
    WriteLastFiles,
    Measure,
    PurgeDropped,
    PurgeExpired,
    PurgeKeys,
    PurgeSpace,
    Shrink,
    Punch,
    Survey,
    Verify,
    RememberAtTheEnd,
}

impl Task {
    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Index => "build the index",
            Self::MetadataIndex => "build the index of metadata",
            Self::WriteLastFiles => "write index files while closing",
            Self::Measure => "measure the recall of searches",
            Self::PurgeDropped => "remove what was deleted",
            Self::PurgeExpired => "remove entries that have expired",
            Self::PurgeKeys => "remove keys that have expired",
            Self::PurgeSpace => "remove the files of a space that was dropped",
            Self::Shrink => "give back the space of deleted vectors",
            Self::Punch => "give free slots back to the file system",
            Self::Survey => "look for scopes with space to give back",
            Self::Verify => "verify the truth",
            Self::RememberAtTheEnd => "store what is known while closing",
        }
    }
}

/// What something is done for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Database,
    Space(SpaceId),
    Scope(SpaceId, StateScope),
    /// A scope whose name is not known, or not any more.
    ScopeNumber(ScopeId),
}

impl Place {
    fn is_of(&self, space: SpaceId, scope: Option<&StateScope>) -> bool {
        match self {
            Self::Database | Self::ScopeNumber(_) => false,
            Self::Space(own) => scope.is_none() && *own == space,
            Self::Scope(own, of) => *own == space && scope.is_none_or(|scope| scope == of),
        }
    }

    /// For people; `name_of` knows the names of spaces.
    fn text(&self, name_of: impl Fn(SpaceId) -> Option<String>) -> String {
        let space =
            |id: &SpaceId| name_of(*id).map_or_else(|| format!("space {}", id.0), |name| format!("space `{name}`"));
        match self {
            Self::Database => String::new(),
            Self::Space(id) => space(id),
            Self::Scope(id, scope) => format!("scope {scope} of {}", space(id)),
            Self::ScopeNumber(id) => format!("scope number {}", id.0),
        }
    }
}

/// The failures of one database that nothing has made good yet.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    task: Task,
    place: Place,
    error: String,
    times: u64,
    first_at: i64,
    last_at: i64,
}

impl Failures {
    /// Notes the result of a task: a failure at `now`, in milliseconds since 1970, or a success, which removes an
    /// earlier failure. A closing database counts as neither.
    pub(crate) fn note<T>(&self, task: Task, place: &Place, done: &Result<T>, now: impl FnOnce() -> i64) {
        match done {
            Ok(_) => self.clear(task, place),
            Err(StorageError::Closed) => {}
            Err(error) => self.add(task, place, error, now()),
        }
    }

    fn clear(&self, task: Task, place: &Place) {
        self.kept
            .lock()
            .retain(|kept| (kept.task, &kept.place) != (task, place));
    }

    fn add(&self, task: Task, place: &Place, error: &StorageError, now: i64) {
        let error = shortened(with_causes(error));
        let mut kept = self.kept.lock();
        let known = kept.iter().position(|kept| (kept.task, &kept.place) == (task, place));
        let (times, first_at) = known.map_or((0, now), |known| {
            let known = kept.remove(known);
            (known.times, known.first_at)
        });
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push(Kept {
            task,
            place: place.clone(),
            error,
            times: times + 1,
            first_at,
            last_at: now,
        });
    }

    /// A scope, or a space and all of its scopes, is gone: nothing will be tried for it again.
    pub(crate) fn forget(&self, space: SpaceId, scope: Option<&StateScope>) {
        self.kept.lock().retain(|kept| !kept.place.is_of(space, scope));
    }

    /// All of them, the latest first.
    pub(crate) fn list(&self, name_of: impl Fn(SpaceId) -> Option<String>) -> Vec<BackgroundFailure> {
        let kept = self.kept.lock();
        let failure = |kept: &Kept| BackgroundFailure {
            task: kept.task.name().to_string(),
            place: kept.place.text(&name_of),
            error: kept.error.clone(),
            times: kept.times,
            first_at: Timestamp::from_millis(kept.first_at),
            last_at: Timestamp::from_millis(kept.last_at),
        };
        kept.iter().rev().map(failure).collect()
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > ERROR_BYTES_MAX {
        text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::corrupted;

    fn damaged(detail: &str) -> Result<()> {
        Err(corrupted("truth.redb", detail))
    }

    fn place(space: u32, scope: &str) -> Place {
        Place::Scope(SpaceId(space), StateScope::User(scope.to_string()))
    }

    fn list(failures: &Failures) -> Vec<BackgroundFailure> {
        failures.list(|space| (space == SpaceId(1)).then(|| "memories".to_string()))
    }

    #[test]
    fn a_failure_is_counted_until_the_same_succeeds() {
        let failures = Failures::default();
        let ada = place(1, "ada");
        failures.note(Task::Index, &ada, &damaged("first"), || 1_000);
        failures.note(Task::Measure, &ada, &damaged("another"), || 2_000);
        failures.note(Task::Index, &ada, &damaged("second"), || 3_000);

        let listed = list(&failures);
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0].task, "build the index");
        assert_eq!(listed[0].place, "scope user:ada of space `memories`");
        assert!(listed[0].error.contains("second"), "{}", listed[0].error);
        let times = (listed[0].times, listed[0].first_at, listed[0].last_at);
        assert_eq!(times, (2, Timestamp::from_millis(1_000), Timestamp::from_millis(3_000)));

        failures.note(Task::Index, &ada, &Ok(()), || 4_000);
        let tasks: Vec<String> = list(&failures).into_iter().map(|failure| failure.task).collect();
        assert_eq!(tasks, ["measure the recall of searches"]);
    }

    #[test]
    fn only_the_latest_sixteen_are_kept_each_with_a_short_text() {
        let failures = Failures::default();
        for number in 0..20 {
            let long = damaged(&"ä".repeat(10_000));
            failures.note(Task::Index, &place(1, &number.to_string()), &long, || number);
        }
        let listed = list(&failures);
        assert_eq!(listed.len(), KEPT_MAX);
        assert_eq!(listed[0].last_at, Timestamp::from_millis(19));
        assert_eq!(listed[15].last_at, Timestamp::from_millis(4));
        assert!(listed.iter().all(|failure| failure.error.len() < ERROR_BYTES_MAX + 4));
    }

    #[test]
    fn closing_is_no_failure_and_what_is_dropped_is_forgotten() {
        let failures = Failures::default();
        failures.note(Task::Index, &place(1, "ada"), &Err::<(), _>(StorageError::Closed), || 0);
        assert_eq!(list(&failures), []);

        for place in [
            place(1, "ada"),
            place(1, "bob"),
            place(2, "ada"),
            Place::Space(SpaceId(1)),
            Place::Database,
        ] {
            failures.note(Task::Index, &place, &damaged("it"), || 0);
        }
        failures.forget(SpaceId(1), Some(&StateScope::User("ada".to_string())));
        assert_eq!(list(&failures).len(), 4);
        failures.forget(SpaceId(1), None);
        let places: Vec<String> = list(&failures).into_iter().map(|failure| failure.place).collect();
        assert_eq!(places, ["", "scope user:ada of space 2"]);
    }
}
