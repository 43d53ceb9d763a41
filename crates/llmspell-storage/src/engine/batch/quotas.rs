//! What does a quota refuse, and how is counted what a scope holds?
//!
//! Only scopes that have a quota are counted, each change by what it adds and takes away. Everything is looked at before
//! anything is changed, so a request that is refused leaves nothing behind. There is one committer, so no two writers can
//! both take the last place.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use llmspell_core::{KeyValueWrite, Quota, QuotaStatus, QuotaUsage, ScopedBackend, StateScope, Timestamp};

use super::entries::{Group, Stored};
use super::pending::{Pending, ScopeRef};
use super::values::is_over;
use super::{Batch, Fail, KV_SCOPE, looking};
use crate::base::ids::{PointId, ScopeId};
use crate::base::record::{EntrySize, Record};
use crate::engine::request::{Part, PreparedEntry};
use crate::namespace::State;
use crate::spaces::registry::Space;
use crate::truth::{ExpiredRow, Rows};

/// The quotas of scopes as a batch has changed them so far.
pub(super) struct Quotas {
    /// Whether any scope has a quota.
    pub(super) is_any: bool,
    /// Of scopes that were looked up.
    known: HashMap<StateScope, ScopeQuota>,
}

/// The quota of a scope; none if it has none.
#[derive(Default)]
struct ScopeQuota {
    status: Option<QuotaStatus>,
    is_changed: bool,
}

impl Quotas {
    pub(super) fn new(is_any: bool) -> Self {
        Self {
            is_any,
            known: HashMap::new(),
        }
    }

    /// What is stored of a scope.
    fn note(&mut self, scope: &StateScope, status: Option<QuotaStatus>) {
        let is_changed = false;
        self.known.insert(scope.clone(), ScopeQuota { status, is_changed });
    }

    /// A scope gets another quota, or none.
    fn set(&mut self, scope: &StateScope, status: Option<QuotaStatus>) {
        let is_changed = true;
        self.known.insert(scope.clone(), ScopeQuota { status, is_changed });
        self.is_any = true;
    }

    /// A scope whose quota was looked up, and that has one, holds something else from now on.
    fn change_used(&mut self, scope: &StateScope, change: impl FnOnce(QuotaUsage) -> QuotaUsage) {
        if let Some(ScopeQuota {
            status: Some(status),
            is_changed,
        }) = self.known.get_mut(scope)
        {
            let used = change(status.used);
            *is_changed |= status.used != used;
            status.used = used;
        }
    }

    /// Writes the rows that changed.
    pub(super) fn finish(&mut self, rows: &mut Rows<'_>) -> llmspell_core::Result<()> {
        let mut is_any_removed = false;
        for (scope, known) in self.known.iter().filter(|(_, known)| known.is_changed) {
            rows.set_quota(scope, known.status.as_ref())?;
            is_any_removed |= known.status.is_none();
        }
        if is_any_removed {
            self.is_any = rows.has_quotas()?;
        }
        Ok(())
    }
}

/// A change of key-value data: which keys, and how long a value they get.
pub(super) enum KeyChange<'w> {
    Put(&'w str, usize),
    Remove(&'w str),
    RemovePrefix(&'w str),
}

impl<'w> KeyChange<'w> {
    /// At `now`: a value that is over by then comes to nothing.
    pub(super) fn of(write: &'w KeyValueWrite, now: i64) -> Self {
        match write {
            KeyValueWrite::SetExpiring { key, expiry, .. } if is_over(*expiry, now) => Self::Remove(key),
            KeyValueWrite::Set { key, value } | KeyValueWrite::SetExpiring { key, value, .. } => {
                Self::Put(key, value.len())
            }
            KeyValueWrite::Delete { key } => Self::Remove(key),
            KeyValueWrite::DeletePrefix { prefix } => Self::RemovePrefix(prefix),
        }
    }
}

impl Batch<'_> {
    /// The quota of a scope and what it holds now.
    fn quota(&mut self, scope: &StateScope) -> Result<Option<QuotaStatus>, Fail> {
        if !self.quotas.is_any {
            return Ok(None);
        }
        if let Some(known) = self.quotas.known.get(scope) {
            return Ok(known.status);
        }
        let stored = self.rows.quota(scope).map_err(looking)?;
        let mut status = stored.map(|stored| stored.status);
        if let Some(status) = &mut status
            && stored.is_some_and(|stored| !stored.counts_metadata)
        {
            status.used.metadata_bytes = self.count_entries_of(scope)?.metadata_bytes;
        }
        self.quotas.note(scope, status);
        Ok(status)
    }

    /// Gives a scope a quota or takes it away. Says whether it had one.
    pub(in crate::engine) fn set_quota(&mut self, scope: &StateScope, quota: Option<Quota>) -> Result<bool, Fail> {
        let before = self.quota(scope)?;
        if quota.is_none() && before.is_none() {
            return Ok(false);
        }
        let status = match (quota, before) {
            (Some(quota), Some(before)) => Some(QuotaStatus::new(quota, before.used)),
            (Some(quota), None) => Some(QuotaStatus::new(quota, self.count_all(scope)?)),
            (None, _) => None,
        };
        self.quotas.set(scope, status);
        self.is_changed = true;
        Ok(before.is_some())
    }

    /// What a scope holds that had no quota until now.
    fn count_all(&mut self, scope: &StateScope) -> Result<QuotaUsage, Fail> {
        let mut used = self.count_entries_of(scope)?;
        let prefix = ScopedBackend::prefix(scope);
        let lens = self.rows.value_lens(KV_SCOPE, prefix.as_bytes()).map_err(looking)?;
        used.kv_bytes = lens
            .into_iter()
            .map(|(key, len)| (key.len() - prefix.len()) as u64 + len)
            .sum();
        Ok(used)
    }

    /// The entries of a scope in all spaces, as this batch has changed them so far.
    fn count_entries_of(&mut self, scope: &StateScope) -> Result<QuotaUsage, Fail> {
        let mut used = QuotaUsage::default();
        for space in self.counted_spaces()? {
            if let Some(at) = self.find(&space, scope)? {
                let state = &self.scopes[at].state;
                let live = state.live_count();
                used.vectors += live;
                used.vector_bytes += state.vector_count() * 4 * space.dim as u64;
                used.metadata_bytes += state.metadata_bytes + state.text_bytes;
            }
        }
        Ok(used)
    }

    /// Those of them that have expired at `now`, and are not purged yet.
    fn count_expired(&mut self, scope: &StateScope, now: i64) -> Result<QuotaUsage, Fail> {
        let mut gone = QuotaUsage::default();
        for space in self.counted_spaces()? {
            for (_, _, record) in self.expired_of(&space, scope, now)? {
                gone.vectors += 1;
                if record.generation.is_some() {
                    gone.vector_bytes += 4 * space.dim as u64;
                }
                gone.metadata_bytes += record.counted_bytes() as u64;
            }
        }
        Ok(gone)
    }

    /// The entries of a scope in one space that have expired at `now`, and are not purged yet.
    fn expired_of(
        &mut self,
        space: &Arc<Space>,
        scope: &StateScope,
        now: i64,
    ) -> Result<Vec<(ScopeId, PointId, Record)>, Fail> {
        let Some(at) = self.find(space, scope)? else {
            return Ok(Vec::new());
        };
        let pending = &self.scopes[at];
        let (scope_id, expired) = (pending.namespace.scope_id, pending.state.expiries.expired(now));
        let entry = |point| {
            let record = self.rows.record(scope_id, PointId(point)).map_err(looking)?;
            Ok((scope_id, PointId(point), record))
        };
        expired.into_iter().map(entry).collect()
    }

    /// The spaces whose entries count.
    fn counted_spaces(&self) -> Result<Vec<Arc<Space>>, Fail> {
        let records = self.shared.space_records().into_iter();
        let counted = records.map(|(id, _)| id).filter(|id| self.spaces.routing.counts(*id));
        counted.map(|id| self.shared.space(id).map_err(looking)).collect()
    }

    // ---- entries ----

    /// That the scopes of a batch may take in its entries, for those that go.
    pub(super) fn admit_entries(&mut self, groups: &[impl Counted], now: i64) -> Result<(), Fail> {
        if !self.quotas.is_any {
            return Ok(());
        }
        let mut scopes: Vec<&StateScope> = groups.iter().map(Counted::scope).collect();
        // In order, so that the same batch is always refused with the same words.
        scopes.sort_unstable();
        scopes.dedup();
        for scope in scopes {
            let Some(status) = self.quota(scope)? else { continue };
            let of_scope = || groups.iter().filter(|group| group.scope() == scope);
            // What has expired counts as long as there is room: then nothing else must be looked at.
            let after = of_scope().fold(status.used, |used, group| group.counted(used, i64::MIN));
            if status.quota.allows(&after) {
                continue;
            }
            let used = without(status.used, self.count_expired(scope, now)?);
            let after = of_scope().fold(used, |used, group| group.counted(used, now));
            QuotaStatus::new(status.quota, used)
                .admit(scope, &after)
                .map_err(Fail::Request)?;
        }
        Ok(())
    }

    /// Removes expired entries from each scope that, with all entries of the batch counted as new, would exceed its quota. The
    /// entries of the batch take their place. Otherwise a scope whose entries expire faster than the purge works could occupy
    /// any number of bytes on the disk within any quota.
    pub(super) fn replace_expired<'e>(&mut self, parts: &'e [Part], now: i64) -> Result<(), Fail> {
        let of_part = |part: &'e Part| part.entries.iter().map(|entry| (&part.space, entry));
        self.replace_expired_by(parts.iter().flat_map(of_part), now)
    }

    /// [`replace_expired`](Self::replace_expired) for entries, each with its space.
    pub(in crate::engine) fn replace_expired_by<'e>(
        &mut self,
        entries: impl IntoIterator<Item = (&'e Arc<Space>, &'e PreparedEntry)>,
        now: i64,
    ) -> Result<(), Fail> {
        if !self.quotas.is_any {
            return Ok(());
        }
        // A clock that is ahead without being confirmed hides entries, but takes none.
        let now = now.min(self.shared.clock.latest());
        let mut coming: BTreeMap<&StateScope, QuotaUsage> = BTreeMap::new();
        for (space, entry) in entries {
            let more = coming.entry(&entry.scope).or_default();
            more.vectors += 1;
            let size = entry.size();
            if size.has_vector {
                more.vector_bytes += 4 * space.dim as u64;
            }
            more.metadata_bytes += size.bytes as u64;
        }
        for (scope, more) in coming {
            let Some(QuotaStatus { quota, mut used, .. }) = self.quota(scope)? else {
                continue;
            };
            used.vectors += more.vectors;
            used.vector_bytes += more.vector_bytes;
            used.metadata_bytes += more.metadata_bytes;
            if !quota.allows(&used) {
                self.purge_scope(scope, now)?;
            }
        }
        Ok(())
    }

    /// Removes the expired entries of a scope from all spaces whose entries count in its quota.
    fn purge_scope(&mut self, scope: &StateScope, now: i64) -> Result<(), Fail> {
        for space in self.counted_spaces()? {
            let expired = self.expired_of(&space, scope, now)?.into_iter();
            let row = |(scope, point, record): (ScopeId, PointId, Record)| {
                let moment = record.expires_at.map(Timestamp::as_millis)?;
                Some(ExpiredRow { moment, scope, point })
            };
            let rows: Vec<ExpiredRow> = expired.filter_map(row).collect();
            if let [first, ..] = rows.as_slice() {
                self.purge_expired(first.scope, &rows, now)?;
            }
        }
        Ok(())
    }

    /// That a scope may hold other metadata in place of what an entry has; counts it.
    pub(super) fn admit_metadata(&mut self, at: ScopeRef, (came, gone): (usize, usize), now: i64) -> Result<(), Fail> {
        if !self.quotas.is_any || !self.spaces.routing.counts(self.scopes[at].space.id) {
            return Ok(());
        }
        let (space, scope) = (Arc::clone(&self.scopes[at].space), self.scopes[at].scope.clone());
        let Some(status) = self.quota(&scope)? else {
            return Ok(());
        };
        let change = |used| changed(used, &space, Entries::metadata(came), Entries::metadata(gone));
        if !status.quota.allows(&change(status.used)) {
            let used = without(status.used, self.count_expired(&scope, now)?);
            QuotaStatus::new(status.quota, used)
                .admit(&scope, &change(used))
                .map_err(Fail::Request)?;
        }
        self.quotas.change_used(&scope, change);
        Ok(())
    }

    /// Looks up the quota of a scope from which entries will be removed.
    pub(super) fn prepare_to_count(&mut self, at: ScopeRef) -> Result<(), Fail> {
        if !self.quotas.is_any {
            return Ok(());
        }
        let scope = self.scopes[at].scope.clone();
        self.quota(&scope).map(drop)
    }

    /// Counts entries that came and went, in a scope whose quota was looked up.
    pub(super) fn count_entries(&mut self, at: ScopeRef, came: Entries, gone: Entries) {
        let Pending { space, scope, .. } = &self.scopes[at];
        if self.spaces.routing.counts(space.id) {
            self.quotas.change_used(scope, |used| changed(used, space, came, gone));
        }
    }

    /// Counts again what a scope holds, after a space took the place of another.
    pub(super) fn recount(&mut self, scope: &StateScope) -> Result<(), Fail> {
        if self.quota(scope)?.is_some() {
            let used = self.count_all(scope)?;
            self.quotas.change_used(scope, |_| used);
        }
        Ok(())
    }

    // ---- key-value data ----

    /// That the scopes whose keys these are may hold what comes of the changes; counts them. What is over at `now` counts
    /// as long as there is room, as entries do.
    pub(super) fn admit_keys<'w>(
        &mut self,
        changes: impl IntoIterator<Item = KeyChange<'w>>,
        now: i64,
    ) -> Result<(), Fail> {
        if !self.quotas.is_any {
            return Ok(());
        }
        let mut keys = KeyBytes::default();
        for change in changes {
            match change {
                KeyChange::Put(key, len) => self.change_key(&mut keys, key, Some(len as u64))?,
                KeyChange::Remove(key) => self.change_key(&mut keys, key, None)?,
                KeyChange::RemovePrefix(prefix) => {
                    let stored = self.rows.keys(KV_SCOPE, prefix.as_bytes()).map_err(looking)?;
                    let stored = stored.into_iter().filter_map(|key| String::from_utf8(key).ok());
                    let put = keys.now.keys().filter(|key| key.starts_with(prefix)).cloned();
                    let all: Vec<String> = stored.chain(put).collect();
                    for key in all {
                        self.change_key(&mut keys, &key, None)?;
                    }
                }
            }
        }
        // In order, so that the same batch is always refused with the same words.
        let mut after = Vec::with_capacity(keys.changed.len());
        for (scope, (came, gone)) in keys.changed {
            let Some(status) = self.quota(&scope)? else { continue };
            let changed = |mut used: QuotaUsage| {
                used.kv_bytes = used.kv_bytes.saturating_add(came).saturating_sub(gone);
                used
            };
            let used = changed(status.used);
            if !status.quota.allows(&used) {
                let (mut visible, mut visible_after) = (status.used, used);
                let (over, touched) = self.expired_key_bytes(&scope, &keys.now, now)?;
                visible.kv_bytes = visible.kv_bytes.saturating_sub(over + touched);
                visible_after.kv_bytes = visible_after.kv_bytes.saturating_sub(over);
                QuotaStatus::new(status.quota, visible)
                    .admit(&scope, &visible_after)
                    .map_err(Fail::Request)?;
            }
            after.push((scope, used));
        }
        for (scope, used) in after {
            self.quotas.change_used(&scope, |_| used);
        }
        Ok(())
    }

    /// Bytes of the keys of a scope that are over at `now` and not purged yet: of those that a request leaves alone, and of
    /// those that it changes.
    fn expired_key_bytes(
        &mut self,
        scope: &StateScope,
        changed: &HashMap<String, u64>,
        now: i64,
    ) -> Result<(u64, u64), Fail> {
        let prefix = ScopedBackend::prefix(scope);
        let (mut alone, mut touched) = (0, 0);
        // As many as the purge has not come to yet.
        for row in self.rows.expired_keys(now, usize::MAX).map_err(looking)? {
            if row.scope != KV_SCOPE || !row.key.starts_with(prefix.as_bytes()) {
                continue;
            }
            let found = self.rows.value_len_and_end(row.scope, &row.key).map_err(looking)?;
            let bytes = found.map_or(0, |(len, _)| (row.key.len() - prefix.len()) as u64 + len);
            let is_changed = std::str::from_utf8(&row.key).is_ok_and(|key| changed.contains_key(key));
            *(if is_changed { &mut touched } else { &mut alone }) += bytes;
        }
        Ok((alone, touched))
    }

    /// Notes that a key gets a value of `value_len` bytes, or none.
    fn change_key(&mut self, keys: &mut KeyBytes, key: &str, value_len: Option<u64>) -> Result<(), Fail> {
        let Some((scope, inner)) = ScopedBackend::split_key(key) else {
            return Ok(());
        };
        if self.quota(&scope)?.is_none() {
            return Ok(());
        }
        let bytes = |len: u64| inner.len() as u64 + len;
        let gone = match keys.now.get(key) {
            Some(bytes) => *bytes,
            None => {
                let found = self.rows.value_len_and_end(KV_SCOPE, key.as_bytes()).map_err(looking)?;
                found.map_or(0, |(len, _)| bytes(len))
            }
        };
        let came = value_len.map_or(0, bytes);
        let changed = keys.changed.entry(scope).or_default();
        *changed = (changed.0 + came, changed.1 + gone);
        keys.now.insert(key.to_string(), came);
        Ok(())
    }
}

/// What a request changes of the keys of scopes with a quota.
#[derive(Default)]
struct KeyBytes {
    /// Bytes of each key and its value, as of the last change of it; zero once it is removed.
    now: HashMap<String, u64>,
    /// Bytes that came and went, by scope.
    changed: BTreeMap<StateScope, (u64, u64)>,
}

/// Entries that come or go.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Entries {
    pub(super) count: u64,
    /// Those of them that have a vector.
    pub(super) with_vector: u64,
    pub(super) metadata_bytes: u64,
}

impl Entries {
    /// None, but so much of their metadata.
    fn metadata(bytes: usize) -> Self {
        Self {
            metadata_bytes: bytes as u64,
            ..Self::default()
        }
    }

    /// Those of these sizes.
    pub(super) fn of(sizes: impl IntoIterator<Item = EntrySize>) -> Self {
        let add = |sum: Self, size: EntrySize| Self {
            count: sum.count + 1,
            with_vector: sum.with_vector + u64::from(size.has_vector),
            metadata_bytes: sum.metadata_bytes + size.bytes as u64,
        };
        sizes.into_iter().fold(Self::default(), add)
    }

    /// All of a scope.
    pub(super) fn all(state: &State) -> Self {
        Self {
            count: state.live_count(),
            with_vector: state.vector_count(),
            metadata_bytes: state.metadata_bytes + state.text_bytes,
        }
    }

    /// Those that were found.
    pub(super) fn stored(found: &[(PointId, Record)]) -> Self {
        Self::of(found.iter().map(|(_, record)| record.size()))
    }
}

impl Group<'_> {
    /// What comes with it.
    pub(super) fn come(&self) -> Entries {
        Entries::of(self.entries.iter().map(|(entry, _)| entry.size()))
    }
}

/// Entries of one scope of one space that come together, and what they replace.
pub(super) trait Counted {
    fn space(&self) -> &Arc<Space>;
    fn scope(&self) -> &StateScope;
    /// When each of them ends, and its size.
    fn coming(&self) -> impl Iterator<Item = (Option<Timestamp>, EntrySize)>;
    /// What it takes the place of, in its space.
    fn replaced(&self) -> &Stored;
    /// And in others.
    fn moved(&self) -> impl Iterator<Item = (&Space, &Stored)>;

    /// What a scope with `used` holds after them; what has expired by `now` does not count.
    fn counted(&self, used: QuotaUsage, now: i64) -> QuotaUsage {
        let now = Timestamp::from_millis(now);
        let gone = |gone: &[(PointId, Record)]| {
            let visible = gone.iter().filter(|(_, record)| !record.is_expired(now));
            Entries::of(visible.map(|(_, record)| record.size()))
        };
        let visible = self.coming().filter(|(end, _)| end.is_none_or(|moment| moment > now));
        let came = Entries::of(visible.map(|(_, size)| size));
        let used = changed(used, self.space(), came, gone(self.replaced()));
        self.moved().fold(used, |used, (other, moved)| {
            changed(used, other, Entries::default(), gone(moved))
        })
    }
}

impl Counted for Group<'_> {
    fn space(&self) -> &Arc<Space> {
        self.space
    }

    fn scope(&self) -> &StateScope {
        self.scope
    }

    fn coming(&self) -> impl Iterator<Item = (Option<Timestamp>, EntrySize)> {
        let entries = self.entries.iter();
        entries.map(|(entry, _)| (entry.expires_at, entry.size()))
    }

    fn replaced(&self) -> &Stored {
        &self.replaced
    }

    fn moved(&self) -> impl Iterator<Item = (&Space, &Stored)> {
        self.moved.iter().map(|moved| (&*moved.space, &moved.gone))
    }
}

fn changed(used: QuotaUsage, space: &Space, came: Entries, gone: Entries) -> QuotaUsage {
    let change = |used: u64, came: u64, gone: u64| used.saturating_add(came).saturating_sub(gone);
    let bytes = 4 * space.dim as u64;
    let mut after = used;
    after.vectors = change(used.vectors, came.count, gone.count);
    after.vector_bytes = change(used.vector_bytes, came.with_vector * bytes, gone.with_vector * bytes);
    after.metadata_bytes = change(used.metadata_bytes, came.metadata_bytes, gone.metadata_bytes);
    after
}

/// What is left of `used`.
fn without(mut used: QuotaUsage, gone: QuotaUsage) -> QuotaUsage {
    used.vectors = used.vectors.saturating_sub(gone.vectors);
    used.vector_bytes = used.vector_bytes.saturating_sub(gone.vector_bytes);
    used.metadata_bytes = used.metadata_bytes.saturating_sub(gone.metadata_bytes);
    used
}
