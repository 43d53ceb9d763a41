//! Which rows does a mutation change?

use std::fmt;
use std::path::PathBuf;

use llmspell_core::{QuotaStatus, Result, StateScope, Timestamp};
use redb::{Durability, ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::tables::{self, ClockRow, Head, SurveyRow};
use super::{SpaceRecord, StoredQuota, quota, table_error};
use crate::base::error::{corrupted, redb_error};
use crate::base::ids::{Lsn, PointId, ScopeId, SpaceId};
use crate::base::op::Op;
use crate::base::record::Record;
use crate::indexes::files::Kind;
use crate::indexes::named::{self, NamedFile};
use crate::namespace::{State, encode_checkpoint};
use crate::slots::FreeChanges;
use llmspell_codec::{Malformed, seal};

/// A transaction. Nothing of it happens unless [`commit`](Self::commit) returns `Ok`.
pub(crate) struct Write {
    pub(super) txn: WriteTransaction,
    pub(super) path: PathBuf,
}

impl Write {
    pub(super) fn new(mut txn: WriteTransaction, path: PathBuf) -> Self {
        txn.set_durability(Durability::Immediate)
            .expect("no savepoint was touched");
        Self { txn, path }
    }

    /// The tables, each opened when it is first needed.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows {
            write: self,
            meta: None,
            spaces: None,
            slot_ends: None,
            free_slots: None,
            scopes: None,
            scope_names: None,
            dropped: None,
            ids: None,
            entries: None,
            texts: None,
            expiring: None,
            log: None,
            checkpoints: None,
            index_files: None,
            indexes: None,
            kv: None,
            expiring_keys: None,
            quotas: None,
            staged: None,
            #[cfg(test)]
            fails_at_head: false,
        }
    }

    /// Makes everything durable.
    ///
    /// # Errors
    ///
    /// `Io` or `NoSpace`. Then it is unknown whether it is durable, and there must be no further transaction.
    pub(crate) fn commit(self) -> Result<()> {
        self.txn.commit().map_err(|error| redb_error(&self.path, error))
    }

    /// Forgets everything.
    ///
    /// # Errors
    ///
    /// `Io`. Then there must be no further transaction.
    pub(crate) fn abort(self) -> Result<()> {
        self.txn.abort().map_err(|error| redb_error(&self.path, error))
    }
}

type Bytes = &'static [u8];

/// The tables of a transaction.
pub(crate) struct Rows<'t> {
    pub(super) write: &'t Write,
    meta: Option<Table<'t, &'static str, Bytes>>,
    pub(super) spaces: Option<Table<'t, u32, Bytes>>,
    pub(super) slot_ends: Option<Table<'t, u32, u64>>,
    pub(super) free_slots: Option<Table<'t, (u32, u64), u32>>,
    pub(super) scopes: Option<Table<'t, (u32, Bytes), u64>>,
    pub(super) scope_names: Option<Table<'t, u64, Bytes>>,
    pub(super) dropped: Option<Table<'t, u64, u32>>,
    pub(super) ids: Option<Table<'t, (u64, Bytes), u32>>,
    pub(super) entries: Option<Table<'t, (u64, u32), Bytes>>,
    pub(super) texts: Option<Table<'t, (u64, u32), Bytes>>,
    pub(super) expiring: Option<Table<'t, (i64, u64, u32), u32>>,
    pub(super) log: Option<Table<'t, (u64, u64), Bytes>>,
    pub(super) checkpoints: Option<Table<'t, u64, Bytes>>,
    pub(super) index_files: Option<Table<'t, (u64, u8), Bytes>>,
    pub(super) indexes: Option<Table<'t, u64, Bytes>>,
    pub(super) kv: Option<Table<'t, (u64, Bytes), Bytes>>,
    pub(super) expiring_keys: Option<Table<'t, (i64, u64, Bytes), ()>>,
    quotas: Option<Table<'t, Bytes, Bytes>>,
    pub(super) staged: Option<Table<'t, (u64, u32), Bytes>>,
    /// For tests of transactions that fail with their last rows.
    #[cfg(test)]
    pub(crate) fails_at_head: bool,
}

/// The table in a field of [`Rows`], opened now if it was not.
macro_rules! table {
    ($rows:ident.$field:ident, $definition:ident) => {{
        if $rows.$field.is_none() {
            let opened = $rows.write.txn.open_table(tables::$definition);
            let opened = opened.map_err(|error| table_error(&$rows.write.path, &tables::$definition, error))?;
            $rows.$field = Some(opened);
        }
        $rows.$field.as_mut().expect("it was just opened")
    }};
}
pub(super) use table;

impl<'t> Rows<'t> {
    pub(super) fn failed(&self) -> impl Fn(redb::StorageError) -> llmspell_core::StorageError + 't {
        let path = &self.write.path;
        move |error| redb_error(path, error)
    }

    /// Names what is damaged. The text is made only if something is.
    pub(super) fn malformed<W: fmt::Display, F: FnOnce() -> W>(
        &self,
        what: F,
    ) -> impl FnOnce(Malformed) -> llmspell_core::StorageError + use<'t, W, F> {
        let path = &self.write.path;
        move |malformed| corrupted(path, format!("{}: {}", what(), malformed.0))
    }

    /// Sets what the next mutation starts from.
    pub(crate) fn set_head(&mut self, head: &Head) -> Result<()> {
        #[cfg(test)]
        if self.fails_at_head {
            return Err(corrupted(&self.write.path, "a test has it fail"));
        }
        let failed = self.failed();
        table!(self.meta, META)
            .insert(tables::HEAD, head.encode().as_slice())
            .map_err(failed)?;
        Ok(())
    }

    /// Stores how the clocks go together; none: nothing is known.
    pub(crate) fn set_clock(&mut self, row: Option<&ClockRow>) -> Result<()> {
        let failed = self.failed();
        let meta = table!(self.meta, META);
        match row {
            Some(row) => {
                let bytes = row.encode(tables::CLOCK.as_bytes());
                drop(meta.insert(tables::CLOCK, bytes.as_slice()).map_err(failed)?);
            }
            None => drop(meta.remove(tables::CLOCK).map_err(failed)?),
        }
        Ok(())
    }

    /// Stores which scopes may have something to give back.
    pub(crate) fn set_survey(&mut self, row: &SurveyRow) -> Result<()> {
        let failed = self.failed();
        table!(self.meta, META)
            .insert(tables::SURVEY, row.encode().as_slice())
            .map_err(failed)?;
        Ok(())
    }

    /// What tells this database from others, if it has got that.
    pub(crate) fn database_id(&mut self) -> Result<Option<[u8; 16]>> {
        let (failed, path) = (self.failed(), self.write.path.clone());
        let meta = table!(self.meta, META);
        let row = meta.get(tables::ID).map_err(failed)?;
        let decode = |row: redb::AccessGuard<'_, &[u8]>| tables::decode_id(row.value());
        let id = row.map(decode).transpose();
        id.map_err(|malformed| corrupted(path, format!("row `id` of table `meta`: {}", malformed.0)))
    }

    /// Stores what tells this database from others.
    pub(crate) fn set_database_id(&mut self, id: &[u8; 16]) -> Result<()> {
        let failed = self.failed();
        table!(self.meta, META)
            .insert(tables::ID, tables::encode_id(id).as_slice())
            .map_err(failed)?;
        Ok(())
    }

    /// Adds or replaces a space.
    pub(crate) fn put_space(&mut self, space: SpaceId, record: &SpaceRecord) -> Result<()> {
        let json = serde_json::to_vec(record).expect("plain fields become JSON");
        let sealed = seal(&space.0.to_le_bytes(), &json);
        let failed = self.failed();
        table!(self.spaces, SPACES)
            .insert(space.0, sealed.as_slice())
            .map_err(failed)?;
        Ok(())
    }

    /// One past the last slot of a space that was ever used.
    pub(crate) fn set_slot_end(&mut self, space: SpaceId, end: u64) -> Result<()> {
        let failed = self.failed();
        table!(self.slot_ends, SLOT_ENDS).insert(space.0, end).map_err(failed)?;
        Ok(())
    }

    /// Records what an allocation or release of slots changed.
    pub(crate) fn change_free_slots(&mut self, space: SpaceId, changes: &FreeChanges) -> Result<()> {
        let failed = self.failed();
        let free = table!(self.free_slots, FREE_SLOTS);
        for first in &changes.removed {
            free.remove((space.0, *first)).map_err(&failed)?;
        }
        for (first, len) in &changes.added {
            free.insert((space.0, *first), *len).map_err(&failed)?;
        }
        Ok(())
    }

    /// The number of a scope in a space, if it is there.
    pub(crate) fn scope_id(&mut self, space: SpaceId, scope: &StateScope) -> Result<Option<ScopeId>> {
        let failed = self.failed();
        let bytes = scope.to_bytes();
        let row = table!(self.scopes, SCOPES)
            .get((space.0, bytes.as_slice()))
            .map_err(failed)?;
        Ok(row.map(|id| ScopeId(id.value())))
    }

    /// The scopes of a space.
    pub(crate) fn scopes(&mut self, space: SpaceId) -> Result<Vec<StateScope>> {
        let failed = self.failed();
        let path = &self.write.path;
        let no_bytes: &[u8] = &[];
        let scopes = table!(self.scopes, SCOPES);
        let rows = match space.0.checked_add(1) {
            Some(next) => scopes.range((space.0, no_bytes)..(next, no_bytes)),
            None => scopes.range((space.0, no_bytes)..),
        };
        let scope = |row: std::result::Result<_, redb::StorageError>| {
            let (key, _): (redb::AccessGuard<'_, (u32, Bytes)>, redb::AccessGuard<'_, u64>) = row.map_err(&failed)?;
            StateScope::from_bytes(key.value().1).map_err(|error| corrupted(path, format!("table `scopes`: {error}")))
        };
        rows.map_err(&failed)?.map(scope).collect()
    }

    /// Adds a scope.
    pub(crate) fn put_scope(&mut self, space: SpaceId, scope: &StateScope, id: ScopeId) -> Result<()> {
        let failed = self.failed();
        let bytes = scope.to_bytes();
        table!(self.scopes, SCOPES)
            .insert((space.0, bytes.as_slice()), id.0)
            .map_err(&failed)?;
        let name = tables::encode_scope_name(id, space, scope);
        table!(self.scope_names, SCOPE_NAMES)
            .insert(id.0, name.as_slice())
            .map_err(&failed)?;
        Ok(())
    }

    /// The point of an id.
    pub(crate) fn point(&mut self, scope: ScopeId, id: &str) -> Result<Option<PointId>> {
        let failed = self.failed();
        let row = table!(self.ids, IDS).get((scope.0, id.as_bytes())).map_err(failed)?;
        Ok(row.map(|point| PointId(point.value())))
    }

    /// An id that stands in both of two scopes.
    pub(crate) fn common_id(&mut self, one: ScopeId, other: ScopeId) -> Result<Option<String>> {
        let failed = self.failed();
        let ids = table!(self.ids, IDS);
        let rows = ids.range::<(u64, &[u8])>((one.0, &[][..])..(one.0 + 1, &[][..]));
        for row in rows.map_err(&failed)? {
            let (key, _) = row.map_err(&failed)?;
            let id = key.value().1;
            if ids.get((other.0, id)).map_err(&failed)?.is_some() {
                return Ok(Some(String::from_utf8_lossy(id).into_owned()));
            }
        }
        Ok(None)
    }

    /// The record of a point.
    pub(crate) fn record(&mut self, scope: ScopeId, point: PointId) -> Result<Record> {
        let failed = self.failed();
        let path = &self.write.path;
        let place = || format!("entry {} of scope {}", point.0, scope.0);
        let malformed = self.malformed(place);
        let row = table!(self.entries, ENTRIES)
            .get((scope.0, point.0))
            .map_err(failed)?
            .ok_or_else(|| corrupted(path, format!("{}: the row is missing", place())))?;
        Record::decode(scope, point, row.value()).map_err(malformed)
    }

    /// Adds an entry, or replaces the record of its point.
    pub(crate) fn put_entry(&mut self, space: SpaceId, scope: ScopeId, point: PointId, record: &Record) -> Result<()> {
        self.put_id(scope, &record.id, point)?;
        self.put_record(space, scope, point, record)
    }

    /// Makes an id lead to a point.
    pub(crate) fn put_id(&mut self, scope: ScopeId, id: &str, point: PointId) -> Result<()> {
        let failed = self.failed();
        table!(self.ids, IDS)
            .insert((scope.0, id.as_bytes()), point.0)
            .map_err(failed)?;
        Ok(())
    }

    /// Sets the record of a point, whose id leads elsewhere as yet.
    pub(crate) fn put_record(&mut self, space: SpaceId, scope: ScopeId, point: PointId, record: &Record) -> Result<()> {
        let failed = self.failed();
        let bytes = record.encode(scope, point);
        table!(self.entries, ENTRIES)
            .insert((scope.0, point.0), bytes.as_slice())
            .map_err(&failed)?;
        if let Some(moment) = record.expires_at {
            let key = (moment.as_millis(), scope.0, point.0);
            table!(self.expiring, EXPIRING).insert(key, space.0).map_err(&failed)?;
        }
        Ok(())
    }

    /// Replaces the record of a point, which expired at another moment before, or not at all.
    pub(crate) fn touch_entry(
        &mut self,
        space: SpaceId,
        scope: ScopeId,
        point: PointId,
        record: &Record,
        before: Option<Timestamp>,
    ) -> Result<()> {
        if let Some(moment) = before {
            self.remove_expiring(moment.as_millis(), scope, point)?;
        }
        self.put_entry(space, scope, point, record)
    }

    /// Removes an entry and its text; its id stays if another point has it now.
    pub(crate) fn remove_entry(&mut self, scope: ScopeId, point: PointId, record: &Record) -> Result<()> {
        let failed = self.failed();
        let key = (scope.0, record.id.as_bytes());
        let ids = table!(self.ids, IDS);
        let is_current = ids
            .get(key)
            .map_err(&failed)?
            .is_some_and(|current| current.value() == point.0);
        if is_current {
            ids.remove(key).map_err(&failed)?;
        }
        table!(self.entries, ENTRIES)
            .remove((scope.0, point.0))
            .map_err(&failed)?;
        if !record.text.is_nothing() {
            self.remove_text(scope, point)?;
        }
        if let Some(moment) = record.expires_at {
            table!(self.expiring, EXPIRING)
                .remove((moment.as_millis(), scope.0, point.0))
                .map_err(&failed)?;
        }
        Ok(())
    }

    /// Appends a mutation to the log of its scope.
    pub(crate) fn log(&mut self, scope: ScopeId, lsn: Lsn, op: &Op) -> Result<()> {
        let failed = self.failed();
        let bytes = op.encode(scope, lsn);
        table!(self.log, LOG)
            .insert((scope.0, lsn.0), bytes.as_slice())
            .map_err(failed)?;
        Ok(())
    }

    /// Stores a state with what has changed since its files were written, and forgets the log before its last mutation.
    pub(crate) fn checkpoint(&mut self, scope: ScopeId, state: &State) -> Result<()> {
        let failed = self.failed();
        let bytes = encode_checkpoint(scope, state);
        table!(self.checkpoints, CHECKPOINTS)
            .insert(scope.0, bytes.as_slice())
            .map_err(&failed)?;
        let log = table!(self.log, LOG);
        log.retain_in((scope.0, 0)..(scope.0, state.lsn.0), |_, _| false)
            .map_err(&failed)?;
        // The log before said what had changed.
        for kind in Kind::ALL.into_iter().filter(|kind| kind.notes_changes()) {
            if let Some(file) = state.files.get(kind).filter(|file| file.row.is_some()) {
                self.set_index_file(scope, kind, Some(file))?;
            }
        }
        Ok(())
    }

    /// Drops a scope: its name is free at once, the rest waits for the purge.
    pub(crate) fn drop_scope(&mut self, space: SpaceId, scope: &StateScope, id: ScopeId) -> Result<()> {
        let failed = self.failed();
        let bytes = scope.to_bytes();
        table!(self.scopes, SCOPES)
            .remove((space.0, bytes.as_slice()))
            .map_err(&failed)?;
        table!(self.dropped, DROPPED).insert(id.0, space.0).map_err(&failed)?;
        self.forget_index_files(id)
    }

    /// Names the file of an index of a scope, or none. What has changed since must be as of the checkpoint of the scope.
    pub(crate) fn set_index_file(&mut self, scope: ScopeId, kind: Kind, file: Option<&NamedFile>) -> Result<()> {
        let failed = self.failed();
        if kind == Kind::Graph {
            // There it was named by an earlier build.
            table!(self.indexes, INDEXES).remove(scope.0).map_err(&failed)?;
        }
        let (files, key) = (table!(self.index_files, INDEX_FILES), (scope.0, kind.number()));
        match file.and_then(|file| named::encode(scope, kind, file)) {
            Some(bytes) => drop(files.insert(key, bytes.as_slice()).map_err(&failed)?),
            None => drop(files.remove(key).map_err(&failed)?),
        }
        Ok(())
    }

    /// Names a graph as earlier builds did.
    #[cfg(test)]
    pub(crate) fn name_graph_as_before(&mut self, scope: ScopeId, row: &crate::indexes::files::IndexRow) -> Result<()> {
        let failed = self.failed();
        self.set_index_file(scope, Kind::Graph, None)?;
        let bytes = row.encode(scope);
        table!(self.indexes, INDEXES)
            .insert(scope.0, bytes.as_slice())
            .map_err(&failed)?;
        Ok(())
    }

    /// What an earlier build named.
    #[cfg(test)]
    pub(crate) fn name_of_before(&mut self, scope: ScopeId) -> Result<Option<Vec<u8>>> {
        let failed = self.failed();
        let row = table!(self.indexes, INDEXES).get(scope.0).map_err(&failed)?;
        Ok(row.map(|row| row.value().to_vec()))
    }

    /// Names no files of a scope any more.
    pub(super) fn forget_index_files(&mut self, scope: ScopeId) -> Result<()> {
        for kind in Kind::ALL {
            self.set_index_file(scope, kind, None)?;
        }
        Ok(())
    }

    /// The quota of a scope and what is counted of it, if it has one.
    pub(crate) fn quota(&mut self, scope: &StateScope) -> Result<Option<StoredQuota>> {
        let failed = self.failed();
        let malformed = self.malformed(|| format!("quota of `{scope}`"));
        let row = table!(self.quotas, QUOTAS)
            .get(scope.to_bytes().as_slice())
            .map_err(failed)?;
        row.map(|row| quota::decode(scope, row.value()).map_err(malformed))
            .transpose()
    }

    /// Sets the quota of a scope and what is counted of it, or removes it.
    pub(crate) fn set_quota(&mut self, scope: &StateScope, status: Option<&QuotaStatus>) -> Result<()> {
        let failed = self.failed();
        let key = scope.to_bytes();
        let quotas = table!(self.quotas, QUOTAS);
        match status {
            Some(status) => {
                let row = quota::encode(scope, status);
                quotas.insert(key.as_slice(), row.as_slice()).map_err(failed)?;
            }
            None => drop(quotas.remove(key.as_slice()).map_err(failed)?),
        }
        Ok(())
    }

    /// The scopes that have a quota.
    pub(crate) fn scopes_with_quota(&mut self) -> Result<Vec<StateScope>> {
        let failed = self.failed();
        let path = &self.write.path;
        let rows = table!(self.quotas, QUOTAS).iter().map_err(&failed)?;
        rows.map(|row| {
            let (key, _) = row.map_err(&failed)?;
            StateScope::from_bytes(key.value()).map_err(|error| corrupted(path, format!("table `quotas`: {error}")))
        })
        .collect()
    }

    /// As a version wrote it that did not count metadata.
    #[cfg(test)]
    pub(crate) fn set_quota_of_version_1(&mut self, scope: &StateScope, status: &QuotaStatus) -> Result<()> {
        let failed = self.failed();
        let row = quota::encode_version_1(scope, status);
        let quotas = table!(self.quotas, QUOTAS);
        quotas
            .insert(scope.to_bytes().as_slice(), row.as_slice())
            .map_err(failed)?;
        Ok(())
    }

    /// Whether any scope has a quota.
    pub(crate) fn has_quotas(&mut self) -> Result<bool> {
        let failed = self.failed();
        let is_empty = table!(self.quotas, QUOTAS).is_empty().map_err(failed)?;
        Ok(!is_empty)
    }

    /// The keys that start with a prefix.
    pub(crate) fn keys(&mut self, scope: ScopeId, prefix: &[u8]) -> Result<Vec<Vec<u8>>> {
        let failed = self.failed();
        let mut keys = Vec::new();
        for row in table!(self.kv, KV)
            .range((scope.0, prefix)..(scope.0 + 1, &[][..]))
            .map_err(&failed)?
        {
            let (key, _) = row.map_err(&failed)?;
            let key = key.value().1;
            if !key.starts_with(prefix) {
                break;
            }
            keys.push(key.to_vec());
        }
        Ok(keys)
    }
}
