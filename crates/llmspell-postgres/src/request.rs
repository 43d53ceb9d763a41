//! Requests: how a write is done once though it is sent twice.
//!
//! The id of a request and its answer are stored in the transaction of the write. A second write with the same id finds them and
//! does nothing. They are kept for a day at least; [`PostgresDatabase::purge`](crate::PostgresDatabase::purge) removes them.

use deadpool_postgres::Transaction;
use uuid::Uuid;

use crate::error::Failure;
use crate::session::{Inner, Reach};
use crate::sql::NOW;

/// The scope of the row: that of the write, or none if it has several.
fn scope_of(reach: &Reach) -> &[u8] {
    match reach {
        Reach::Scope(bytes) => bytes,
        Reach::All => &[],
    }
}

impl Inner {
    /// Notes that a request is being done, or gives the answer that it got before. Waits for another transaction that is doing
    /// the same one.
    pub(crate) async fn begin_request(
        &self,
        transaction: &Transaction<'_>,
        id: Uuid,
        reach: &Reach,
    ) -> Result<Option<String>, Failure> {
        let table = &self.names.requests;
        // As text, which needs no feature of the driver.
        let (id, scope) = (id.to_string(), scope_of(reach));
        let sql = format!(
            "INSERT INTO {table} (id, scope, done_at, answer) VALUES ($1::text::uuid, $2, {NOW}, '') ON CONFLICT DO NOTHING"
        );
        let statement = transaction.prepare_cached(&sql).await?;
        if transaction.execute(&statement, &[&id, &scope]).await? == 1 {
            return Ok(None);
        }
        let sql = format!("SELECT answer FROM {table} WHERE id = $1::text::uuid AND scope = $2");
        let statement = transaction.prepare_cached(&sql).await?;
        Ok(Some(transaction.query_one(&statement, &[&id, &scope]).await?.get(0)))
    }

    /// Stores the answer to a request.
    pub(crate) async fn end_request(
        &self,
        transaction: &Transaction<'_>,
        id: Uuid,
        reach: &Reach,
        answer: &str,
    ) -> Result<(), Failure> {
        let table = &self.names.requests;
        let sql = format!("UPDATE {table} SET answer = $3 WHERE id = $1::text::uuid AND scope = $2");
        let statement = transaction.prepare_cached(&sql).await?;
        let scope = scope_of(reach);
        transaction
            .execute(&statement, &[&id.to_string(), &scope, &answer])
            .await?;
        Ok(())
    }
}
