//! What should come of a call? A map, and a sort.

use std::collections::{BTreeMap, BTreeSet};

use llmspell_storage::{
    DateFields, Filter, ListOrder, Metadata, Quota, QuotaStatus, QuotaUsage, Result, ScopeKind, StateScope,
    StorageError, Timestamp, VectorEntry, VectorResult,
};

use crate::program::{
    Call, Content, DIM, KeyCall, Life, Listing, Search, Seen, Step, Value, Write, floats, id, key, scope, score, value,
};
use crate::store::BEGIN;

/// What should be there.
#[derive(Debug)]
pub(crate) struct Model {
    /// In milliseconds since 1970.
    now: i64,
    /// Without those that have expired, as of all here.
    entries: BTreeMap<(StateScope, String), VectorEntry>,
    values: BTreeMap<(StateScope, String), Value>,
    quotas: BTreeMap<StateScope, Quota>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            now: BEGIN,
            entries: BTreeMap::new(),
            values: BTreeMap::new(),
            quotas: BTreeMap::new(),
        }
    }

    pub(crate) fn run(&mut self, step: &Step) -> Seen {
        match self.try_run(step) {
            Ok(seen) => seen,
            Err(error) => Seen::Refused(error.to_string()),
        }
    }

    fn try_run(&mut self, step: &Step) -> Result<Seen> {
        Ok(match step {
            Step::Write(write) => self.write(self.built(write), write.refuses)?,
            Step::Models { .. } | Step::Beside(_) | Step::DropBeside => unreachable!("the model has one space"),
            Step::Of {
                scope: of,
                by_handle,
                call,
            } => self.call(&scope(*of), *by_handle, call)?,
            Step::Rewrite { scope: of, write } => {
                let dropped = self.remove(&scope(*of), |_| true);
                let written = self.write(self.built(write), write.refuses);
                let written = written.unwrap_or_else(|error| Seen::Refused(error.to_string()));
                Seen::Both(Box::new((Seen::Count(dropped), written)))
            }
            Step::SearchScopes { scopes, search } => {
                let mut hits = self.search(&scopes.iter().map(|of| scope(*of)).collect::<Vec<_>>(), search)?;
                hits.truncate(search.k);
                Seen::Hits(hits)
            }
            Step::ListScopes { scopes, listing } => {
                self.listed(&scopes.iter().map(|of| scope(*of)).collect::<Vec<_>>(), listing)?
            }
            Step::DropScopes(scopes) => Seen::Count(scopes.iter().map(|of| self.remove(&scope(*of), |_| true)).sum()),
            Step::DropUsers => {
                let users = self.entries.keys().map(|(owner, _)| owner.clone());
                let users: BTreeSet<StateScope> = users.filter(|owner| owner.kind() == ScopeKind::User).collect();
                Seen::Count(users.iter().map(|owner| self.remove(owner, |_| true)).sum())
            }
            Step::DropSpace => {
                self.entries.clear();
                Seen::Done(true)
            }
            Step::Keys { scope: of, call } => self.keys(&scope(*of), call)?,
            Step::SetQuota { scope: of, quota } => Seen::Done(match quota {
                Some(quota) => {
                    self.quotas.insert(scope(*of), *quota);
                    true
                }
                None => self.quotas.remove(&scope(*of)).is_some(),
            }),
            Step::Pass(millis) => {
                self.now += i64::from(*millis);
                let now = self.now;
                self.entries.retain(|_, entry| !is_over(entry, now));
                self.values
                    .retain(|_, (_, end)| end.is_none_or(|end| end.as_millis() > now));
                Seen::Done(true)
            }
            Step::Reopen | Step::BuildIndex | Step::OptimizeIndex | Step::DamageIndexes(_) => Seen::Done(true),
        })
    }

    fn call(&mut self, owner: &StateScope, by_handle: bool, call: &Call) -> Result<Seen> {
        Ok(match call {
            Call::Write(write) => {
                let mut entries = self.built(write);
                if by_handle {
                    for entry in &mut entries {
                        let named = std::mem::replace(&mut entry.scope, owner.clone());
                        if named != *owner && named != StateScope::Global {
                            let scope = owner.clone();
                            return Err(StorageError::OutsideScope { scope, named });
                        }
                    }
                }
                self.write(entries, write.refuses)?
            }
            Call::Get(number) => {
                let entry = self.entries.get(&(owner.clone(), id(*number)));
                Seen::Entries(entry.into_iter().cloned().collect())
            }
            Call::Delete(numbers) => {
                let ids: Vec<String> = numbers.iter().map(|number| id(*number)).collect();
                Seen::Count(self.remove(owner, |entry| ids.contains(&entry.id)))
            }
            Call::Touch { ids: numbers, life } => {
                let expires_at = life.expiry(self.now).moment(Timestamp::from_millis(self.now))?;
                let mut missing: Vec<String> = Vec::new();
                let (mut ended, now) = (BTreeSet::new(), self.now);
                for id in numbers.iter().map(|number| id(*number)) {
                    let key = (owner.clone(), id.clone());
                    match self.entries.get_mut(&key) {
                        Some(entry) => {
                            entry.expires_at = expires_at;
                            if is_over(entry, now) {
                                ended.insert(key);
                            }
                        }
                        None if missing.contains(&id) => {}
                        None => missing.push(id),
                    }
                }
                self.entries.retain(|key, _| !ended.contains(key));
                Seen::Ids(missing)
            }
            Call::UpdateMetadata { id: number, fields } => {
                let not_found = || StorageError::NotFound { id: id(*number) };
                let key = (owner.clone(), id(*number));
                let used = self.used(owner).metadata_bytes;
                let entry = self.entries.get_mut(&key).ok_or_else(not_found)?;
                let mut updated = entry.clone();
                updated.metadata = fields.clone().into();
                let after = used - metadata_bytes(entry) + metadata_bytes(&updated);
                let limit = self.quotas.get(owner).and_then(|quota| quota.metadata_bytes);
                refuse_more(owner, "bytes of metadata", limit, (used, after))?;
                *entry = updated;
                entry.updated_at = Some(Timestamp::from_millis(self.now));
                Seen::Done(true)
            }
            Call::Clear => Seen::Count(self.remove(owner, |_| true)),
            Call::Search(search) => {
                let mut hits = self.search(std::slice::from_ref(owner), search)?;
                hits.truncate(search.k);
                hits.iter_mut().for_each(|hit| hit.scope = None);
                Seen::Hits(hits)
            }
            Call::Explain(search) => {
                let results = self.search(std::slice::from_ref(owner), search)?.len().min(search.k);
                let filter = search.filter.clone().unwrap_or(Filter::all());
                let matching = self.matching(owner, &filter)?.len() as u64;
                Seen::Plan(self.of(owner).count() as u64, matching, results)
            }
            Call::Page { after, limit } => self.page(owner, &Filter::all(), *after, *limit)?,
            Call::PageBy(listing) => self.listed(std::slice::from_ref(owner), listing)?,
            Call::Sample { filter, .. } => {
                let all = self.matching(owner, filter.as_ref().unwrap_or(&Filter::all()))?;
                Seen::Entries(all.into_iter().cloned().collect())
            }
            Call::Count(filter) => Seen::Count(self.matching(owner, filter)?.len() as u64),
            Call::PageMatching { filter, after, limit } => self.page(owner, filter, *after, *limit)?,
            Call::DeleteMatching(filter) => {
                let matching = self.matching(owner, filter)?;
                let ids: BTreeSet<String> = matching.into_iter().map(|entry| entry.id.clone()).collect();
                Seen::Count(self.remove(owner, |entry| ids.contains(&entry.id)))
            }
            Call::Facet { field, filter } => {
                let mut counts = BTreeMap::new();
                for entry in self.matching(owner, filter)? {
                    let values = match entry.metadata.get(field) {
                        Some(serde_json::Value::Array(values)) => values.clone(),
                        other => other.into_iter().cloned().collect(),
                    };
                    let different: BTreeSet<String> = values.iter().map(ToString::to_string).collect();
                    for value in different {
                        *counts.entry(value).or_default() += 1;
                    }
                }
                Seen::Counts(counts)
            }
            Call::Stats => {
                let used = self.used(owner);
                let quota = self.quotas.get(owner);
                let quota = quota.map(|quota| QuotaStatus::new(*quota, used));
                Seen::Held(used.vectors, used.vector_bytes, quota)
            }
        })
    }

    fn built(&self, write: &Write) -> Vec<VectorEntry> {
        write.entries.iter().map(|entry| entry.build(self.now)).collect()
    }

    fn write(&mut self, entries: Vec<VectorEntry>, refuses: bool) -> Result<Seen> {
        let key = |entry: &VectorEntry| (entry.scope.clone(), entry.id.clone());
        for (second, entry) in entries.iter().enumerate() {
            if let Some(first) = entries[..second].iter().position(|other| key(other) == key(entry)) {
                let id = entry.id.clone();
                return Err(StorageError::DuplicateId { id, first, second });
            }
        }
        if let Some(entry) = entries
            .iter()
            .find(|entry| refuses && self.entries.contains_key(&key(entry)))
        {
            return Err(StorageError::IdExists { id: entry.id.clone() });
        }
        let mut after = self.entries.clone();
        let now = Timestamp::from_millis(self.now);
        for entry in &entries {
            let mut stored = entry.clone();
            let before = after.remove(&key(entry));
            stored.created_at = before.and_then(|before| before.created_at).or(Some(now));
            stored.updated_at = Some(now);
            if let Some(lifetime) = stored.ttl.take() {
                let millis = i64::try_from(lifetime.as_millis()).unwrap();
                stored.expires_at = Some(Timestamp::from_millis(self.now + millis));
            }
            if !is_over(&stored, self.now) {
                after.insert(key(entry), stored);
            }
        }
        // In the order of the scopes, whatever the order in which the batch names them.
        let scopes: BTreeSet<&StateScope> = entries.iter().map(|entry| &entry.scope).collect();
        for scope in scopes {
            let Some(quota) = self.quotas.get(scope) else {
                continue;
            };
            let count = |entries: &BTreeMap<(StateScope, String), VectorEntry>| {
                let own = entries.values().filter(|entry| entry.scope == *scope);
                own.fold((0, 0), |(count, bytes), entry| {
                    (count + 1, bytes + metadata_bytes(entry))
                })
            };
            let ((used, metadata_used), (after, metadata_after)) = (count(&self.entries), count(&after));
            refuse_more(scope, "vectors", quota.vectors, (used, after))?;
            let bytes = 4 * DIM as u64;
            refuse_more(
                scope,
                "bytes of vectors",
                quota.vector_bytes,
                (bytes * used, bytes * after),
            )?;
            let metadata = (metadata_used, metadata_after);
            refuse_more(scope, "bytes of metadata", quota.metadata_bytes, metadata)?;
        }
        self.entries = after;
        Ok(Seen::Ids(entries.into_iter().map(|entry| entry.id).collect()))
    }

    fn remove(&mut self, owner: &StateScope, is_removed: impl Fn(&VectorEntry) -> bool) -> u64 {
        let before = self.entries.len();
        self.entries.retain(|(of, _), entry| of != owner || !is_removed(entry));
        (before - self.entries.len()) as u64
    }

    /// All that match and are near enough, of each scope once, the nearest first.
    fn search(&self, scopes: &[StateScope], search: &Search) -> Result<Vec<VectorResult>> {
        let filter = search.filter.clone().unwrap_or(Filter::all());
        let mut hits: Vec<(usize, VectorResult)> = Vec::new();
        for (place, owner) in scopes.iter().enumerate() {
            if scopes[..place].contains(owner) {
                continue;
            }
            for entry in self.matching(owner, &filter)? {
                let distance = distance(&entry.embedding, search.query);
                let mut hit = VectorResult::new(entry.id.clone(), 1.0 / (1.0 + distance), distance);
                hit.scope = Some(owner.clone());
                hit.metadata = Some(fields(entry));
                if search.threshold.is_none_or(|threshold| hit.score >= score(threshold)) {
                    hits.push((place, hit));
                }
            }
        }
        hits.sort_by(|(a_place, a), (b_place, b)| {
            let order = a.distance.total_cmp(&b.distance);
            order.then_with(|| (a_place, &a.id).cmp(&(b_place, &b.id)))
        });
        Ok(hits.into_iter().map(|(_, hit)| hit).collect())
    }

    fn page(&self, owner: &StateScope, filter: &Filter, after: Option<u8>, limit: usize) -> Result<Seen> {
        let after = after.map(id);
        let matching = self.matching(owner, filter)?.into_iter();
        let later = matching.filter(|entry| after.as_ref().is_none_or(|after| entry.id > *after));
        Ok(Seen::Entries(later.take(limit).cloned().collect()))
    }

    /// Each scope once.
    fn listed(&self, scopes: &[StateScope], listing: &Listing) -> Result<Seen> {
        let filter = listing.filter.clone().unwrap_or(Filter::all());
        let key = |entry: &VectorEntry| {
            let millis = match listing.order {
                ListOrder::Id | ListOrder::IdDescending => 0,
                _ => entry.times().get(listing.time)?.as_millis(),
            };
            Some((millis, entry.id.clone(), entry.scope.clone()))
        };
        let once: BTreeSet<&StateScope> = scopes.iter().collect();
        let mut listed = BTreeMap::new();
        for owner in once {
            let matching = self.matching(owner, &filter)?;
            listed.extend(
                matching
                    .into_iter()
                    .filter_map(|entry| Some((key(entry)?, entry.clone()))),
            );
        }
        let is_backward = matches!(listing.order, ListOrder::IdDescending | ListOrder::NewestFirst);
        if let Some(after) = listing.after_entry().as_ref().and_then(key) {
            listed.retain(|key, _| if is_backward { *key < after } else { *key > after });
        }
        let has_more = listed.len() > listing.limit;
        let entries: Box<dyn Iterator<Item = VectorEntry>> = match is_backward {
            true => Box::new(listed.into_values().rev()),
            false => Box::new(listed.into_values()),
        };
        Ok(Seen::Page(entries.take(listing.limit).collect(), has_more))
    }

    /// In the order of their ids.
    fn matching(&self, owner: &StateScope, filter: &Filter) -> Result<Vec<&VectorEntry>> {
        let filter = filter.compile(&DateFields::none())?;
        Ok(self.of(owner).filter(|entry| filter.matches_entry(entry)).collect())
    }

    fn of(&self, owner: &StateScope) -> impl Iterator<Item = &VectorEntry> {
        self.entries.values().filter(move |entry| entry.scope == *owner)
    }

    fn used(&self, owner: &StateScope) -> QuotaUsage {
        let mut used = QuotaUsage::default();
        used.vectors = self.of(owner).count() as u64;
        used.vector_bytes = 4 * DIM as u64 * used.vectors;
        used.metadata_bytes = self.of(owner).map(metadata_bytes).sum();
        let own = self.values.iter().filter(|((of, _), _)| of == owner);
        used.kv_bytes = own.map(|((_, key), (value, _))| (key.len() + value.len()) as u64).sum();
        used
    }

    fn keys(&mut self, owner: &StateScope, call: &KeyCall) -> Result<Seen> {
        let place = |number: &u8| (owner.clone(), key(*number).to_string());
        Ok(match call {
            KeyCall::Set { key, len, life } => {
                self.set(place(key), value(*len), *life)?;
                Seen::Done(true)
            }
            KeyCall::Remove(key) => Seen::Done(self.values.remove(&place(key)).is_some()),
            KeyCall::Get(key) => {
                let found = self.values.get(&place(key));
                Seen::Pairs(found.map(|found| (place(key).1, found.clone())).into_iter().collect())
            }
            KeyCall::Swap {
                key,
                expected,
                len,
                life,
            } => {
                let current = self.values.get(&place(key)).map(|(value, _)| value);
                let is_expected = current == expected.map(value).as_ref();
                match len {
                    Some(len) if is_expected => self.set(place(key), value(*len), *life)?,
                    None if is_expected => drop(self.values.remove(&place(key))),
                    Some(_) | None => {}
                }
                Seen::Done(is_expected)
            }
            KeyCall::Scan => {
                let own = self.values.iter().filter(|((of, _), _)| of == owner);
                Seen::Pairs(own.map(|((_, key), value)| (key.clone(), value.clone())).collect())
            }
        })
    }

    fn set(&mut self, place: (StateScope, String), value: Vec<u8>, life: Life) -> Result<()> {
        let end = life.expiry(self.now).moment(Timestamp::from_millis(self.now))?;
        let is_over = end.is_some_and(|end| end.as_millis() <= self.now);
        let used = self.used(&place.0).kv_bytes;
        let bytes = if is_over {
            0
        } else {
            (place.1.len() + value.len()) as u64
        };
        let freed = self
            .values
            .get(&place)
            .map_or(0, |(old, _)| (place.1.len() + old.len()) as u64);
        let limit = self.quotas.get(&place.0).and_then(|quota| quota.kv_bytes);
        let after = used + bytes - freed;
        refuse_more(&place.0, "bytes of key-value data", limit, (used, after))?;
        match is_over {
            true => drop(self.values.remove(&place)),
            false => drop(self.values.insert(place, (value, end))),
        }
        Ok(())
    }

    pub(crate) fn content(&self) -> Content {
        (self.entries.clone(), self.values.clone())
    }
}

fn refuse_more(owner: &StateScope, what: &'static str, limit: Option<u64>, (used, after): (u64, u64)) -> Result<()> {
    match limit {
        Some(limit) if after > limit && after > used => Err(StorageError::QuotaExceeded {
            scope: owner.clone(),
            what,
            limit,
            used,
            asked: after - used,
        }),
        Some(_) | None => Ok(()),
    }
}

/// As compact JSON.
fn metadata_bytes(entry: &VectorEntry) -> u64 {
    serde_json::to_vec(&entry.metadata).unwrap().len() as u64
}

fn is_over(entry: &VectorEntry, now: i64) -> bool {
    entry.expires_at.is_some_and(|moment| moment.as_millis() <= now)
}

fn fields(entry: &VectorEntry) -> Metadata {
    entry.metadata.as_object().cloned().unwrap()
}

/// Whole numbers, so the sum is exact and "equal" means equal.
fn distance(vector: &[f32], query: [i8; DIM]) -> f32 {
    let squares: f32 = vector.iter().zip(floats(query)).map(|(a, b)| (a - b) * (a - b)).sum();
    squares.sqrt()
}
