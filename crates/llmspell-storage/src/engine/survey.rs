//! The survey after opening: finds scopes with slots to give back that no list names.
//!
//! Older versions left scopes without entries, listed for ever. And a process may die before the slots of dead points
//! of a living scope are given back, and the list of such scopes is in memory only. So all scopes are surveyed after
//! opening, a few at a time between commits, unless the last closing left a row with the scopes to look at, and nothing
//! has changed since.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use llmspell_core::{ErrorKind, Result, StateScope};

use super::purge::is_wasteful;
use super::shared::Shared;
use super::writer::Writer;
use crate::base::failures::{Place, Task};
use crate::base::ids::{Lsn, ScopeId};
use crate::spaces::registry::Space;
use crate::truth::{Read, SurveyRow};

/// Number of scopes in one step: about a millisecond.
const STEP_SCOPES: usize = 64;
/// The pause between steps if there is no other work.
const PAUSE: Duration = Duration::from_millis(10);
/// Most scopes that are noted at closing. With more, all are surveyed.
const NOTED_MAX: usize = 1024;

/// The progress of the survey.
pub(super) struct Survey {
    left: Left,
    /// Whether some scopes could not be read: then the next opening must survey all.
    has_failed: bool,
    /// The mutation as of which the truth has the list of scopes to survey.
    stored: Option<Lsn>,
}

enum Left {
    /// All scopes from this id on.
    From(ScopeId),
    These(VecDeque<ScopeId>),
}

/// What a scope has to give back.
enum Found {
    /// Everything: it has no entries.
    Ended,
    /// Slots of dead points.
    Slots,
}

impl Survey {
    /// For a database whose last mutation is `last`.
    pub(super) fn new(row: Option<SurveyRow>, last: Lsn) -> Self {
        let row = match row {
            // Nothing has happened yet.
            _ if last == Lsn(0) => Some(Vec::new()),
            row => row.filter(|row| row.lsn == last).map(|row| row.scopes),
        };
        Self {
            stored: row.is_some().then_some(last),
            left: row.map_or(Left::From(ScopeId(0)), |scopes| Left::These(scopes.into())),
            has_failed: false,
        }
    }

    /// Whether the survey is complete.
    pub(super) fn is_over(&self) -> bool {
        matches!(&self.left, Left::These(scopes) if scopes.is_empty())
    }

    /// How long the next step may wait; none if there is none.
    pub(super) fn due_in(&self) -> Option<Duration> {
        (!self.is_over()).then_some(PAUSE)
    }

    /// The scopes of the next step.
    fn next_step(&mut self, read: &Read) -> Result<Vec<ScopeId>> {
        match &mut self.left {
            Left::These(scopes) => Ok(scopes.drain(..STEP_SCOPES.min(scopes.len())).collect()),
            Left::From(first) => {
                let scopes = read.scope_ids_from(*first, STEP_SCOPES)?;
                self.left = match scopes.last().filter(|_| scopes.len() == STEP_SCOPES) {
                    Some(last) => Left::From(ScopeId(last.0 + 1)),
                    None => Left::These(VecDeque::new()),
                };
                Ok(scopes)
            }
        }
    }
}

impl Writer {
    /// One step: scopes without entries are dropped, and those with many dead points noted.
    pub(super) fn look_at_scopes(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let survey = &mut self.backlog.survey;
        let looked = shared.truth.guard(|| {
            let read = shared.truth.read()?;
            let scopes = survey.next_step(&read)?;
            let found = scopes.into_iter().filter_map(|scope| {
                look_at(&shared, &read, scope)
                    .inspect_err(|error| {
                        survey.has_failed |= error.kind() != ErrorKind::Data;
                        shared.note_background(Task::Survey, &Place::ScopeNumber(scope), &Err::<(), _>(error.clone()));
                    })
                    .unwrap_or(None)
            });
            Ok(found.collect::<Vec<_>>())
        });
        let found = match looked {
            Ok(found) => found,
            Err(error) => {
                (survey.left, survey.has_failed) = (Left::These(VecDeque::new()), true);
                return Err(error);
            }
        };
        let mut ended = Vec::new();
        for (space, scope, what) in found {
            match what {
                Found::Ended => ended.push((space, scope)),
                Found::Slots => drop(self.backlog.shrinking.insert((space.id, scope))),
            }
        }
        if ended.is_empty() {
            return Ok(());
        }
        let done = self.transact(|batch| batch.drop_if_ended(&ended));
        self.backlog.survey.has_failed |= done.is_err();
        done
    }

    /// The row to store at closing: the scopes that the next opening must survey; none if that is not known, or stored
    /// already.
    pub(super) fn survey_to_store(&self) -> Result<Option<SurveyRow>> {
        let survey = &self.backlog.survey;
        let is_known = survey.is_over() && !survey.has_failed && survey.stored != Some(self.head.lsn);
        let waiting = || self.backlog.shrinking.iter().chain(&self.backlog.shrinking_later);
        // It must not take space that others need.
        let has_room = self.shared.is_durable() && !self.shared.is_nearly_full();
        if !is_known || !has_room || waiting().count() > NOTED_MAX {
            return Ok(None);
        }
        let read = self.shared.truth.read()?;
        let scopes = waiting().map(|(space, scope)| read.scope_id(*space, scope));
        let scopes = scopes.filter_map(Result::transpose).collect::<Result<Vec<ScopeId>>>()?;
        let lsn = self.head.lsn;
        Ok(Some(SurveyRow { lsn, scopes }))
    }
}

/// What a scope has to give back, if anything.
fn look_at(shared: &Shared, read: &Read, id: ScopeId) -> Result<Option<(Arc<Space>, StateScope, Found)>> {
    let Some((space, scope)) = read.scope_name(id)?.filter(|(space, _)| shared.has_space(*space)) else {
        return Ok(None);
    };
    if read.scope_id(space, &scope)? != Some(id) {
        // It was dropped, and is purged anyway.
        return Ok(None);
    }
    let state = read.state(id)?;
    if state.live_count() == 0 {
        return Ok(Some((shared.space(space)?, scope, Found::Ended)));
    }
    let dead = state.dead_with_slot().len();
    if dead == 0 {
        return Ok(None);
    }
    let space = shared.space(space)?;
    let wastes = is_wasteful(dead, &state, &space);
    Ok(wastes.then_some((space, scope, Found::Slots)))
}
