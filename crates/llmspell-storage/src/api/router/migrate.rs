//! Migration of the entries of one model to another.
//!
//! ```text
//! stage     a space for the new model, which nobody sees
//! copy      a page of entries that have no copy -> embed -> copies, unless the original has changed meanwhile
//! switch    once all have one, in one transaction: the new space is the router's, the old one is not any more
//! remove    what the old space holds
//! ```
//!
//! Each step is durable, and only entries without a copy remain to be done: an interrupted migration continues where it
//! stopped.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use llmspell_core::{Result, StateScope, StorageError, VectorEntry};
use serde::{Deserialize, Serialize};

use super::{DimensionRouter, ModelSpace};
use crate::api::vectors::{Handle, Shape, visible_counts};
use crate::base::error::corrupted;
use crate::base::ids::SpaceId;
use crate::engine::calls::{CopyEntries, EmptySpace, SwitchSpaces};
use crate::engine::{Copied, Opening, PreparedEntry};
use crate::indexes::texts::Words;
use crate::search::Uncopied;
use crate::truth::{Role, SpaceRecord};

/// Entries that one call embeds.
const PAGE: usize = 64;
/// Rounds in which nothing changed, had a copy missing, and yet not all had one, before it gives up.
const FRUITLESS_MAX: u32 = 3;
/// Scopes of a replaced space that are removed by one transaction.
const SCOPES_AT_ONCE: usize = 1_000;

/// What a migration did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MigrationReport {
    /// Entries that were embedded, those that changed meanwhile once more.
    pub embedded: u64,
    /// Entries that the new space got from this call; more were there if an earlier one was cut short.
    pub copied: u64,
    /// How often all scopes were gone through, until nothing was left to copy.
    pub rounds: u32,
}

/// How far a migration is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MigrationProgress {
    /// The space whose entries are copied.
    pub from: String,
    /// The one that will take its place.
    pub to: String,
    /// Entries that have a copy.
    pub copied: u64,
    /// Entries there are.
    pub vectors: u64,
}

impl DimensionRouter {
    /// Replaces `from`, which is the name of a space or of its model, by a space of another model: `embed` makes the
    /// new vectors, one for each entry that it is given, in their order, of the length of `to`'s model or cut.
    ///
    /// Until the end all calls use the old space: searches, writes, deletions. Then, in one transaction, the new space
    /// replaces it, and the old model is forgotten. Ids, scopes, metadata, times and expiry stay the same. The old
    /// vectors are removed afterwards.
    ///
    /// It runs as long as it is polled: spawn it to run it in the background. If it is dropped, `embed` fails, or the
    /// process ends, call it again with the same models: copied entries are not embedded again. Entries that change
    /// meanwhile are embedded again. Needs disk space for both spaces; copies do not count for quotas.
    ///
    /// ```
    /// # use llmspell_storage::{DimensionRouter, EmbeddingModel, HNSWConfig, Result, VectorEntry, VectorQuery, VectorStorage};
    /// # async fn example() -> Result<()> {
    /// # async fn embed_with_new_model(_texts: Vec<String>) -> std::io::Result<Vec<Vec<f32>>> { Ok(vec![vec![0.1, 0.2, 0.3]]) }
    /// let storage = DimensionRouter::new(HNSWConfig::balanced());
    /// let entry = VectorEntry::new("doc-1", vec![0.6, 0.8]).with_model(EmbeddingModel::new("old", 2));
    /// storage.insert(vec![entry.with_metadata(serde_json::json!({"text": "hello"}))]).await?;
    ///
    /// let embed = async |entries: Vec<VectorEntry>| {
    ///     let text = |entry: &VectorEntry| entry.metadata["text"].as_str().unwrap_or_default().to_string();
    ///     embed_with_new_model(entries.iter().map(text).collect()).await
    /// };
    /// storage.migrate_space("old", EmbeddingModel::new("new", 3), embed).await?;
    /// assert_eq!(storage.search(&VectorQuery::new(vec![0.1, 0.2, 0.3], 1)).await?[0].id, "doc-1");
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownSpace`](StorageError::UnknownSpace); [`SpaceMismatch`](StorageError::SpaceMismatch) if `to` is in use, or
    /// `from` is being migrated to another model; [`Embedding`](StorageError::Embedding) if `embed` fails or gives another
    /// number of vectors; what is wrong with one of them; [`Corrupted`](StorageError::Corrupted) if the copies are never
    /// those of the entries; as a write.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.migrate_space", level = "info", skip_all)
    )]
    pub async fn migrate_space<F, Fut, E>(
        &self,
        from: &str,
        to: impl Into<ModelSpace>,
        mut embed: F,
    ) -> Result<MigrationReport>
    where
        F: FnMut(Vec<VectorEntry>) -> Fut,
        Fut: Future<Output = Result<Vec<Vec<f32>>, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let record = self.record(to.into())?;
        let (from, to) = match self.staged(from, record).await? {
            Some(spaces) => spaces,
            None => {
                self.remove_replaced().await?;
                return Ok(MigrationReport::default());
            }
        };
        let mut report = MigrationReport::default();
        let mut last = u64::MAX;
        let mut fruitless = 0;
        loop {
            report.rounds += 1;
            if let Some(gone) = [&from, &to].into_iter().find(|handle| handle.space.is_dropped()) {
                return Err(self.routes().unknown_space(&gone.space.name));
            }
            // Few entries remain: writes wait until the end, because otherwise some would always remain.
            let closed = (last <= PAGE as u64).then(|| from.space.gate.close());
            let before = report.embedded;
            for scope in self.incomplete_scopes(&from, &to).await? {
                self.copy_scope(&from, &to, &scope, &mut embed, &mut report).await?;
            }
            last = report.embedded - before;
            let now = self.now();
            let call = SwitchSpaces {
                from: from.space.id,
                to: to.space.id,
                now,
            };
            let is_done = self.inner.database.inner.request(call).await?;
            if is_done {
                break;
            }
            fruitless = if closed.is_some() && last == 0 {
                fruitless + 1
            } else {
                0
            };
            if fruitless == FRUITLESS_MAX {
                return Err(self.never_complete(&from, &to));
            }
        }
        self.remove_replaced().await?;
        Ok(report)
    }

    /// The migrations that are under way or were cut short.
    ///
    /// # Errors
    ///
    /// `Data` or `Io` when it cannot be counted.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.migrations", level = "debug", skip_all)
    )]
    pub async fn migrations(&self) -> Result<Vec<MigrationProgress>> {
        let database = &self.inner.database;
        let records = database.inner.shared.space_records();
        let mut migrations = Vec::new();
        for (id, record) in &records {
            let Role::Staging { of } = record.role else { continue };
            let Some((from, of)) = records.iter().find(|(id, _)| id.0 == of) else {
                continue;
            };
            migrations.push(MigrationProgress {
                from: of.name.clone(),
                to: record.name.clone(),
                copied: self.vector_count(*id).await?,
                vectors: self.vector_count(*from).await?,
            });
        }
        Ok(migrations)
    }

    async fn vector_count(&self, of: SpaceId) -> Result<u64> {
        let (shared, now) = (Arc::clone(&self.inner.database.inner.shared), self.now());
        let space = self.inner.database.open_space(of).await?.into_handle().space;
        let count = move || {
            let counts = visible_counts(&shared, &space, now)?;
            Ok(counts.into_iter().map(|(_, count)| count).sum())
        };
        self.inner.database.inner.run(count).await
    }

    /// The two spaces of a migration; none if it was done before and only the replaced space must be removed.
    async fn staged(&self, from: &str, to: SpaceRecord) -> Result<Option<(Handle, Handle)>> {
        let database = &self.inner.database;
        let routes = self.routes();
        let of_name = routes.all.iter().find(|route| route.name() == from);
        let Some(route) = of_name.or_else(|| routes.of_model(from)) else {
            let stored = database.inner.shared.space_record(from);
            let was_replaced = stored.is_some_and(|(_, record)| record.role == Role::Retired);
            return match routes.of_model(&to.name) {
                Some(_) if was_replaced => Ok(None),
                _ => Err(routes.unknown_space(from)),
            };
        };
        // A failed removal must not keep its name.
        self.remove_replaced().await?;
        let from = route.handle(database).await?.clone();
        let to = database.open_space_as(to, Opening::StagingOf(from.space.id)).await?;
        Ok(Some((from, to.into_handle())))
    }

    /// No entry remains to be copied, and still the copies differ from the originals.
    fn never_complete(&self, from: &Handle, to: &Handle) -> StorageError {
        let (from, to) = (&from.space.name, &to.space.name);
        let detail = format!(
            "space `{to}` holds other entries than `{from}`, which it is to replace, and there is nothing to copy; run a check"
        );
        corrupted(self.inner.database.inner.shared.truth.path(), detail)
    }

    /// The scopes with entries that have no copy.
    async fn incomplete_scopes(&self, from: &Handle, to: &Handle) -> Result<Vec<StateScope>> {
        let (shared, now) = (Arc::clone(&self.inner.database.inner.shared), self.now());
        let (from, to) = (Arc::clone(&from.space), Arc::clone(&to.space));
        let find = move || {
            let copied: HashMap<StateScope, u64> = visible_counts(&shared, &to, now)?.into_iter().collect();
            let mut scopes = visible_counts(&shared, &from, now)?;
            scopes.retain(|(scope, count)| copied.get(scope).copied().unwrap_or(0) != *count);
            Ok(scopes.into_iter().map(|(scope, _)| scope).collect())
        };
        self.inner.database.inner.run(find).await
    }

    /// Copies the entries of a scope that have no copy yet.
    async fn copy_scope<F, Fut, E>(
        &self,
        from: &Handle,
        to: &Handle,
        scope: &StateScope,
        embed: &mut F,
        report: &mut MigrationReport,
    ) -> Result<()>
    where
        F: FnMut(Vec<VectorEntry>) -> Fut,
        Fut: Future<Output = Result<Vec<Vec<f32>>, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let shape = Shape::of(&to.space);
        let mut after: Option<String> = None;
        loop {
            let (copies, now, begin) = (Arc::clone(&to.space), self.now(), after.clone());
            let (shared, owner) = (Arc::clone(&self.inner.database.inner.shared), scope.clone());
            let page = from
                .read(scope, move |snapshot, space| {
                    let copied = shared.truth.read()?.scope_id(copies.id, &owner)?;
                    snapshot.uncopied((space, &owner), copied, begin.as_deref(), PAGE, now)
                })
                .await?;
            let Some(Uncopied {
                entries,
                records,
                texts,
                last,
            }) = page
            else {
                return Ok(());
            };
            if !entries.is_empty() {
                let ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
                // What has no vector gets none.
                let entries: Vec<VectorEntry> = entries
                    .into_iter()
                    .filter(|entry| !entry.embedding.is_empty())
                    .collect();
                let count = entries.len();
                let failed = |cause: Box<dyn Error + Send + Sync>| StorageError::Embedding { source: cause.into() };
                let vectors = match entries.is_empty() {
                    true => Vec::new(),
                    false => embed(entries).await.map_err(|error| failed(error.into()))?,
                };
                if vectors.len() != count {
                    return Err(failed(
                        format!("{} vectors were made of {count} entries", vectors.len()).into(),
                    ));
                }
                let mut copies = Vec::with_capacity(ids.len());
                let mut vectors = vectors.into_iter();
                for ((id, original), text) in ids.iter().zip(records).zip(texts) {
                    let vector = match original.generation {
                        None => Vec::new(),
                        Some(_) => {
                            let vector = vectors.next().expect("there is one for each");
                            let mut checked = VectorEntry::new(id.as_str(), vector);
                            shape.check_vector(&checked)?;
                            shape.kept(id, std::mem::take(&mut checked.embedding))?
                        }
                    };
                    copies.push(Copied {
                        entry: PreparedEntry {
                            scope: scope.clone(),
                            id: original.id.clone(),
                            vector,
                            metadata: original.metadata.clone(),
                            text,
                            words: Words::Later,
                            fields: None,
                            created_at: Some(original.created_at),
                            updated_at: original.updated_at,
                            event_time: original.event_time,
                            expires_at: original.expires_at,
                        },
                        original,
                    });
                }
                report.embedded += count as u64;
                let (from, to) = (Arc::clone(&from.space), Arc::clone(&to.space));
                let call = CopyEntries { from, to, copies, now };
                report.copied += self.inner.database.inner.request(call).await?;
            }
            match last {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Removes what replaced spaces hold.
    pub(super) async fn remove_replaced(&self) -> Result<()> {
        let records = self.inner.database.inner.shared.space_records();
        let replaced = records.into_iter().filter(|(_, record)| record.role == Role::Retired);
        for (id, _) in replaced {
            let shared = Arc::clone(&self.inner.database.inner.shared);
            let is_empty = move || Ok(shared.truth.read()?.scopes(id)?.is_empty());
            if self.inner.database.inner.run(is_empty).await? {
                continue;
            }
            let space = self.inner.database.open_space(id).await?.into_handle().space;
            loop {
                let (space, now) = (Arc::clone(&space), self.now());
                let limit = SCOPES_AT_ONCE;
                let call = EmptySpace { space, limit, now };
                let removed = self.inner.database.inner.request(call).await?;
                if removed < SCOPES_AT_ONCE as u64 {
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use llmspell_core::{EmbeddingModel, HNSWConfig};

    use super::*;
    use crate::base::options::DEFAULT_FILE_MODE;
    use crate::disk::Directory;
    use crate::engine::Database;
    use crate::truth::Truth;

    fn entry(id: &str, scope: &str) -> VectorEntry {
        VectorEntry::new(id, vec![1.0, 0.5]).with_scope(StateScope::User(scope.into()))
    }

    async fn embed(entries: Vec<VectorEntry>) -> Result<Vec<Vec<f32>>> {
        Ok(entries.iter().map(|_| vec![1.0, 2.0, 3.0]).collect())
    }

    /// What no call can do: a space gets another role. Returns the one it had.
    fn set_role(dir: &Path, name: &str, role: Role) -> Role {
        let disk: Arc<dyn crate::disk::Disk> = Arc::new(Directory::open(dir.to_path_buf(), DEFAULT_FILE_MODE).unwrap());
        let truth = Truth::open(&disk, 1 << 20, 1 << 30).unwrap();
        let spaces = truth.read().unwrap().spaces().unwrap();
        let (id, record) = spaces.into_iter().find(|(_, record)| record.name == name).unwrap();
        let before = record.role;
        let txn = truth.write().unwrap();
        let mut rows = txn.rows();
        rows.put_space(id, &SpaceRecord { role, ..record }).unwrap();
        drop(rows);
        txn.commit().unwrap();
        before
    }

    #[tokio::test]
    async fn copies_that_nothing_was_copied_to_are_never_seen_and_do_not_keep_the_migration_from_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let config = HNSWConfig::balanced;
        let (old, new) = (|| EmbeddingModel::new("old", 2), || EmbeddingModel::new("new", 3));
        {
            let database = Database::open(dir.path()).await.unwrap();
            let router = database.router(config()).await.unwrap();
            let entries = vec![entry("1", "ada"), entry("2", "ada"), entry("1", "bob")];
            let entries = entries.into_iter().map(|entry| entry.with_model(old()));
            router.insert(entries.collect()).await.unwrap();
            let cannot = async |_: Vec<VectorEntry>| Err::<Vec<Vec<f32>>, _>("no network");
            router.migrate_space("old", new(), cannot).await.unwrap_err();
        }
        let staging = set_role(dir.path(), "new", Role::Plain);
        assert!(matches!(staging, Role::Staging { .. }));
        {
            let database = Database::open(dir.path()).await.unwrap();
            let space = database.vectors("new", 3, config()).await.unwrap();
            let stray = |id: &str, scope: &str| {
                VectorEntry::new(id, vec![9.0, 9.0, 9.0]).with_scope(StateScope::User(scope.into()))
            };
            // In a scope that has originals, and in one that has none.
            let strays = ["1", "2", "3"].map(|id| stray(id, "ada")).into_iter();
            space.insert(strays.chain([stray("1", "eve")]).collect()).await.unwrap();
        }
        set_role(dir.path(), "new", staging);

        let database = Database::open(dir.path()).await.unwrap();
        let router = database.router(config()).await.unwrap();
        router.migrate_space("old", new(), embed).await.unwrap();
        let mut seen = Vec::new();
        for scope in router.scopes().await.unwrap() {
            for entry in router.list(&scope, None, 10).await.unwrap() {
                seen.push((entry.id, scope.to_string()));
                assert_eq!(entry.embedding, [1.0, 2.0, 3.0]);
            }
        }
        seen.sort();
        let owned = |(id, scope): (&str, &str)| (id.to_string(), scope.to_string());
        assert_eq!(
            seen,
            [("1", "user:ada"), ("1", "user:bob"), ("2", "user:ada")].map(owned)
        );
    }
}
