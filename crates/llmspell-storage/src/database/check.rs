//! Is everything as it should be? Reads every row and every slot; repairs nothing.

use llmspell_core::{ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::shared::Shared;
use crate::registry::Space;
use crate::truth::check as truth_check;

/// What [`Database::check`](crate::Database::check) found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// One part of the database each.
    pub sections: Vec<CheckSection>,
}

/// One part of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckSection {
    /// Which part.
    pub name: String,
    /// Rows or slots that were read.
    pub checked: u64,
    /// What is wrong, each with its place; empty if nothing is.
    pub problems: Vec<String>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.sections.iter().all(|section| section.problems.is_empty())
    }
}

impl CheckSection {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Counts something that was read; notes what is wrong with it. The disk failing is no finding but an error.
    pub(crate) fn note<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        self.checked += 1;
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::Data => {
                self.problems.push(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Checks all parts.
pub(super) fn check(shared: &Shared) -> Result<CheckReport> {
    let read = shared.truth.read()?;
    let mut sections = vec![truth_check::values(&read)?];
    for (id, record) in shared.space_records() {
        let mut section = CheckSection::new(format!("space `{}`", record.name));
        if let Some(space) = section.note(shared.space(id))? {
            check_space(shared, &space, &mut section)?;
        }
        sections.push(section);
    }
    Ok(CheckReport { sections })
}

fn check_space(shared: &Shared, space: &Space, section: &mut CheckSection) -> Result<()> {
    // One snapshot for all rows, so that what is compared belongs together.
    let read = shared.truth.read()?;
    let mut slot_use = truth_check::SlotUse::new(&read, space)?;
    let Some(scopes) = section.note(read.scopes(space.id))? else {
        return Ok(());
    };
    for (scope, scope_id) in scopes {
        section.note(truth_check::scope_name(&read, space.id, &scope, scope_id))?;
        if let Some(state) = section.note(read.state(scope_id))? {
            slot_use.add(&state.extents, format!("scope {}", scope_id.0));
            truth_check::namespace(shared, &read, space, scope_id, &state, section)?;
        }
    }
    for (scope_id, space_id) in read.dropped_scopes()? {
        if space_id == space.id
            && let Some(state) = section.note(read.state(scope_id))?
        {
            slot_use.add(&state.extents, format!("dropped scope {}", scope_id.0));
        }
    }
    slot_use.finish(section);
    Ok(())
}
