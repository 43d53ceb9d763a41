//! Rows as bytes, whatever their table: how a snapshot is copied, row by row, and made a file again.

use std::cmp::Ordering;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use llmspell_core::{Quota, Result, StateScope, StorageError};
use redb::{
    Key, ReadOnlyTable, ReadableTable, Table, TableDefinition, TableError, TableHandle, Value, WriteTransaction,
};

use super::tables;
use super::{FILE, NEW_FILE, Read, Truth, guard, quota, table_error};
use crate::base::error::{corrupted, io_error, redb_error};
use crate::base::stored_value::StoredValue;
use crate::disk::{Disk, DiskFile, RedbFile};

/// Rows of a step of the verification: about a millisecond.
const STEP_ROWS: usize = 512;
/// A file is filled by transactions of about this many bytes.
const FILL_BYTES: usize = 32 << 20;
/// Pages that are held in RAM while a file is filled.
const FILL_CACHE_BYTES: usize = 64 << 20;

/// A visitor of rows: key and value, as redb stores them. It says whether to go on.
pub(crate) type VisitRow<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> Result<bool>;

/// A table, whatever the types of its keys and values.
pub(super) trait AnyTable {
    fn name(&self) -> &str;

    /// Creates the table.
    fn create(&self, txn: &WriteTransaction) -> std::result::Result<(), TableError>;

    /// Looks at a few rows after the key `after`: each must be found by its key and follow the one before it. Returns the
    /// last key; none at the end of the table.
    fn verify(&self, read: &Read, after: Option<&[u8]>) -> Result<Option<Vec<u8>>>;

    /// Visits the rows after a key in their order, or all rows in the opposite order.
    fn visit(&self, read: &Read, after: Option<&[u8]>, is_backward: bool, visit: VisitRow<'_>) -> Result<()>;

    /// How the keys of two rows follow each other.
    fn compare(&self, a: &[u8], b: &[u8]) -> Ordering;

    /// Opens the table for adding rows.
    fn fill<'t>(&self, txn: &'t WriteTransaction, path: &Path) -> Result<Box<dyn Filling + 't>>;
}

/// A table to which rows are added.
pub(super) trait Filling {
    fn insert(&mut self, key: &[u8], value: &[u8]) -> std::result::Result<(), redb::StorageError>;
}

/// The table; none if it is one that the database has not needed yet.
fn opened<K: Key + 'static, V: Value + 'static>(
    read: &Read,
    definition: TableDefinition<'static, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>> {
    match tables::LATER.contains(&TableHandle::name(&definition)) {
        true => read.optional_table(definition),
        false => read.table(definition).map(Some),
    }
}

impl<K: Key + 'static, V: Value + 'static> AnyTable for TableDefinition<'static, K, V> {
    fn name(&self) -> &str {
        TableHandle::name(self)
    }

    fn create(&self, txn: &WriteTransaction) -> std::result::Result<(), TableError> {
        txn.open_table(*self).map(drop)
    }

    fn verify(&self, read: &Read, after: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let Some(table) = opened(read, *self)? else {
            return Ok(None);
        };
        let rows = match after {
            None => table.iter(),
            Some(after) => table.range::<K::SelfType<'_>>((Bound::Excluded(K::from_bytes(after)), Bound::Unbounded)),
        };
        let mut last: Option<Vec<u8>> = after.map(<[u8]>::to_vec);
        let mut count = 0;
        for row in rows.map_err(read.failed())? {
            let (key, _) = row.map_err(read.failed())?;
            let bytes = K::as_bytes(&key.value()).as_ref().to_vec();
            let follows = last
                .as_ref()
                .is_none_or(|last| K::compare(last, &bytes) == Ordering::Less);
            if !follows || table.get(key.value()).map_err(read.failed())?.is_none() {
                let detail = format!("table `{}`: a row is not where its key leads", TableHandle::name(self));
                return Err(corrupted(read.path(), detail));
            }
            last = Some(bytes);
            count += 1;
            if count == STEP_ROWS {
                return Ok(last);
            }
        }
        Ok(None)
    }

    fn visit(&self, read: &Read, after: Option<&[u8]>, is_backward: bool, visit: VisitRow<'_>) -> Result<()> {
        let Some(table) = opened(read, *self)? else {
            return Ok(());
        };
        let rows = match after {
            None => table.iter(),
            Some(after) => table.range::<K::SelfType<'_>>((Bound::Excluded(K::from_bytes(after)), Bound::Unbounded)),
        };
        let mut rows = rows.map_err(read.failed())?;
        while let Some(row) = if is_backward { rows.next_back() } else { rows.next() } {
            let (key, value) = row.map_err(read.failed())?;
            let (key, value) = (key.value(), value.value());
            if !visit(K::as_bytes(&key).as_ref(), V::as_bytes(&value).as_ref())? {
                break;
            }
        }
        Ok(())
    }

    fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        K::compare(a, b)
    }

    fn fill<'t>(&self, txn: &'t WriteTransaction, path: &Path) -> Result<Box<dyn Filling + 't>> {
        let table = txn.open_table(*self).map_err(|error| table_error(path, self, error))?;
        Ok(Box::new(table))
    }
}

impl<K: Key + 'static, V: Value + 'static> Filling for Table<'_, K, V> {
    fn insert(&mut self, key: &[u8], value: &[u8]) -> std::result::Result<(), redb::StorageError> {
        Table::insert(self, K::from_bytes(key), V::from_bytes(value)).map(drop)
    }
}

/// The names of all tables, in the order in which they are copied.
pub(crate) fn table_names() -> impl Iterator<Item = &'static str> {
    tables::ALL.iter().map(|table| table.name())
}

/// Whether a row of a table comes after another in the order of their keys.
pub(crate) fn follows(table: &str, key: &[u8], before: &[u8]) -> bool {
    find(table).is_some_and(|table| table.compare(before, key) == Ordering::Less)
}

fn find(name: &str) -> Option<&'static dyn AnyTable> {
    tables::ALL.into_iter().find(|table| table.name() == name)
}

impl Read {
    /// Checks that the file has no table that this build does not know: a copy would lack it.
    ///
    /// # Errors
    ///
    /// `Corrupted` with the name, or `Io`.
    pub(crate) fn check_tables_known(&self) -> Result<()> {
        let names = self.txn.list_tables().map_err(self.failed())?;
        for table in names {
            if find(table.name()).is_none() {
                let detail = format!("table `{}` is of a newer version or foreign", table.name());
                return Err(corrupted(self.path(), detail));
            }
        }
        Ok(())
    }

    /// Visits all rows of a table.
    ///
    /// # Errors
    ///
    /// `Io`, `Corrupted` where the file is damaged, and what `visit` returns.
    pub(crate) fn visit_rows(&self, table: &str, is_backward: bool, visit: VisitRow<'_>) -> Result<()> {
        guard(self.path(), || match find(table) {
            Some(table) => table.visit(self, None, is_backward, visit),
            None => Err(unknown(self.path(), table)),
        })
    }
}

/// A key-value pair, from a row of the table `kv`.
///
/// # Errors
///
/// The key, and what is wrong with its value.
pub(crate) fn value_of_row(key: &[u8], value: &[u8]) -> std::result::Result<(String, StoredValue<Vec<u8>>), String> {
    let (scope, key) = <(u64, &[u8])>::from_bytes(key);
    let text = String::from_utf8_lossy(key);
    if scope != 0 || std::str::from_utf8(key).is_err() {
        return Err(format!("key `{text}`: it is no key"));
    }
    match StoredValue::decode(&tables::kv_place(scope, key), value) {
        Ok(stored) => Ok((text.into_owned(), stored.map(<[u8]>::to_vec))),
        Err(malformed) => Err(format!("key `{text}`: {}", malformed.0)),
    }
}

/// A quota, from a row of the table `quotas`.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn quota_of_row(key: &[u8], value: &[u8]) -> std::result::Result<(StateScope, Quota), String> {
    let scope = StateScope::from_bytes(key).map_err(|error| format!("a quota: {error}"))?;
    match quota::decode(&scope, value) {
        Ok(stored) => Ok((scope, stored.status.quota)),
        Err(malformed) => Err(format!("quota of `{scope}`: {}", malformed.0)),
    }
}

fn unknown(path: &Path, table: &str) -> StorageError {
    corrupted(path, format!("table `{table}` is not known"))
}

/// A truth that is made of rows, in a directory without one.
#[derive(Debug)]
pub(crate) struct Builder {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    truth: Truth,
}

impl Builder {
    /// Begins the file under a provisional name.
    ///
    /// # Errors
    ///
    /// `Io` or `NoSpace`.
    pub(crate) fn new(disk: &Arc<dyn Disk>) -> Result<Self> {
        let path = disk.full_path(NEW_FILE);
        let file = disk
            .create(NEW_FILE)
            .map_err(|source| io_error("create", &path, source))?;
        let redb = redb::Builder::new()
            .set_cache_size(FILL_CACHE_BYTES)
            .create_with_backend(RedbFile::new(Arc::clone(&file)))
            .map_err(|error| redb_error(&path, error))?;
        Ok(Self {
            disk: Arc::clone(disk),
            file,
            truth: Truth::initialized(redb, path)?,
        })
    }

    /// Adds rows of one table; `rows` calls back with each.
    ///
    /// # Errors
    ///
    /// `Io`, `NoSpace`, `Corrupted` for a table that is not known, and what `rows` returns.
    pub(crate) fn add(
        &self,
        table: &str,
        mut rows: impl FnMut(&mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<bool>,
    ) -> Result<()> {
        let path = &self.truth.path;
        let table = find(table).ok_or_else(|| unknown(path, table))?;
        let mut is_last = false;
        while !is_last {
            let write = self.truth.write()?;
            let mut filling = table.fill(&write.txn, path)?;
            let mut bytes = 0;
            while bytes < FILL_BYTES && !is_last {
                is_last = !rows(&mut |key, value| {
                    bytes += key.len() + value.len();
                    filling.insert(key, value).map_err(|error| redb_error(path, error))
                })?;
            }
            drop(filling);
            write.commit()?;
        }
        Ok(())
    }

    /// Adds all rows of a snapshot.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add), and what cannot be read of the snapshot.
    pub(crate) fn copy(&self, read: &Read) -> Result<()> {
        read.check_tables_known()?;
        for table in table_names() {
            let mut last: Option<Vec<u8>> = None;
            self.add(table, |insert| {
                let (mut bytes, mut has_more) = (0, false);
                let table = find(table).ok_or_else(|| unknown(read.path(), table))?;
                table.visit(read, last.clone().as_deref(), false, &mut |key, value| {
                    insert(key, value)?;
                    bytes += key.len() + value.len();
                    last = Some(key.to_vec());
                    has_more = bytes >= FILL_BYTES;
                    Ok(!has_more)
                })?;
                Ok(has_more)
            })?;
        }
        Ok(())
    }

    /// The truth so far, to read from.
    pub(crate) fn truth(&self) -> &Truth {
        &self.truth
    }

    /// Closes the gaps in the file, makes it durable and gives it its name.
    ///
    /// # Errors
    ///
    /// `Io` or `NoSpace`.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { disk, file, mut truth } = self;
        let path = truth.path.clone();
        let compacted = guard(&path, || {
            loop {
                match truth.redb.compact() {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(redb::CompactionError::Storage(error)) => return Err(redb_error(&path, error)),
                    // A file that is larger than it need be is whole.
                    Err(_) => return Ok(()),
                }
            }
        });
        compacted?;
        drop(truth);
        file.sync().map_err(|source| io_error("sync", &path, source))?;
        drop(file);
        let named: io::Result<()> = disk.rename(NEW_FILE, FILE).and_then(|()| disk.sync_dir(""));
        named.map_err(|source| io_error("rename", &path, source))
    }
}
