//! Calls about quotas: how much a scope may hold, and how much it holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use llmspell_core::{Quota, QuotaStatus, QuotaUsage, Result, ScopedBackend, StateScope};

use super::Database;
use super::batch::KV_SCOPE;
use super::calls::SetQuota;
use super::shared::Shared;
use crate::base::ids::{PointId, SpaceId};
use crate::base::report::CheckSection;
use crate::truth::{Read, SpaceRecord};

impl Database {
    /// Limits what a scope may hold, in all vector spaces and in its key-value data; replaces its earlier quota.
    ///
    /// Applies exactly from the next write on: a batch that would exceed it is refused as a whole with
    /// [`QuotaExceeded`](crate::StorageError::QuotaExceeded). Existing data stay, and a call that frees space is never
    /// refused. The quota is kept across restarts, and when the scope is deleted; the scope need not exist yet.
    ///
    /// On the disk, each entry and key takes about 100 bytes more than is counted, and an id is stored twice. With much
    /// larger entries and keys, a scope takes at most twice its limits and 4 MiB once dropped and expired data are
    /// purged. Set limits for vectors or their bytes, for metadata, and for key-value data: a quantity without a limit
    /// is not bounded.
    ///
    /// Key-value data counts if it was written through a [`ScopedBackend`]. The first quota of a scope takes as long as
    /// reading the scope's keys; after that each write counts what it changes. Scopes without a quota cost nothing.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad scope; `Data`, `Io` or `Closed` if it cannot be counted or made durable.
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "database.set_quota", level = "debug", skip_all, fields(scope = %crate::base::observe::Seen::new(scope, self.inner.shared.shows_ids))))]
    pub async fn set_quota(&self, scope: &StateScope, quota: Quota) -> Result<()> {
        self.change_quota(scope, Some(quota)).await.map(drop)
    }

    /// Removes the quota of a scope. Returns whether it had one.
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
        self.inner.request(SetQuota { scope, quota }).await
    }

    /// The quota of a scope and its usage; none if it has none.
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

    /// The quotas of all scopes, empty ones too, in the byte order of the scopes. The time grows with the number of quotas,
    /// not with the number of entries; [`quota`](Self::quota) says how much of one is used.
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

/// The quota of a scope and its usage at `now`, in milliseconds since 1970.
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
        counted += state.metadata_bytes + state.text_bytes;
        let expired = state.expiries.expired(now);
        let used = &mut status.used;
        used.vectors = used.vectors.saturating_sub(expired.len());
        let vectors = expired.len() - expired.intersection_len(&state.without_vector);
        used.vector_bytes = used.vector_bytes.saturating_sub(vectors * 4 * record.dim as u64);
        let records = read.records(scope_id)?;
        for point in expired {
            gone += records.get(PointId(point))?.counted_bytes() as u64;
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

/// Checks that the usage of every quota is right; none if no scope has a quota.
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
        // Damage in the scope is found when the scope is checked.
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
            held.vector_bytes += state.vector_count() * 4 * record.dim as u64;
            held.metadata_bytes += state.metadata_bytes + state.text_bytes;
        }
    }
    let prefix = ScopedBackend::prefix(scope);
    read.visit_values(KV_SCOPE, prefix.as_bytes(), None, |key, value| {
        held.kv_bytes += (key.len() - prefix.len() + value()?.value.len()) as u64;
        Ok(true)
    })?;
    Ok(held)
}
