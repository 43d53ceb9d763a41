//! Is everything as it should be? Reads every row and every slot; repairs nothing.

use llmspell_core::Result;

use super::shared::Shared;
use crate::registry::Space;
use crate::report::{CheckReport, CheckSection};
use crate::truth::check as truth_check;

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
    let mut slot_use = truth_check::SlotUse::new(&read, space.id)?;
    let Some(scopes) = section.note(read.scopes(space.id))? else {
        return Ok(());
    };
    for (scope, scope_id) in scopes {
        section.note(truth_check::scope_name(&read, space.id, &scope, scope_id))?;
        if let Some(state) = section.note(read.state(scope_id))? {
            slot_use.add(&state.extents, &format!("scope {}", scope_id.0));
            truth_check::namespace(&shared.truth, &read, &space.slots, scope_id, &state, section)?;
        }
    }
    for (scope_id, space_id) in read.dropped_scopes()? {
        if space_id == space.id
            && let Some(state) = section.note(read.state(scope_id))?
        {
            slot_use.add(&state.extents, &format!("dropped scope {}", scope_id.0));
        }
    }
    slot_use.finish(section);
    Ok(())
}
