//! The survey after opening: finds scopes with slots to give back that no list names.
//!
//! Older versions left scopes without entries, listed for ever. And a process may die while the slots of dead points of a
//! living scope are given back: which scopes these are, only memory knows. So all scopes are looked at after opening, a few
//! at a time between commits, unless the last closing left a row that says which need to be looked at, and nothing was
//! changed since.

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

/// How many scopes one step looks at: about a millisecond.
const STEP_SCOPES: usize = 64;
/// How long a step waits, where nothing else is to be done: nobody is in a hurry.
const PAUSE: Duration = Duration::from_millis(10);
/// Most scopes that are noted at closing. With more, all are looked at.
const NOTED_MAX: usize = 1024;

/// How far the look at all scopes has come.
pub(super) struct Survey {
    left: Left,
    /// Some could not be looked at: whoever opens the database next has to look at all.
    has_failed: bool,
    /// As of which mutation the truth says which scopes need to be looked at.
    stored: Option<Lsn>,
}

enum Left {
    /// All from this number on.
    From(ScopeId),
    These(VecDeque<ScopeId>),
}

/// What a scope has to give back.
enum Found {
    /// All of it: it has no entries.
    Ended,
    /// Slots of dead points.
    Slots,
}

impl Survey {
    /// Of a database that ends with the mutation `last`.
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

    /// That nothing is left to be looked at.
    pub(super) fn is_over(&self) -> bool {
        matches!(&self.left, Left::These(scopes) if scopes.is_empty())
    }

    /// How long the next step may wait; none if there is none.
    pub(super) fn due_in(&self) -> Option<Duration> {
        (!self.is_over()).then_some(PAUSE)
    }

    /// The scopes of the next step, which is the only one to look at them.
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

    /// What the next opening has to look at, to be stored at closing; none if that is not known, or stored already.
    pub(super) fn survey_to_store(&self) -> Result<Option<SurveyRow>> {
        let survey = &self.backlog.survey;
        let is_known = survey.is_over() && !survey.has_failed && survey.stored != Some(self.head.lsn);
        let waiting = || self.backlog.shrinking.iter().chain(&self.backlog.shrinking_later);
        // It is worth no room that others need.
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
        // It was dropped, and is purged as such.
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
