//! Pieces of SQL that modules share.

use std::fmt::Write as _;

use tokio_postgres::Row;

/// The moment at which the transaction began, in milliseconds since 1970, by the clock of the server.
pub(crate) const NOW: &str = "floor(extract(epoch FROM now()) * 1000)::bigint";

/// Rows that have not expired.
pub(crate) const LIVE: &str = "(expires_at IS NULL OR expires_at > floor(extract(epoch FROM now()) * 1000)::bigint)";

/// The count of a statement that returns one.
pub(crate) fn one_count(rows: &[Row]) -> u64 {
    rows.first()
        .map_or(0, |row| u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Removes expired rows of a table, `$1` at most, that no other transaction is removing.
pub(crate) fn purge(table: &str, is_old: &str) -> String {
    format!(
        "WITH old AS (SELECT ctid FROM {table} WHERE {is_old} LIMIT $1 FOR UPDATE SKIP LOCKED), \
         gone AS (DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1) \
         SELECT count(*) FROM gone"
    )
}
