//! A vector store in one sorted map.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use llmspell_core::{
    DateFields, DistanceMetric, Expiry, ListPage, ListQuery, Metadata, OnExisting, RecommendQuery, Result, SampleQuery,
    ScopeKind, ScopedStats, StateScope, StorageError, StorageStats, TextConfig, Timestamp, VectorEntry, VectorQuery,
    VectorResult, VectorStorage, recency_score, validate_key_value, validate_vectors as validate,
};
use serde_json::Value;

use super::faults::Fault;
use super::word_faults::WordFault;

#[derive(Debug)]
pub(crate) struct NaiveStore {
    pub(super) dim: usize,
    pub(super) metric: DistanceMetric,
    pub(super) fault: Option<Fault>,
    /// Which texts are indexed, if any are.
    pub(super) texts: Option<TextConfig>,
    pub(super) word_fault: Option<WordFault>,
    pub(super) state: Mutex<State>,
    made_ids: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) entries: BTreeMap<(StateScope, String), Stored>,
    named: Vec<StateScope>,
    writes: u64,
    /// Texts that were deleted, to count them wrongly.
    pub(super) deleted: Vec<Stored>,
}

#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) entry: VectorEntry,
    /// Its own text, whether it is kept or only indexed.
    pub(super) own: Option<String>,
    /// The metadata whose texts are indexed.
    pub(super) indexed: Metadata,
    /// Number of writes, to break ties wrongly.
    turn: u64,
}

pub(super) fn now() -> Timestamp {
    SystemTime::now().into()
}

pub(super) fn is_alive(entry: &VectorEntry) -> bool {
    entry.expires_at.is_none_or(|end| end > now())
}

pub(super) fn fields(entry: &VectorEntry) -> Metadata {
    entry.metadata.as_object().cloned().unwrap_or_default()
}

fn metadata_len(entry: &VectorEntry) -> u64 {
    Value::Object(fields(entry)).to_string().len() as u64
}

impl NaiveStore {
    pub(crate) fn new(dim: usize, metric: DistanceMetric, fault: Option<Fault>) -> Self {
        Self {
            dim,
            metric,
            fault,
            texts: None,
            word_fault: None,
            state: Mutex::default(),
            made_ids: AtomicU64::new(0),
        }
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    pub(super) fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
        let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let dot: f64 = pairs().map(|(a, b)| a * b).sum();
        let norm = |v: &[f32]| v.iter().map(|c| f64::from(*c) * f64::from(*c)).sum::<f64>().sqrt();
        match self.metric {
            DistanceMetric::Cosine if self.has(Fault::CosineIsNotClamped) => {
                let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                1.0 - dot / (norm(a) as f32 * norm(b) as f32)
            }
            DistanceMetric::Cosine => (1.0 - dot / (norm(a) * norm(b))).clamp(0.0, 2.0) as f32,
            DistanceMetric::Euclidean => pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt() as f32,
            DistanceMetric::InnerProduct => -dot as f32,
            DistanceMetric::Manhattan => pairs().map(|(a, b)| (a - b).abs()).sum::<f64>() as f32,
        }
    }

    /// Of an entry at a distance.
    fn recency_score(&self, distance: f32, stored: &Stored, half_life: Duration) -> f32 {
        let mut times = stored.entry.times();
        if self.has(Fault::RecencyIsOfCreation) {
            times.event_time = None;
        }
        let score = self.metric.score(distance);
        if self.has(Fault::RecencyMultiplies) {
            return score * recency_score(1.0, times.age_ms(now()), half_life);
        }
        match times.event_time {
            Some(event) if self.has(Fault::TheFutureRisesScores) && event > now() => score + score.abs(),
            _ => recency_score(score, times.age_ms(now()), half_life),
        }
    }

    fn scope(&self, scope: &StateScope) -> Result<StateScope> {
        if self.has(Fault::EmptyScopeMeansGlobal) && scope.id() == Some("") {
            return Ok(StateScope::Global);
        }
        scope.validate()?;
        Ok(scope.clone())
    }

    pub(super) fn made_id(&self) -> String {
        let version = if self.has(Fault::UuidIsNotV7) { 4 } else { 7 };
        let number = self.made_ids.fetch_add(1, Ordering::Relaxed);
        format!("00000000-0000-{version}000-8000-{number:012x}")
    }

    fn check(&self, entries: &[VectorEntry]) -> Result<()> {
        for entry in entries {
            if self.has(Fault::DuplicateIsTaken) {
                validate::entry(entry, self.dim, self.metric, self.texts.as_ref())?;
            }
            if !self.has(Fault::LargeMetadataIsTaken) {
                // Checks the nesting first: serializing would recurse as deeply as the user likes.
                validate::metadata(&entry.id, &entry.metadata)?;
                validate::metadata_bytes(&entry.id, entry.metadata.to_string().len())?;
            }
        }
        if self.has(Fault::DuplicateIsTaken) {
            Ok(())
        } else {
            validate::batch(entries, self.dim, self.metric, self.texts.as_ref())
        }
    }

    fn store(&self, state: &mut State, mut entry: VectorEntry) {
        let key = (entry.scope.clone(), entry.id.clone());
        let old = state
            .entries
            .get(&key)
            .map(|stored| stored.entry.clone())
            .filter(is_alive);
        let moment = now();
        let created_at = old
            .as_ref()
            .and_then(|old| old.created_at)
            .filter(|_| !self.has(Fault::UpsertForgetsCreation));
        entry.created_at = created_at.or(entry.created_at).or(Some(moment));
        entry.updated_at = entry.updated_at.or(Some(moment));
        if let Some(ttl) = entry.ttl.take()
            && !self.has(Fault::LifetimeIsForgotten)
        {
            entry.expires_at = moment.checked_add(ttl);
        }
        if let (Some(old), true) = (&old, self.has(Fault::UpsertKeepsTimes)) {
            entry.event_time = old.event_time;
        }
        let own = self.indexed_text(&mut entry, state.entries.get(&key));
        if self.has(Fault::VectorsAreRounded) {
            entry.embedding.iter_mut().for_each(|component| *component += 0.0);
        }
        if entry.metadata.is_null() {
            entry.metadata = Value::Object(Metadata::new());
        }
        if !state.named.contains(&entry.scope) {
            state.named.push(entry.scope.clone());
        }
        state.writes += 1;
        let turn = state.writes;
        let indexed = fields(&entry);
        let stored = Stored {
            entry,
            own,
            indexed,
            turn,
        };
        state.entries.insert(key, stored);
    }

    fn refuse_existing(&self, state: &State, entry: &VectorEntry) -> Result<()> {
        match state.entries.get(&(entry.scope.clone(), entry.id.clone())) {
            Some(old) if is_alive(&old.entry) || self.has(Fault::ExpiredBlocksItsId) => {
                Err(StorageError::IdExists { id: entry.id.clone() })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn visible<'a>(&self, state: &'a State, scope: &StateScope, even_expired: Fault) -> Vec<&'a Stored> {
        let in_scope = state.entries.iter().filter(|((owner, _), _)| owner == scope);
        let stored = in_scope.map(|(_, stored)| stored);
        stored
            .filter(|stored| is_alive(&stored.entry) || self.has(even_expired))
            .collect()
    }
}

/// Lets another thread, or another future of this one, have its turn.
async fn pause() {
    let mut is_first = true;
    std::future::poll_fn(|context| {
        if std::mem::take(&mut is_first) {
            context.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(())
    })
    .await;
}

#[async_trait]
impl VectorStorage for NaiveStore {
    async fn write(&self, mut entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
        if self.has(Fault::EmptyScopeMeansGlobal) {
            for entry in entries.iter_mut().filter(|entry| entry.scope.id() == Some("")) {
                entry.scope = StateScope::Global;
            }
        }
        entries.iter_mut().for_each(|entry| self.tolerated(entry));
        if !self.has(Fault::BatchStopsAtBadEntry) {
            self.check(&entries)?;
        }
        for entry in entries.iter_mut().filter(|entry| entry.id.is_empty()) {
            entry.id = self.made_id();
        }
        let mut ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
        let refuses = on_existing == OnExisting::Refuse && !self.has(Fault::ExistingIsReplaced);
        let in_parts = self.has(Fault::DroppedInsertIsHalf) && entries.len() == 2;
        if in_parts || self.has(Fault::BatchIsNotAtomicForReaders) {
            if refuses {
                let state = self.state.lock().unwrap();
                entries
                    .iter()
                    .try_for_each(|entry| self.refuse_existing(&state, entry))?;
            }
            for entry in entries {
                self.store(&mut self.state.lock().unwrap(), entry);
                match self.fault {
                    Some(Fault::DroppedInsertIsHalf) => pause().await,
                    // Long enough for a reader to look, on a busy machine too.
                    _ => std::thread::sleep(std::time::Duration::from_micros(100)),
                }
            }
            return Ok(ids);
        }
        let mut state = self.state.lock().unwrap();
        if refuses && !self.has(Fault::BatchStopsAtConflict) {
            entries
                .iter()
                .try_for_each(|entry| self.refuse_existing(&state, entry))?;
        }
        for entry in entries {
            if self.has(Fault::BatchStopsAtBadEntry) {
                self.check(std::slice::from_ref(&entry))?;
            }
            if refuses && self.has(Fault::BatchStopsAtConflict) {
                self.refuse_existing(&state, &entry)?;
            }
            self.store(&mut state, entry);
        }
        if self.has(Fault::IdsInOtherOrder) {
            ids.sort();
        }
        Ok(ids)
    }

    async fn search(&self, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        let mut query = query.clone();
        if query.scopes.is_none() {
            query.scope = self.scope(&query.scope)?;
        }
        if self.has(Fault::NoScopesMeanAll) && query.scopes.as_ref().is_some_and(Vec::is_empty) {
            query.scopes = Some(self.scopes().await?);
        }
        if self.has(Fault::NanThresholdIsTaken) {
            query.threshold = query.threshold.filter(|threshold| !threshold.is_nan());
        }
        if self.has(Fault::RangesOfTimesAreIgnored) {
            (query.event_time, query.ingested) = (None, None);
        }
        for range in [&mut query.event_time, &mut query.ingested].into_iter().flatten() {
            match (range.from, &mut range.to) {
                (_, Some(to)) if self.has(Fault::RangesOfTimesIncludeTheirEnd) => {
                    *to = Timestamp::from_millis(to.as_millis() + 1);
                }
                (Some(from), Some(to)) if self.has(Fault::ReversedRangesAreEmpty) => *to = from.max(*to),
                _ => {}
            }
        }
        self.tolerated_query(&mut query)?;
        validate::query(&query, self.dim, self.metric, self.texts.as_ref())?;
        if query.is_by_terms() {
            return self.search_words(&query).await;
        }
        if query.mmr.is_some() || query.group_by.is_some() {
            return self.select(&query).await;
        }
        if query.offset > 0 {
            let mut found = self.search(&query.with_passed_over()).await?;
            let passed = if self.has(Fault::OffsetIsIgnored) {
                0
            } else {
                query.offset
            };
            found.drain(..passed.min(found.len()));
            found.truncate(query.k);
            return Ok(found);
        }
        let mut state = self.state.lock().unwrap();
        if self.has(Fault::AskedScopesAreNamed) && !state.named.contains(&query.scope) {
            state.named.push(query.scope.clone());
        }
        let scopes = match &query.scopes {
            Some(scopes) if self.has(Fault::RepeatedScopesCountTwice) => scopes.iter().collect(),
            Some(scopes) if self.has(Fault::OnlyTheFirstScopeIsSearched) => scopes.iter().take(1).collect(),
            _ => query.searched_scopes(),
        };
        let place = |stored: &Stored| scopes.iter().position(|scope| **scope == stored.entry.scope);
        let stored: Vec<&Stored> = if self.has(Fault::ScopesAreOneInSearch) {
            state.entries.values().collect()
        } else {
            let of = |scope: &&StateScope| self.visible(&state, scope, Fault::ExpiredIsFound);
            scopes.iter().flat_map(of).collect()
        };
        let filter = query
            .whole_filter()
            .map(|filter| filter.compile(&DateFields::none()))
            .transpose()?;
        let matches = |stored: &&&Stored| {
            filter.as_ref().is_none_or(|filter| match self.fault {
                Some(Fault::TimesAreNotFiltered) => filter.matches(&fields(&stored.entry)),
                _ => filter.matches_entry(&stored.entry),
            })
        };
        let is_late_filter = self.has(Fault::FilterAfterTopK);
        let mut found: Vec<(f32, &Stored)> = stored
            .iter()
            .filter(|stored| self.has_vector(&stored.entry))
            .filter(|stored| is_late_filter || matches(stored))
            .map(|stored| (self.distance(&stored.entry.embedding, &query.vector), *stored))
            .collect();
        if self.has(Fault::OthersChangeTies) && state.named.len() > 1 {
            found
                .iter_mut()
                .for_each(|(distance, _)| *distance = distance.next_up());
        }
        found.sort_by(|(a, left), (b, right)| {
            let tie = match self.fault {
                Some(Fault::TiesByInsertion) => left.turn.cmp(&right.turn),
                Some(Fault::TiesByIdBeforeScope) => left.entry.id.cmp(&right.entry.id),
                _ => (place(left), &left.entry.id).cmp(&(place(right), &right.entry.id)),
            };
            a.total_cmp(b).then(tie)
        });
        let half_life = query.recency.filter(|_| !self.has(Fault::RecencyIsIgnored));
        if let (Some(half_life), false) = (half_life, self.has(Fault::RecencyIsOfTheTopK)) {
            let is_late = self.has(Fault::ThresholdIsOfTheRecencyScore);
            if let (Some(threshold), false) = (query.threshold, is_late) {
                found.retain(|(distance, _)| self.metric.score(*distance) >= threshold);
            }
            let ranked = |of: &(f32, &Stored)| self.recency_score(of.0, of.1, half_life);
            found.sort_by(|a, b| {
                let by_scope = match self.has(Fault::EachScopeHasItsMostRecent) {
                    true => place(a.1).cmp(&place(b.1)),
                    false => std::cmp::Ordering::Equal,
                };
                by_scope.then(ranked(b).total_cmp(&ranked(a)))
            });
            if let (Some(threshold), true) = (query.threshold, is_late) {
                found.retain(|of| ranked(of) >= threshold);
            }
        }
        if !(self.has(Fault::EachScopeHasItsTopK) && scopes.len() > 1) {
            found.truncate(query.k);
        }
        found.retain(|(_, stored)| !is_late_filter || matches(&stored));
        let mut results: Vec<VectorResult> = found
            .into_iter()
            .map(|(distance, stored)| {
                let score = if self.has(Fault::ScoreIsDistance) {
                    distance
                } else {
                    self.metric.score(distance)
                };
                let mut result = VectorResult::new(stored.entry.id.clone(), score, distance);
                result.recency_score = half_life.map(|half_life| self.recency_score(distance, stored, half_life));
                if let (Some(ranked), true) = (result.recency_score, self.has(Fault::RecencyScoreIsTheScore)) {
                    result.score = ranked;
                }
                let with_metadata = query.include_metadata || self.has(Fault::MetadataIsAlwaysThere);
                let names_scope = query.scopes.is_some() && !self.has(Fault::HitsForgetTheirScope);
                result.scope = names_scope.then(|| stored.entry.scope.clone());
                result.metadata = with_metadata.then(|| fields(&stored.entry));
                result.vector = query.include_vectors.then(|| stored.entry.embedding.clone());
                result.text = stored.entry.text.clone().filter(|_| query.include_texts);
                result
            })
            .collect();
        if let Some(threshold) = query.threshold
            && !self.has(Fault::ThresholdIsIgnored)
        {
            let is_exclusive = self.has(Fault::ThresholdIsExclusive);
            results.retain(|result| result.score > threshold || result.score == threshold && !is_exclusive);
        }
        if self.has(Fault::ResultsAreNotSorted) {
            results.reverse();
        }
        if self.has(Fault::OneTooFew) && results.len() > 30 {
            results.pop();
        }
        Ok(results)
    }

    async fn get(&self, scope: &StateScope, id: &str) -> Result<Option<VectorEntry>> {
        let scope = self.scope(scope)?;
        validate::id(id)?;
        let state = self.state.lock().unwrap();
        let stored = state.entries.get(&(scope, id.to_string()));
        let mut found = stored.map(|stored| stored.entry.clone()).filter(is_alive);
        if let (Some(entry), true) = (&mut found, self.errs(WordFault::SparseIsNotReturned)) {
            entry.sparse.clear();
        }
        Ok(found)
    }

    async fn get_many(&self, scope: &StateScope, ids: &[String]) -> Result<Vec<Option<VectorEntry>>> {
        validate::ids(ids)?;
        let mut entries = Vec::new();
        for id in ids {
            entries.push(self.get(scope, id).await?);
        }
        if self.has(Fault::MissingIdsAreLeftOut) {
            entries.retain(Option::is_some);
        }
        self.scope(scope).map(|_| entries)
    }

    async fn patch_metadata(&self, scope: &StateScope, id: &str, patch: Metadata) -> Result<()> {
        self.patch(scope, id, patch).await
    }

    async fn recommend(&self, query: &RecommendQuery) -> Result<Vec<VectorResult>> {
        self.recommended(query).await
    }

    async fn count_in(&self, scopes: &[StateScope]) -> Result<u64> {
        self.counted_in(scopes).await
    }

    async fn update_metadata(&self, scope: &StateScope, id: &str, metadata: Metadata) -> Result<()> {
        let scope = self.scope(scope)?;
        validate::id(id)?;
        validate::metadata_fields(id, &metadata)?;
        let bytes = Value::Object(metadata.clone()).to_string().len();
        if !self.has(Fault::LargeMetadataIsTaken) {
            validate::metadata_bytes(id, bytes)?;
        }
        let mut state = self.state.lock().unwrap();
        if self.has(Fault::UpdateMakesEntries) {
            let made = VectorEntry::new(id, vec![1.0; self.dim]).with_scope(scope);
            self.store(&mut state, made);
            return Ok(());
        }
        let is_wanted = |(owner, name): &(StateScope, String)| {
            name == id && (*owner == scope || self.has(Fault::ScopesAreOneInUpdate))
        };
        let exists_elsewhere = state.entries.keys().any(|(_, name)| name == id);
        let stored = state
            .entries
            .iter_mut()
            .find(|(key, stored)| is_wanted(key) && is_alive(&stored.entry));
        let Some((_, stored)) = stored else {
            if exists_elsewhere && self.has(Fault::NotYoursIsAnotherError) {
                return Err(StorageError::NotFound {
                    id: format!("{id} of another scope"),
                });
            }
            return Err(StorageError::NotFound { id: id.to_string() });
        };
        if self.has(Fault::UpdateTouchesTimes) {
            stored.entry.event_time = None;
        }
        let mut new = if self.has(Fault::UpdateMergesFields) {
            fields(&stored.entry)
        } else {
            Metadata::new()
        };
        new.extend(metadata);
        self.updated_texts(stored, &new);
        stored.entry.metadata = Value::Object(new);
        stored.entry.updated_at = Some(now());
        Ok(())
    }

    async fn touch(&self, scope: &StateScope, ids: &[String], expiry: Expiry) -> Result<Vec<String>> {
        let scope = self.scope(scope)?;
        ids.iter().try_for_each(|id| validate::id(id))?;
        let expires_at = expiry.moment(now())?;
        let mut state = self.state.lock().unwrap();
        let mut missing = Vec::new();
        for id in ids {
            let stored = state.entries.iter_mut().find(|((owner, name), stored)| {
                name == id
                    && (*owner == scope || self.has(Fault::TouchCrossesScopes))
                    && (is_alive(&stored.entry) || self.has(Fault::TouchRevivesExpired))
            });
            match stored {
                Some((_, stored)) => {
                    let entry = &mut stored.entry;
                    if self.has(Fault::TouchIsAnUpdate) {
                        entry.updated_at = Some(now().checked_add(Duration::from_millis(1)).unwrap());
                    }
                    let is_shorter =
                        expires_at.is_some() && (entry.expires_at.is_none() || entry.expires_at > expires_at);
                    if !(is_shorter && self.has(Fault::TouchOnlyProlongs)) {
                        entry.expires_at = expires_at;
                    }
                }
                None if self.has(Fault::TouchForgetsMissing) => {}
                None if missing.contains(id) && !self.has(Fault::TouchRepeatsMissing) => {}
                None => missing.push(id.clone()),
            }
        }
        Ok(missing)
    }

    async fn delete(&self, scope: &StateScope, ids: &[String]) -> Result<u64> {
        let scope = self.scope(scope)?;
        ids.iter().try_for_each(|id| validate::id(id))?;
        let mut state = self.state.lock().unwrap();
        let removed = ids
            .iter()
            .filter_map(|id| state.entries.remove(&(scope.clone(), id.clone())));
        let removed: Vec<Stored> = removed.collect();
        let count = removed.iter().filter(|stored| is_alive(&stored.entry)).count();
        state.deleted.extend(removed);
        Ok(if self.has(Fault::DeleteCountsMissing) {
            ids.len()
        } else {
            count
        } as u64)
    }

    async fn delete_scopes(&self, scopes: &[StateScope]) -> Result<u64> {
        if !self.has(Fault::ScopesBeforeABadOneAreDropped) {
            validate::scopes(
                &scopes
                    .iter()
                    .map(|scope| self.scope(scope))
                    .collect::<Result<Vec<_>>>()?,
            )?;
        }
        let mut state = self.state.lock().unwrap();
        let mut count = 0;
        let wanted = if self.has(Fault::OnlyTheFirstScopeIsDropped) {
            1
        } else {
            usize::MAX
        };
        for scope in scopes.iter().take(wanted) {
            let scope = self.scope(scope)?;
            let visible = self.visible(&state, &scope, Fault::ExpiredIsCounted).len();
            let times = scopes.iter().filter(|other| **other == scope).count();
            count += visible
                * if self.has(Fault::RepeatedScopesAreCountedTwice) {
                    times
                } else {
                    1
                };
            let begins_alike = |owner: &StateScope| owner.to_string().starts_with(&scope.to_string());
            let is_broken = self.has(Fault::ScopesAreOneInDeleteScope);
            state
                .entries
                .retain(|(owner, _), _| *owner != scope && !(is_broken && begins_alike(owner)));
            if !self.has(Fault::DropScopeIsNamed) {
                state.named.retain(|named| *named != scope);
            }
        }
        Ok(count as u64)
    }

    async fn delete_scopes_of_kind(&self, kind: ScopeKind) -> Result<u64> {
        let mut scopes = self.scopes().await?;
        scopes.retain(|scope| scope.kind() == kind || self.has(Fault::KindsAreOneInDeleteScopes));
        self.delete_scopes(&scopes).await
    }

    async fn list(&self, scope: &StateScope, after: Option<&str>, limit: usize) -> Result<Vec<VectorEntry>> {
        let scope = self.scope(scope)?;
        if !self.has(Fault::ZeroPageIsTaken) {
            validate_key_value::page(limit)?;
        }
        let state = self.state.lock().unwrap();
        let visible = self.visible(&state, &scope, Fault::ExpiredIsListed);
        let is_after = |stored: &&Stored| match after {
            Some(after) if self.has(Fault::ListIncludesAfter) => stored.entry.id.as_str() >= after,
            Some(after) => stored.entry.id.as_str() > after,
            None => true,
        };
        Ok(visible
            .into_iter()
            .filter(is_after)
            .take(limit)
            .map(|stored| stored.entry.clone())
            .collect())
    }

    async fn list_page(&self, query: &ListQuery) -> Result<ListPage> {
        self.listed_page(query).await
    }

    async fn sample(&self, query: &SampleQuery) -> Result<Vec<VectorEntry>> {
        self.sampled(query).await
    }

    async fn scopes(&self) -> Result<Vec<StateScope>> {
        let state = self.state.lock().unwrap();
        let mut scopes = state.named.clone();
        let is_broken = [
            Fault::DropScopeIsNamed,
            Fault::EndedScopeIsNamed,
            Fault::AskedScopesAreNamed,
        ];
        if !is_broken.into_iter().any(|fault| self.has(fault)) {
            scopes.retain(|scope| !self.visible(&state, scope, Fault::ExpiredIsCounted).is_empty());
        }
        scopes.sort();
        Ok(scopes)
    }

    async fn stats(&self) -> Result<StorageStats> {
        let mut stats = StorageStats::default();
        stats.dim = self.dim;
        stats.metric = self.metric;
        for scope in self.scopes().await? {
            let of_scope = self.stats_for_scope(&scope).await?;
            stats.scopes += 1;
            stats.vectors += of_scope.vectors;
            stats.vector_bytes += of_scope.vector_bytes;
            stats.metadata_bytes += of_scope.metadata_bytes;
            stats.text_bytes += of_scope.text_bytes;
        }
        Ok(stats)
    }

    async fn stats_for_scope(&self, scope: &StateScope) -> Result<ScopedStats> {
        let scope = self.scope(scope)?;
        let state = self.state.lock().unwrap();
        let visible = self.visible(&state, &scope, Fault::ExpiredIsCounted);
        let mut stats = ScopedStats::default();
        stats.vectors = visible.len() as u64;
        let with_vector = visible.iter().filter(|stored| !stored.entry.embedding.is_empty());
        stats.vector_bytes = with_vector.count() as u64 * self.dim as u64 * 4;
        self.count_texts(&visible, &mut stats);
        stats.metadata_bytes = visible.iter().map(|stored| metadata_len(&stored.entry)).sum();
        if self.has(Fault::StatsAreStale) && stats.vectors == 3 {
            stats.metadata_bytes += 1;
        }
        stats.scope = scope;
        Ok(stats)
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}
