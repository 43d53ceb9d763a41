//! Entries that have no copy in another space yet.

use llmspell_core::{ModelRef, Result, StateScope, Timestamp, VectorEntry};

use crate::base::ids::ScopeId;
use crate::base::record::Record;
use crate::base::stored_text::StoredText;
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;

/// Entries without a copy, each with its record.
pub(crate) struct Uncopied {
    pub(crate) entries: Vec<VectorEntry>,
    pub(crate) records: Vec<Record>,
    pub(crate) texts: Vec<Option<StoredText>>,
    /// The last id that was read; none once all were.
    pub(crate) last: Option<String>,
}

impl Snapshot<'_> {
    /// At most `limit` visible entries with ids greater than `after` whose ids are not in the scope `copied`.
    pub(crate) fn uncopied(
        &self,
        (space, scope): (&Space, &StateScope),
        copied: Option<ScopeId>,
        after: Option<&str>,
        limit: usize,
        now: i64,
    ) -> Result<Uncopied> {
        let records = self.read.records(self.namespace.scope_id)?;
        let (now, model) = (Timestamp::from_millis(now), space.model());
        let mut found = Uncopied {
            entries: Vec::new(),
            records: Vec::new(),
            texts: Vec::new(),
            last: None,
        };
        self.read.visit_ids(self.namespace.scope_id, after, |id, point| {
            if !self.state.lives(point) {
                return Ok(true);
            }
            let record = records.get_by_id(id, point)?;
            let is_copied = match copied {
                Some(copied) => self.read.point(copied, &record.id)?.is_some(),
                None => false,
            };
            if !is_copied && !record.is_expired(now) {
                let mut entry = self.entry(scope, point, record.clone())?;
                entry.model = model.as_ref().map(|model| ModelRef::from(model.name.as_str()));
                found.entries.push(entry);
                found.texts.push(self.stored_text(point, &record)?);
                found.records.push(record);
            }
            if found.entries.len() < limit {
                return Ok(true);
            }
            found.last = found.records.last().map(|record| record.id.clone());
            Ok(false)
        })?;
        Ok(found)
    }
}
