//! Reads one scope in several spaces, all as of one commit.
//!
//! All spaces of a database are in one file, so one read transaction is a consistent cut through them: an entry that moves
//! from one space to another is found in exactly one of the two.

use std::sync::Arc;

use llmspell_core::{Filter, OwnTime, Result, StateScope, VectorEntry};

use super::calls::of_model;
use crate::engine::Shared;
use crate::namespace::Namespace;
use crate::search::{self, Condition};
use crate::spaces::registry::Space;
use crate::spaces::snapshot::{LookAgain, Snapshot};
use crate::truth::Read;

/// The spaces and the scope to read.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) scope: &'a StateScope,
    /// A valid filter, if the read asks one.
    pub(crate) filter: Option<&'a Filter>,
    /// The time that the read goes by, if it goes by one.
    pub(crate) time: Option<OwnTime>,
    /// [`Shared::spaces_version`] when the spaces were listed.
    pub(crate) spaces_version: u64,
}

/// The scope in one of the spaces.
pub(crate) struct Member<'a> {
    pub(crate) space: &'a Arc<Space>,
    pub(crate) namespace: &'a Arc<Namespace>,
    pub(crate) snapshot: Snapshot<'a>,
    condition: Option<&'a Condition>,
}

impl Member<'_> {
    /// The filter of the read, compiled for this space.
    pub(crate) fn condition(&self) -> &Condition {
        self.condition.expect("this read has a filter")
    }

    /// The same, if the read has a filter.
    pub(crate) fn filter(&self) -> Option<&Condition> {
        self.condition
    }

    /// The same entries, each with the name of the model of the space, if it has one.
    pub(crate) fn named(&self, entries: impl IntoIterator<Item = VectorEntry>) -> Vec<VectorEntry> {
        of_model(self.space, entries)
    }
}

/// A loaded namespace, and the filter for its space.
struct Loaded<'a> {
    space: &'a Arc<Space>,
    namespace: Arc<Namespace>,
    condition: Option<Condition>,
}

/// Runs `read` on the scope in those of the spaces that have it; none if a space came or went meanwhile.
///
/// May wait for the disk. Costs one read transaction, and one look-up for each space.
///
/// # Errors
///
/// `Timeout` if the scope is written so fast that no commit is seen whole; `Data` or `Io`; those of `read`.
pub(crate) fn read_together<T>(
    shared: &Shared,
    spaces: &[Arc<Space>],
    asked: &Asked<'_>,
    read: impl FnOnce(&[Member<'_>]) -> Result<T>,
) -> Result<Option<T>> {
    let mut looks = LookAgain::default();
    loop {
        let loaded = load(shared, spaces, asked)?;
        let parts: Vec<_> = loaded.iter().map(|of| (&of.space.slots, &*of.namespace)).collect();
        let absent = |read: &Read| is_absent_elsewhere(read, spaces, &loaded, asked.scope);
        let snapshots = Snapshot::take_together(&shared.truth, &parts, absent)?;
        // After the transaction began: it sees these spaces.
        if shared.spaces_version() != asked.spaces_version {
            return Ok(None);
        }
        let Some(snapshots) = snapshots else {
            looks.pause()?;
            continue;
        };
        let mut members = Vec::with_capacity(loaded.len());
        for (of, snapshot) in loaded.iter().zip(snapshots) {
            members.push(Member {
                space: of.space,
                namespace: &of.namespace,
                snapshot,
                condition: of.condition.as_ref(),
            });
        }
        return read(&members).map(Some);
    }
}

fn load<'a>(shared: &Shared, spaces: &'a [Arc<Space>], asked: &Asked<'_>) -> Result<Vec<Loaded<'a>>> {
    let mut loaded = Vec::with_capacity(spaces.len());
    for space in spaces {
        let Some(namespace) = space.load(&shared.truth, asked.scope)? else {
            continue;
        };
        let condition = asked.filter.map(|filter| Condition::new(filter, space.dates()));
        let condition = condition.transpose()?;
        search::index_for_list(
            &shared.truth,
            space,
            asked.scope,
            &namespace,
            (asked.time, condition.as_ref()),
        )?;
        loaded.push(Loaded {
            space,
            namespace,
            condition,
        });
    }
    Ok(loaded)
}

/// Whether no space has the scope but those where it was loaded.
fn is_absent_elsewhere(read: &Read, spaces: &[Arc<Space>], loaded: &[Loaded<'_>], scope: &StateScope) -> Result<bool> {
    let is_loaded = |space: &Arc<Space>| loaded.iter().any(|of| Arc::ptr_eq(of.space, space));
    for space in spaces.iter().filter(|space| !is_loaded(space)) {
        if read.scope_id(space.id, scope)?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}
