//! How a call of a client is done by the database.

use std::sync::Arc;

use llmspell_core::{FieldPath, HNSWConfig, Result, ScopeKind, StorageBackend, StorageError, VectorStorage};
use parking_lot::Mutex;
use serde::Serialize;

use super::frame::FrameError;
use super::memory::Buffer;
use super::protocol::{Bytes, Call, KeyCall, Pair, Reply, Store, VectorCall, Working};
use crate::engine::{BackupOptions, Database};

/// How far the call is, for the client that waits.
pub(super) type Progress = Arc<Mutex<Working>>;

/// Does a call, and writes its answer.
///
/// # Errors
///
/// What the call returns; `LimitExceeded` or `ServerBusy` if there is no room for the answer.
pub(super) async fn execute(database: &Database, call: Call, progress: Progress, to: &mut Buffer) -> Result<()> {
    let (name, _) = call.about();
    let mut answer = Answer { name, to };
    match call {
        Call::Spaces => answer.is(&database.spaces().await?),
        Call::Stats => answer.is(&database.stats().await?),
        Call::Check { deep: false } => answer.is(&database.check().await?),
        Call::Check { deep: true } => answer.is(&database.check_deep().await?),
        Call::Backup {
            dir,
            with_indexes,
            keep_going,
            bytes_per_second_max,
        } => {
            if !dir.is_absolute() {
                return Err(StorageError::InvalidName {
                    what: "directory",
                    name: dir.display().to_string(),
                    reason: "it must be absolute: the process that serves has another working directory",
                });
            }
            let options = BackupOptions::new()
                .with_indexes(with_indexes)
                .keep_going(keep_going)
                .on_progress(move |at| {
                    *progress.lock() = Working {
                        done_bytes: at.done_bytes,
                        total_bytes: at.total_bytes,
                    };
                });
            let options = match bytes_per_second_max {
                Some(bytes) => options.bytes_per_second_max(bytes),
                None => options,
            };
            answer.is(&database.backup_with(dir, options).await?)
        }
        Call::OpenSpace { name, dim, config } => {
            database.vectors(&name, dim, *config).await?;
            answer.is(&())
        }
        Call::RegisterModel { model } => {
            let router = database.router(HNSWConfig::default()).await?;
            answer.is(&router.register_model(model).await?)
        }
        Call::Vectors { store, call } => {
            let store: Arc<dyn VectorStorage> = match store {
                Store::Router => Arc::new(database.router(HNSWConfig::default()).await?),
                Store::Space(name) => match database.existing_vectors(&name).await? {
                    Some(space) => Arc::new(space),
                    None => return Err(unknown_space(database, &name).await?),
                },
            };
            vectors(&*store, call, answer).await
        }
        Call::Keys(call) => keys(&database.kv(), call, answer).await,
    }
}

async fn unknown_space(database: &Database, name: &str) -> Result<StorageError> {
    let spaces = database.spaces().await?;
    Ok(StorageError::UnknownSpace {
        name: name.chars().take(64).collect(),
        known: spaces
            .iter()
            .map(|space| format!("`{}` ({} components)", space.name, space.dim))
            .collect(),
    })
}

async fn vectors(store: &dyn VectorStorage, call: VectorCall, mut answer: Answer<'_>) -> Result<()> {
    match call {
        VectorCall::Search(query) => answer.is(&store.search(&query).await?),
        VectorCall::Explain(query) => answer.is(&store.explain(&query).await?),
        VectorCall::Get { scope, id } => answer.is(&store.get(&scope, &id).await?),
        VectorCall::GetMany { scope, ids } => answer.is(&store.get_many(&scope, &ids).await?),
        VectorCall::List {
            scope,
            filter,
            after,
            limit,
        } => match filter {
            Some(filter) => answer.is(&store.list_matching(&scope, &filter, after.as_deref(), limit).await?),
            None => answer.is(&store.list(&scope, after.as_deref(), limit).await?),
        },
        VectorCall::ListPage(query) => answer.is(&store.list_page(&query).await?),
        VectorCall::Sample(query) => answer.is(&store.sample(&query).await?),
        VectorCall::Count { scope, filter } => match filter {
            Some(filter) => answer.is(&store.count_matching(&scope, &filter).await?),
            None => answer.is(&store.count(&scope).await?),
        },
        VectorCall::Facet {
            scope,
            field,
            filter,
            limit,
        } => answer.is(&store.facet(&scope, &FieldPath::from(field), &filter, limit).await?),
        VectorCall::Scopes => answer.is(&store.scopes().await?),
        VectorCall::Stats => answer.is(&store.stats().await?),
        VectorCall::ScopeStats { scope } => answer.is(&store.stats_for_scope(&scope).await?),
        VectorCall::Write {
            entries,
            on_existing,
            known,
        } => match known {
            true => answer.is(&store.write_known(entries, on_existing.into()).await?),
            false => answer.is(&store.write(entries, on_existing.into()).await?),
        },
        VectorCall::UpdateMetadata { scope, id, metadata } => {
            answer.is(&store.update_metadata(&scope, &id, metadata).await?)
        }
        VectorCall::PatchMetadata { scope, id, patch } => answer.is(&store.patch_metadata(&scope, &id, patch).await?),
        VectorCall::Touch { scope, ids, expiry } => answer.is(&store.touch(&scope, &ids, expiry).await?),
        VectorCall::Delete { scope, ids } => answer.is(&store.delete(&scope, &ids).await?),
        VectorCall::DeleteMatching { scope, filter } => answer.is(&store.delete_matching(&scope, &filter).await?),
        VectorCall::DeleteScopes { scopes } => answer.is(&store.delete_scopes(&scopes).await?),
        VectorCall::DeleteScopesOfKind { kind } => {
            let kind = kind_of(&kind)?;
            answer.is(&store.delete_scopes_of_kind(kind).await?)
        }
        VectorCall::Flush => answer.is(&store.flush().await?),
        VectorCall::BuildIndex => answer.is(&store.build_index().await?),
        VectorCall::OptimizeIndex => answer.is(&store.optimize_index().await?),
    }
}

fn kind_of(name: &str) -> Result<ScopeKind> {
    use ScopeKind::{Agent, Custom, Global, Hook, Session, Tool, User, Workflow};
    let kinds = [Global, User, Session, Agent, Tool, Workflow, Hook, Custom];
    let kind = kinds.into_iter().find(|kind| kind.name() == name);
    kind.ok_or_else(|| StorageError::InvalidName {
        what: "kind of scopes",
        name: name.chars().take(64).collect(),
        reason: "there is no such kind",
    })
}

async fn keys(keys: &dyn StorageBackend, call: KeyCall, mut answer: Answer<'_>) -> Result<()> {
    match call {
        KeyCall::Get { key } => answer.is(&keys.get(&key).await?.map(Bytes)),
        KeyCall::GetBatch { keys: names } => {
            let values = keys.get_batch(&names).await?.into_iter();
            answer.is(&values.map(|(key, value)| (key, Bytes(value))).collect::<Vec<_>>())
        }
        KeyCall::Scan { prefix, after, limit } => {
            let page = keys.scan_entries(&prefix, after.as_deref(), limit).await?;
            answer.is(&page.into_iter().map(Pair::from).collect::<Vec<_>>())
        }
        KeyCall::ExpiresAt { key } => answer.is(&keys.expires_at(&key).await?),
        KeyCall::Write { batch } => {
            let batch = batch.into_iter().map(Into::into).collect();
            answer.is(&keys.write(batch).await?.deleted)
        }
        KeyCall::Swap {
            key,
            expected,
            new,
            expiry,
        } => {
            let expected = expected.as_ref().map(|value| value.0.as_slice());
            answer.is(&keys.swap(&key, expected, new.map(|value| value.0), expiry).await?)
        }
    }
}

/// The answer to a call, which is written once.
struct Answer<'a> {
    name: &'static str,
    to: &'a mut Buffer,
}

impl Answer<'_> {
    fn is(&mut self, answer: &impl Serialize) -> Result<()> {
        let written = serde_json::to_writer(&mut *self.to, &Reply::Answer(answer));
        match (written, self.to.take_full()) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(FrameError::TooLong { got, limit })) => Err(StorageError::LimitExceeded {
                what: "answer to",
                name: self.name.to_string(),
                got,
                limit: limit as u64,
                unit: "bytes or more",
            }),
            (Err(_), Some(_)) => Err(busy()),
            (Err(error), None) => Err(error.into()),
        }
    }
}

/// There is no memory for a frame.
pub(super) fn busy() -> StorageError {
    StorageError::ServerBusy {
        server: "the admin socket",
        reason: "other clients take all the memory for requests and answers".to_string(),
    }
}
