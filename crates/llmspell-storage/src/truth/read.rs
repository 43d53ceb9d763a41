//! Read transactions: the content of the truth as of one moment.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llmspell_core::{ErrorKind, Result, StateScope};
use redb::{Key, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, Value};

use super::tables::{self, ClockRow, Head, SurveyRow};
use super::{SpaceRecord, StoredQuota, quota, table_error};
use crate::base::error::{corrupted, out_of_memory, redb_error};
use crate::base::ids::{Lsn, PointId, ScopeId, SpaceId};
use crate::base::op::Op;
use crate::base::record::Record;
use crate::base::stored_value::StoredValue;
use crate::indexes::files::{IndexRow, Kind};
use crate::indexes::named::{self, NamedFile};
use crate::namespace::{State, decode_checkpoint};
use llmspell_codec::{Malformed, try_copy, unseal};

/// A snapshot. While it is held, redb cannot use again the pages it sees, so hold it briefly.
pub(crate) struct Read {
    pub(super) txn: ReadTransaction,
    path: PathBuf,
    _is_being_read: Arc<()>,
}

impl Read {
    pub(super) fn new(txn: ReadTransaction, path: PathBuf, is_being_read: Arc<()>) -> Self {
        Self {
            txn,
            path,
            _is_being_read: is_being_read,
        }
    }

    /// Where the file is, for error texts.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<ReadOnlyTable<K, V>> {
        self.txn
            .open_table(definition)
            .map_err(|error| table_error(&self.path, &definition, error))
    }

    pub(super) fn failed(&self) -> impl Fn(redb::StorageError) -> llmspell_core::StorageError + '_ {
        |error| redb_error(&self.path, error)
    }

    /// An error for damaged bytes. The text is made only in case of an error.
    pub(super) fn malformed<'a, W: fmt::Display>(
        &'a self,
        what: impl FnOnce() -> W + 'a,
    ) -> impl FnOnce(Malformed) -> llmspell_core::StorageError + 'a {
        move |malformed| corrupted(&self.path, format!("{}: {}", what(), malformed.0))
    }

    /// What the next mutation starts from.
    pub(crate) fn head(&self) -> Result<Head> {
        let meta = self.table(tables::META)?;
        let row = meta.get(tables::HEAD).map_err(self.failed())?;
        let row = row.ok_or_else(|| corrupted(&self.path, "row `head` of table `meta` is missing"))?;
        Head::decode(row.value()).map_err(self.malformed(|| "row `head` of table `meta`"))
    }

    /// How the clocks went together when that was last stored.
    pub(crate) fn clock(&self) -> Result<Option<ClockRow>> {
        let meta = self.table(tables::META)?;
        let Some(row) = meta.get(tables::CLOCK).map_err(self.failed())? else {
            return Ok(None);
        };
        let row = ClockRow::decode(tables::CLOCK.as_bytes(), row.value())
            .map_err(self.malformed(|| "row `clock` of table `meta`"))?;
        Ok(Some(row))
    }

    /// Which scopes may have something to give back, when that was last stored.
    pub(crate) fn survey(&self) -> Result<Option<SurveyRow>> {
        let meta = self.table(tables::META)?;
        let row = meta.get(tables::SURVEY).map_err(self.failed())?;
        row.map(|row| SurveyRow::decode(row.value()).map_err(self.malformed(|| "row `survey` of table `meta`")))
            .transpose()
    }

    /// What tells this database from others; none if it has not got that yet.
    pub(crate) fn database_id(&self) -> Result<Option<[u8; 16]>> {
        let meta = self.table(tables::META)?;
        let row = meta.get(tables::ID).map_err(self.failed())?;
        row.map(|row| tables::decode_id(row.value()).map_err(self.malformed(|| "row `id` of table `meta`")))
            .transpose()
    }

    /// All spaces.
    pub(crate) fn spaces(&self) -> Result<Vec<(SpaceId, SpaceRecord)>> {
        let mut spaces = Vec::new();
        for row in self.table(tables::SPACES)?.iter().map_err(self.failed())? {
            let (id, record) = row.map_err(self.failed())?;
            let id = id.value();
            let place = || format!("space {id}");
            let json = unseal(&id.to_le_bytes(), record.value()).map_err(self.malformed(place))?;
            let record =
                serde_json::from_slice(json).map_err(|error| corrupted(&self.path, format!("{}: {error}", place())))?;
            spaces.push((SpaceId(id), record));
        }
        Ok(spaces)
    }

    /// One space.
    pub(crate) fn space(&self, id: SpaceId) -> Result<Option<SpaceRecord>> {
        let row = self.table(tables::SPACES)?.get(id.0).map_err(self.failed())?;
        let Some(row) = row else { return Ok(None) };
        let place = || format!("space {}", id.0);
        let json = unseal(&id.0.to_le_bytes(), row.value()).map_err(self.malformed(place))?;
        let record = serde_json::from_slice(json);
        record
            .map(Some)
            .map_err(|error| corrupted(&self.path, format!("{}: {error}", place())))
    }

    /// One past the last slot of a space that was ever used.
    pub(crate) fn slot_end(&self, space: SpaceId) -> Result<u64> {
        let row = self.table(tables::SLOT_ENDS)?.get(space.0).map_err(self.failed())?;
        Ok(row.map_or(0, |end| end.value()))
    }

    /// The free runs of slots of a space.
    pub(crate) fn free_slots(&self, space: SpaceId) -> Result<Vec<(u64, u32)>> {
        let table = self.table(tables::FREE_SLOTS)?;
        let rows = table.range((space.0, 0)..=(space.0, u64::MAX)).map_err(self.failed())?;
        rows.map(|row| {
            let (key, len) = row.map_err(self.failed())?;
            Ok((key.value().1, len.value()))
        })
        .collect()
    }

    /// The number of a scope in a space, if it is there.
    pub(crate) fn scope_id(&self, space: SpaceId, scope: &StateScope) -> Result<Option<ScopeId>> {
        let bytes = scope.to_bytes();
        let row = self
            .table(tables::SCOPES)?
            .get((space.0, bytes.as_slice()))
            .map_err(self.failed())?;
        Ok(row.map(|id| ScopeId(id.value())))
    }

    /// All scopes of a space.
    pub(crate) fn scopes(&self, space: SpaceId) -> Result<Vec<(StateScope, ScopeId)>> {
        let table = self.table(tables::SCOPES)?;
        let mut scopes = Vec::new();
        let no_bytes: &[u8] = &[];
        let rows = match space.0.checked_add(1) {
            Some(next) => table.range((space.0, no_bytes)..(next, no_bytes)),
            None => table.range((space.0, no_bytes)..),
        };
        for row in rows.map_err(self.failed())? {
            let (key, id) = row.map_err(self.failed())?;
            let bytes = key.value().1;
            let scope = StateScope::from_bytes(bytes)
                .map_err(|error| corrupted(&self.path, format!("table `scopes`: {error}")))?;
            scopes.push((scope, ScopeId(id.value())));
        }
        Ok(scopes)
    }

    /// Space and scope of a number; none if it was purged.
    pub(crate) fn scope_name(&self, scope: ScopeId) -> Result<Option<(SpaceId, StateScope)>> {
        let row = self.table(tables::SCOPE_NAMES)?.get(scope.0).map_err(self.failed())?;
        let place = || format!("name of scope {}", scope.0);
        row.map(|row| tables::decode_scope_name(scope, row.value()).map_err(self.malformed(place)))
            .transpose()
    }

    /// Numbers of scopes from `first` on, at most `limit`, in order; of dropped ones too, until they are purged.
    pub(crate) fn scope_ids_from(&self, first: ScopeId, limit: usize) -> Result<Vec<ScopeId>> {
        let table = self.table(tables::SCOPE_NAMES)?;
        let rows = table.range(first.0..).map_err(self.failed())?.take(limit);
        rows.map(|row| Ok(ScopeId(row.map_err(self.failed())?.0.value())))
            .collect()
    }

    /// The earliest moment at which an entry expires that is not in one of some scopes.
    pub(crate) fn first_expiry(&self, without: &HashSet<ScopeId>) -> Result<Option<i64>> {
        for row in self.table(tables::EXPIRING)?.iter().map_err(self.failed())? {
            let (key, _) = row.map_err(self.failed())?;
            let (moment, scope, _) = key.value();
            if !without.contains(&ScopeId(scope)) {
                return Ok(Some(moment));
            }
        }
        Ok(None)
    }

    /// Scopes of entries that have expired at `now`, in milliseconds since 1970, and are not purged yet.
    pub(crate) fn scopes_with_expired(&self, now: i64) -> Result<BTreeSet<ScopeId>> {
        let table = self.table(tables::EXPIRING)?;
        let rows = table.range(..=(now, u64::MAX, u32::MAX)).map_err(self.failed())?;
        rows.map(|row| {
            let (key, _) = row.map_err(self.failed())?;
            Ok(ScopeId(key.value().1))
        })
        .collect()
    }

    /// Dropped scopes that are not purged yet.
    pub(crate) fn dropped_scopes(&self) -> Result<Vec<(ScopeId, SpaceId)>> {
        let table = self.table(tables::DROPPED)?;
        let rows = table.iter().map_err(self.failed())?;
        rows.map(|row| {
            let (scope, space) = row.map_err(self.failed())?;
            Ok((ScopeId(scope.value()), SpaceId(space.value())))
        })
        .collect()
    }

    /// The last mutation of a scope; none if it does not exist (any more).
    pub(crate) fn scope_lsn(&self, scope: ScopeId) -> Result<Option<Lsn>> {
        let log = self.table(tables::LOG)?;
        let last = log
            .range((scope.0, 0)..=(scope.0, u64::MAX))
            .map_err(self.failed())?
            .next_back();
        last.transpose()
            .map_err(self.failed())
            .map(|row| row.map(|(key, _)| Lsn(key.value().1)))
    }

    /// The state of a scope: its checkpoint, and the log after it.
    pub(crate) fn state(&self, scope: ScopeId) -> Result<State> {
        let mut state = self.checkpoint(scope)?.unwrap_or_default();
        // Before the log, whose mutations have changed more.
        for kind in Kind::ALL {
            match self.named_file(scope, kind) {
                Ok(None) => {}
                Ok(file) => state.files.set(kind, file),
                Err(error) if error.kind() == ErrorKind::Data => {
                    let unreadable = NamedFile {
                        is_bad: true,
                        ..NamedFile::default()
                    };
                    state.files.set(kind, Some(unreadable));
                }
                Err(error) => return Err(error),
            }
        }
        let log = self.table(tables::LOG)?;
        let after = (
            Bound::Excluded((scope.0, state.lsn.0)),
            Bound::Included((scope.0, u64::MAX)),
        );
        for row in log.range(after).map_err(self.failed())? {
            let (key, value) = row.map_err(self.failed())?;
            let lsn = Lsn(key.value().1);
            let place = || format!("log of scope {}, mutation {}", scope.0, lsn.0);
            let op = Op::decode(scope, lsn, value.value()).map_err(self.malformed(place))?;
            state.apply(lsn, &op);
        }
        for kind in Kind::ALL {
            if state.files.rows_of(kind).any(|row| row.lsn > state.lsn) {
                state.files.set_bad(kind);
            }
        }
        state
            .check()
            .map_err(|detail| corrupted(&self.path, format!("log of scope {}: {detail}", scope.0)))?;
        Ok(state)
    }

    fn checkpoint(&self, scope: ScopeId) -> Result<Option<State>> {
        let place = || format!("checkpoint of scope {}", scope.0);
        let row = self.table(tables::CHECKPOINTS)?.get(scope.0).map_err(self.failed())?;
        row.map(|row| decode_checkpoint(scope, row.value()).map_err(self.malformed(place)))
            .transpose()
    }

    /// The file of an index of a scope, if there is one.
    ///
    /// # Errors
    ///
    /// `Corrupted` if the row is damaged; then it is unknown which points the file holds.
    pub(crate) fn index_file(&self, scope: ScopeId, kind: Kind) -> Result<Option<NamedFile>> {
        let dropped = self.table(tables::DROPPED)?.get(scope.0).map_err(self.failed())?;
        if dropped.is_some() {
            return Ok(None);
        }
        match self.named_file(scope, kind)? {
            // Earlier builds named files of metadata there.
            None if kind == Kind::Metadata => {
                let state = self.checkpoint(scope)?;
                Ok(state.and_then(|state| state.files.get(kind).cloned()))
            }
            named => Ok(named),
        }
    }

    /// The file that a row names.
    fn named_file(&self, scope: ScopeId, kind: Kind) -> Result<Option<NamedFile>> {
        let place = || format!("index of scope {}", scope.0);
        // Databases of earlier builds get the table with the first file that is named.
        if let Some(table) = self.optional_table(tables::INDEX_FILES)?
            && let Some(row) = table.get((scope.0, kind.number())).map_err(self.failed())?
        {
            let file = named::decode(scope, kind, row.value()).map_err(self.malformed(place))?;
            return Ok(Some(file));
        }
        if kind != Kind::Graph {
            return Ok(None);
        }
        let Some(table) = self.optional_table(tables::INDEXES)? else {
            return Ok(None);
        };
        let row = table.get(scope.0).map_err(self.failed())?;
        let row = row.map(|row| IndexRow::decode(scope, row.value()).map_err(self.malformed(place)));
        let named = |row| NamedFile {
            row: Some(row),
            ..NamedFile::default()
        };
        Ok(row.transpose()?.map(named))
    }

    /// The point of an id.
    pub(crate) fn point(&self, scope: ScopeId, id: &str) -> Result<Option<PointId>> {
        let row = self
            .table(tables::IDS)?
            .get((scope.0, id.as_bytes()))
            .map_err(self.failed())?;
        Ok(row.map(|point| PointId(point.value())))
    }

    /// Ids greater than `after`, in order, with their points, until `visit` says to stop.
    pub(crate) fn visit_ids(
        &self,
        scope: ScopeId,
        after: Option<&str>,
        visit: impl FnMut(&[u8], PointId) -> Result<bool>,
    ) -> Result<()> {
        self.visit_ids_from(scope, after.map(|id| (id.as_bytes(), false)), false, visit)
    }

    /// Ids in order, or backwards, with their points, until `visit` says to stop: from the beginning, or from an id, which is
    /// among them or not.
    pub(crate) fn visit_ids_from(
        &self,
        scope: ScopeId,
        begin: Option<(&[u8], bool)>,
        is_backward: bool,
        mut visit: impl FnMut(&[u8], PointId) -> Result<bool>,
    ) -> Result<()> {
        let table = self.table(tables::IDS)?;
        let begin = begin.map(|(id, is_included)| match is_included {
            true => Bound::Included((scope.0, id)),
            false => Bound::Excluded((scope.0, id)),
        });
        let all = (
            Bound::Included((scope.0, &[][..])),
            Bound::Excluded((scope.0 + 1, &[][..])),
        );
        let (start, end) = match begin {
            None => all,
            // Nothing is less than no bytes.
            Some(Bound::Excluded((_, []))) if is_backward => return Ok(()),
            Some(begin) if is_backward => (all.0, begin),
            Some(begin) => (begin, all.1),
        };
        let mut rows = table.range::<(u64, &[u8])>((start, end)).map_err(self.failed())?;
        while let Some(row) = if is_backward { rows.next_back() } else { rows.next() } {
            let (key, point) = row.map_err(self.failed())?;
            if !visit(key.value().1, PointId(point.value()))? {
                break;
            }
        }
        Ok(())
    }

    /// The entries table, for reading several records.
    pub(crate) fn records(&self, scope: ScopeId) -> Result<Records<'_>> {
        Ok(Records {
            read: self,
            scope,
            table: self.table(tables::ENTRIES)?,
        })
    }

    /// The value of a key, also if it is over.
    pub(crate) fn value(&self, scope: ScopeId, key: &[u8]) -> Result<Option<StoredValue<Vec<u8>>>> {
        let row = self.table(tables::KV)?.get((scope.0, key)).map_err(self.failed())?;
        row.map(|row| self.unsealed(scope, key, row.value())).transpose()
    }

    /// Pairs whose key starts with `prefix` and is greater than `after`, in order, also those that are over, until
    /// `visit` says to stop.
    pub(crate) fn visit_values(
        &self,
        scope: ScopeId,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &dyn Fn() -> Result<StoredValue<Vec<u8>>>) -> Result<bool>,
    ) -> Result<()> {
        let table = self.table(tables::KV)?;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded((scope.0, after)),
            _ => Bound::Included((scope.0, prefix)),
        };
        let end = Bound::Excluded((scope.0 + 1, &[][..]));
        for row in table.range::<(u64, &[u8])>((start, end)).map_err(self.failed())? {
            let (key, value) = row.map_err(self.failed())?;
            let key = key.value().1;
            if !key.starts_with(prefix) || !visit(key, &|| self.unsealed(scope, key, value.value()))? {
                break;
            }
        }
        Ok(())
    }

    /// The table of quotas; none in databases that were made before there were any, until the first one is set.
    fn quota_table(&self) -> Result<Option<ReadOnlyTable<&'static [u8], &'static [u8]>>> {
        self.optional_table(tables::QUOTAS)
    }

    /// A table that databases get when they first need it.
    pub(super) fn optional_table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<Option<ReadOnlyTable<K, V>>> {
        match self.txn.open_table(definition) {
            Ok(table) => Ok(Some(table)),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(table_error(&self.path, &definition, error)),
        }
    }

    /// Whether any scope has a quota.
    pub(crate) fn has_quotas(&self) -> Result<bool> {
        let table = self.quota_table()?;
        table.map_or(Ok(false), |table| {
            table.is_empty().map(|is_empty| !is_empty).map_err(self.failed())
        })
    }

    /// The quota of a scope and its usage, if it has one.
    pub(crate) fn quota(&self, scope: &StateScope) -> Result<Option<StoredQuota>> {
        let Some(table) = self.quota_table()? else {
            return Ok(None);
        };
        let row = table.get(scope.to_bytes().as_slice()).map_err(self.failed())?;
        let place = || format!("quota of `{scope}`");
        row.map(|row| quota::decode(scope, row.value()).map_err(self.malformed(place)))
            .transpose()
    }

    /// All quotas, damaged ones too.
    pub(crate) fn quotas(&self) -> Result<Vec<Result<(StateScope, StoredQuota)>>> {
        let Some(table) = self.quota_table()? else {
            return Ok(Vec::new());
        };
        let mut quotas = Vec::new();
        for row in table.iter().map_err(self.failed())? {
            let (key, value) = row.map_err(self.failed())?;
            let scope = StateScope::from_bytes(key.value())
                .map_err(|error| corrupted(&self.path, format!("table `quotas`: {error}")));
            quotas.push(scope.and_then(|scope| {
                let place = || format!("quota of `{scope}`");
                let status = quota::decode(&scope, value.value()).map_err(self.malformed(place))?;
                Ok((scope, status))
            }));
        }
        Ok(quotas)
    }

    fn unsealed(&self, scope: ScopeId, key: &[u8], sealed: &[u8]) -> Result<StoredValue<Vec<u8>>> {
        let place = || format!("value of key `{}`", String::from_utf8_lossy(key));
        let stored = StoredValue::decode(&tables::kv_place(scope.0, key), sealed).map_err(self.malformed(place))?;
        let copy = try_copy(stored.value).map_err(|source| out_of_memory(&self.path, source))?;
        Ok(stored.map(|_| copy))
    }
}

/// The records of one scope.
pub(crate) struct Records<'a> {
    read: &'a Read,
    scope: ScopeId,
    table: ReadOnlyTable<(u64, u32), &'static [u8]>,
}

impl Records<'_> {
    /// The record of a point that the state says is alive.
    pub(crate) fn get(&self, point: PointId) -> Result<Record> {
        let row = self.table.get((self.scope.0, point.0)).map_err(self.read.failed())?;
        let row =
            row.ok_or_else(|| corrupted(self.read.path(), format!("{}: the row is missing", self.place(point))))?;
        Record::decode(self.scope, point, row.value()).map_err(self.read.malformed(|| self.place(point)))
    }

    /// The record that an id leads to.
    pub(crate) fn get_by_id(&self, id: &[u8], point: PointId) -> Result<Record> {
        let record = self.get(point)?;
        if record.id.as_bytes() == id {
            return Ok(record);
        }
        let detail = format!(
            "id `{}` leads to {}, which has another id",
            String::from_utf8_lossy(id),
            self.place(point)
        );
        Err(corrupted(self.read.path(), detail))
    }

    /// All records in the order of their points.
    pub(crate) fn visit(&self, mut visit: impl FnMut(PointId, Record) -> Result<()>) -> Result<()> {
        self.visit_each(|point, record| visit(point, record?))
    }

    /// Records in the order of their points, until `visit` says to stop.
    pub(crate) fn visit_while(&self, mut visit: impl FnMut(PointId, Record) -> Result<bool>) -> Result<()> {
        for row in self.rows()? {
            let (key, value) = row.map_err(self.read.failed())?;
            let point = PointId(key.value().1);
            let record = Record::decode(self.scope, point, value.value());
            if !visit(point, record.map_err(self.read.malformed(|| self.place(point)))?)? {
                break;
            }
        }
        Ok(())
    }

    /// All records in the order of their points, damaged ones too.
    pub(crate) fn visit_each(&self, mut visit: impl FnMut(PointId, Result<Record>) -> Result<()>) -> Result<()> {
        for row in self.rows()? {
            let (key, value) = row.map_err(self.read.failed())?;
            let point = PointId(key.value().1);
            let record = Record::decode(self.scope, point, value.value());
            visit(point, record.map_err(self.read.malformed(|| self.place(point))))?;
        }
        Ok(())
    }

    fn rows(&self) -> Result<redb::Range<'_, (u64, u32), &'static [u8]>> {
        self.table
            .range((self.scope.0, 0)..=(self.scope.0, u32::MAX))
            .map_err(self.read.failed())
    }

    fn place(&self, point: PointId) -> String {
        format!("entry {} of scope {}", point.0, self.scope.0)
    }
}
