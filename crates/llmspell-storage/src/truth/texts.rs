//! Texts of entries: the table `texts`, which databases get with their first text.
//!
//! A row stands there as long as the one in `entries` with the same key, if that entry has a text.

use llmspell_core::Result;
use redb::{ReadOnlyTable, ReadableTable};

use super::write::{Rows, table};
use super::{Read, table_error, tables};
use crate::base::error::corrupted;
use crate::base::ids::{PointId, ScopeId};
use crate::base::stored_text::StoredText;

impl Rows<'_> {
    /// Sets the text of a point.
    pub(crate) fn put_text(&mut self, scope: ScopeId, point: PointId, text: &StoredText) -> Result<()> {
        let failed = self.failed();
        let bytes = text.encode(scope, point);
        table!(self.texts, TEXTS)
            .insert((scope.0, point.0), bytes.as_slice())
            .map_err(failed)?;
        Ok(())
    }

    /// Removes the text of a point, if it has one.
    pub(super) fn remove_text(&mut self, scope: ScopeId, point: PointId) -> Result<()> {
        let failed = self.failed();
        table!(self.texts, TEXTS).remove((scope.0, point.0)).map_err(failed)?;
        Ok(())
    }

    /// Removes at most `limit` texts of a dropped scope. Says how many went.
    pub(super) fn purge_texts(&mut self, scope: ScopeId, limit: usize) -> Result<usize> {
        let failed = self.failed();
        let texts = table!(self.texts, TEXTS);
        let mut points = Vec::with_capacity(limit);
        for row in texts
            .range((scope.0, 0)..=(scope.0, u32::MAX))
            .map_err(&failed)?
            .take(limit)
        {
            points.push(row.map_err(&failed)?.0.value());
        }
        for point in &points {
            texts.remove(point).map_err(&failed)?;
        }
        Ok(points.len())
    }
}

impl Read {
    /// The text of an entry that has one.
    ///
    /// # Errors
    ///
    /// `Corrupted` if it is missing or damaged.
    pub(crate) fn text(&self, scope: ScopeId, point: PointId) -> Result<StoredText> {
        let table = self.table(tables::TEXTS)?;
        let row = table.get((scope.0, point.0)).map_err(self.failed())?;
        let row = row.ok_or_else(|| corrupted(self.path(), format!("{}: the row is missing", place(scope, point))))?;
        StoredText::decode(scope, point, row.value()).map_err(self.malformed(|| place(scope, point)))
    }

    /// The texts of a scope; none if no entry of it has one.
    pub(crate) fn texts(&self, scope: ScopeId) -> Result<Option<StoredTexts<'_>>> {
        let Some(table) = self.optional_table(tables::TEXTS)? else {
            return Ok(None);
        };
        let mut rows = table.range((scope.0, 0)..=(scope.0, u32::MAX)).map_err(self.failed())?;
        let is_any = rows.next().transpose().map_err(self.failed())?.is_some();
        drop(rows);
        let read = self;
        Ok(is_any.then_some(StoredTexts { read, scope, table }))
    }
}

/// The texts of one scope, at least one.
pub(crate) struct StoredTexts<'a> {
    read: &'a Read,
    scope: ScopeId,
    table: ReadOnlyTable<(u64, u32), &'static [u8]>,
}

impl StoredTexts<'_> {
    /// All texts in the order of their points, damaged ones too.
    pub(crate) fn visit_each(&self, mut visit: impl FnMut(PointId, Result<StoredText>) -> Result<()>) -> Result<()> {
        let rows = self
            .table
            .range((self.scope.0, 0)..=(self.scope.0, u32::MAX))
            .map_err(self.read.failed())?;
        for row in rows {
            let (key, value) = row.map_err(self.read.failed())?;
            let point = PointId(key.value().1);
            let text = StoredText::decode(self.scope, point, value.value());
            visit(point, text.map_err(self.read.malformed(|| place(self.scope, point))))?;
        }
        Ok(())
    }
}

fn place(scope: ScopeId, point: PointId) -> String {
    format!("text of entry {} of scope {}", point.0, scope.0)
}
