//! How much may a scope hold, and how much does it?

use std::sync::Arc;
use std::sync::atomic::Ordering;

use llmspell_core::{Quota, QuotaStatus, QuotaUsage, Result, ScopedBackend, StateScope};

use super::Database;
use super::batch::KV_SCOPE;
use super::request::Request;
use super::shared::Shared;
use crate::base::ids::{PointId, SpaceId};
use crate::base::report::CheckSection;
use crate::truth::{Read, SpaceRecord};

impl Database {
    /// Limits what a scope may hold, in all vector spaces and in its key-value data, in place of the quota it had.
    ///
    /// From the next write on, exactly, whoever writes: a batch that would exceed it is refused whole with
    /// [`QuotaExceeded`](crate::StorageError::QuotaExceeded). What is there already stays, and what frees room is never
    /// refused. It is kept across restarts, and when the scope is deleted; the scope need not exist yet.
    ///
    /// On the disk, entries and keys take about 100 bytes more each than what is counted of them, and an id is stored twice.
    /// With entries and keys that are much larger than that, a scope takes at most twice its limits and 4 MiB once what was
    /// dropped or has expired is purged. Give limits of vectors or their bytes, of metadata, and of key-value data: what has no
    /// limit is not bounded.
    ///
    /// Key-value data counts if it was written through a [`ScopedBackend`]. The first quota of a scope takes as long as
    /// reading the scope's keys; after that each write counts what it changes. Scopes without a quota cost nothing.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad scope; `Data`, `Io` or `Closed` when it cannot be counted or made durable.
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "database.set_quota", level = "debug", skip_all, fields(scope = %crate::base::observe::Seen::new(scope, self.inner.shared.shows_ids))))]
    pub async fn set_quota(&self, scope: &StateScope, quota: Quota) -> Result<()> {
        self.change_quota(scope, Some(quota)).await.map(drop)
    }

    /// Lets a scope hold as much as it likes again. Says whether it had a quota.
    ///
    /// # Errors
    ///
    /// As [`set_quota`](Self::set_quota).
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "database.remove_quota", level = "debug", skip_all, fields(scope = %crate::base::observe::Seen::new(scope, self.inner.shared.shows_ids))))]
    pub async fn remove_quota(&self, scope: &StateScope) -> Result<bool> {
        self.change_quota(scope, None).await
    }

    async fn change_quota(&self, scope: &StateScope, quota: Option<Quota>) -> Result<bool> {
        scope.validate()?;
        let scope = scope.clone();
        self.inner
            .request(|reply| Request::SetQuota { scope, quota, reply })
            .await
    }

    /// The quota of a scope and how much of it is used; none if it has none.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad scope; `Data` or `Io` when it cannot be read.
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "database.quota", level = "debug", skip_all, fields(scope = %crate::base::observe::Seen::new(scope, self.inner.shared.shows_ids))))]
    pub async fn quota(&self, scope: &StateScope) -> Result<Option<QuotaStatus>> {
        scope.validate()?;
        let (shared, scope) = (Arc::clone(&self.inner.shared), scope.clone());
        self.inner
            .run(move || status(&shared, &scope, shared.clock.now()))
            .await
    }

    /// The quotas of all scopes, of those that hold nothing too, in the byte order of the scopes. Takes time in proportion to
    /// the quotas, and none to what the scopes hold; [`quota`](Self::quota) says how much of one is used.
    ///
    /// # Errors
    ///
    /// `Data` for the first one that is damaged; `Io` when they cannot be read.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "database.quotas", level = "debug", skip_all)
    )]
    pub async fn quotas(&self) -> Result<Vec<(StateScope, Quota)>> {
        let shared = Arc::clone(&self.inner.shared);
        let stored = self.inner.run(move || shared.truth.read()?.quotas()).await?;
        stored
            .into_iter()
            .map(|row| row.map(|(scope, stored)| (scope, stored.status.quota)))
            .collect()
    }
}

/// The quota of a scope and how much of it is used at `now`, in milliseconds since 1970.
pub(crate) fn status(shared: &Shared, scope: &StateScope, now: i64) -> Result<Option<QuotaStatus>> {
    if !shared.has_quotas.load(Ordering::SeqCst) {
        return Ok(None);
    }
    let read = shared.truth.read()?;
    let Some(stored) = read.quota(scope)? else {
        return Ok(None);
    };
    let mut status = stored.status;
    let (mut counted, mut gone) = (0, 0);
    for (space, record) in counted_spaces(shared) {
        let Some(scope_id) = read.scope_id(space, scope)? else {
            continue;
        };
        let state = read.state(scope_id)?;
        counted += state.metadata_bytes;
        let expired = state.expiries.expired(now);
        let used = &mut status.used;
        used.vectors = used.vectors.saturating_sub(expired.len());
        used.vector_bytes = used.vector_bytes.saturating_sub(expired.len() * 4 * record.dim as u64);
        let records = read.records(scope_id)?;
        for point in expired {
            gone += records.get(PointId(point))?.metadata.len() as u64;
        }
    }
    if !stored.counts_metadata {
        status.used.metadata_bytes = counted;
    }
    status.used.metadata_bytes = status.used.metadata_bytes.saturating_sub(gone);
    let prefix = ScopedBackend::prefix(scope);
    let mut over = 0;
    read.visit_expired_keys(now, |key_scope, key| {
        if key_scope == KV_SCOPE && key.starts_with(prefix.as_bytes()) {
            let len = read.value(key_scope, key)?.map_or(0, |stored| stored.value.len());
            over += (key.len() - prefix.len() + len) as u64;
        }
        Ok(())
    })?;
    status.used.kv_bytes = status.used.kv_bytes.saturating_sub(over);
    Ok(Some(status))
}

/// That what is counted for every scope with a quota is what it holds; nothing if no scope has one.
pub(super) fn check(shared: &Shared, read: &Read) -> Result<Option<CheckSection>> {
    let rows = read.quotas()?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut section = CheckSection::new("quotas");
    for row in rows {
        let Some((scope, stored)) = section.note(row)? else {
            continue;
        };
        let mut counted = stored.status.used;
        // What is damaged in the scope is found where the scope is checked.
        let Ok(held) = count(shared, read, &scope) else {
            continue;
        };
        if !stored.counts_metadata {
            counted.metadata_bytes = held.metadata_bytes;
        }
        if held != counted {
            let problem = format!("quota of `{scope}`: it holds {held:?}, counted were {counted:?}");
            section.problems.push(problem);
        }
    }
    Ok(Some(section))
}

fn counted_spaces(shared: &Shared) -> impl Iterator<Item = (SpaceId, SpaceRecord)> {
    let records = shared.space_records().into_iter();
    records.filter(|(_, record)| record.role.counts())
}

fn count(shared: &Shared, read: &Read, scope: &StateScope) -> Result<QuotaUsage> {
    let mut held = QuotaUsage::default();
    for (space, record) in counted_spaces(shared) {
        if let Some(scope_id) = read.scope_id(space, scope)? {
            let state = read.state(scope_id)?;
            let live = state.live_count();
            held.vectors += live;
            held.vector_bytes += live * 4 * record.dim as u64;
            held.metadata_bytes += state.metadata_bytes;
        }
    }
    let prefix = ScopedBackend::prefix(scope);
    read.visit_values(KV_SCOPE, prefix.as_bytes(), None, |key, value| {
        held.kv_bytes += (key.len() - prefix.len() + value()?.value.len()) as u64;
        Ok(true)
    })?;
    Ok(held)
}
