//! Rows of a space: which columns are read, and what entry they are.

use llmspell_core::{EntryTimes, Metadata, Result, StateScope, Timestamp, VectorEntry};
use tokio_postgres::Row;

use super::fields;
use crate::error::corrupted;

/// The columns of a whole entry, in the order of [`entry`].
pub(super) const ENTRY: &str = "id, v, CASE WHEN raw IS NULL THEN fields::text END AS json, raw, created_at, updated_at, \
                                event_time, expires_at";

/// Columns of [`ENTRY`].
const ID: usize = 0;
const VECTOR: usize = 1;
const JSON: usize = 2;
const RAW: usize = 3;
const CREATED: usize = 4;
const UPDATED: usize = 5;
const EVENT: usize = 6;
const EXPIRES: usize = 7;

/// The entry of a row, whose columns begin with [`ENTRY`].
pub(super) fn entry(row: &Row, scope: &StateScope, table: &str) -> Result<VectorEntry> {
    let mut entry = VectorEntry::new(id(row, table)?, vector(row)).with_scope(scope.clone());
    entry.metadata = metadata(row, table)?.into();
    let times = times(row);
    (entry.created_at, entry.updated_at, entry.event_time) = (times.created_at, times.updated_at, times.event_time);
    entry.expires_at = row.get::<_, Option<i64>>(EXPIRES).map(Timestamp::from_millis);
    Ok(entry)
}

pub(super) fn id(row: &Row, table: &str) -> Result<String> {
    String::from_utf8(row.get(ID)).map_err(|_| corrupted(table, "an id is not UTF-8"))
}

pub(super) fn vector(row: &Row) -> Vec<f32> {
    row.get::<_, pgvector::Vector>(VECTOR).into()
}

pub(super) fn metadata(row: &Row, table: &str) -> Result<Metadata> {
    fields::read(row.get(JSON), row.get(RAW)).map_err(|error| corrupted(table, format!("metadata: {error}")))
}

pub(super) fn times(row: &Row) -> EntryTimes {
    let moment = |column: usize| row.get::<_, Option<i64>>(column).map(Timestamp::from_millis);
    EntryTimes {
        created_at: moment(CREATED),
        updated_at: moment(UPDATED),
        event_time: moment(EVENT),
    }
}

/// The scope of some bytes.
pub(super) fn scope(bytes: &[u8], table: &str) -> Result<StateScope> {
    StateScope::from_bytes(bytes).map_err(|error| corrupted(table, format!("a scope: {error}")))
}
