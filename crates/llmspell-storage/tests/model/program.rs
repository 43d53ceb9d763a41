//! Random programs for a vector store and its key-value half, a model of what they do, and what can be seen of both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use llmspell_storage::{
    Database, DatabaseOptions, DistanceMetric, Filter, HNSWConfig, HNSWVectorStorage, Quota, Result, StateScope,
    StorageBackend, StorageError, Timestamp, VectorEntry, VectorQuery, VectorResult, VectorStorage,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

pub(crate) const DIM: usize = 4;

/// Everything that is there: vectors by scope and id, and values by key.
pub(crate) type Content = (BTreeMap<(StateScope, String), Vec<f32>>, BTreeMap<String, Vec<u8>>);

/// One call. Scopes, ids and keys are small numbers, so that calls meet.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Insert(Vec<Entry>),
    Upsert(Vec<Entry>),
    Delete {
        scope: u8,
        ids: Vec<u8>,
    },
    UpdateMetadata {
        scope: u8,
        id: u8,
        color: u8,
    },
    DropScope {
        scope: u8,
    },
    Search {
        scope: u8,
        query: [i8; DIM],
        k: usize,
        color: Option<u8>,
        threshold: Option<u8>,
    },
    SearchScopes {
        scopes: Vec<u8>,
        query: [i8; DIM],
        k: usize,
    },
    Count {
        scope: u8,
        colors: Colors,
    },
    PageMatching {
        scope: u8,
        colors: Colors,
        after: Option<u8>,
        limit: usize,
    },
    DeleteMatching {
        scope: u8,
        colors: Colors,
    },
    Facet {
        scope: u8,
        colors: Colors,
    },
    Page {
        scope: u8,
        after: Option<u8>,
        limit: usize,
    },
    Set {
        key: u8,
        value: u8,
    },
    Remove {
        key: u8,
    },
    Swap {
        key: u8,
        expected: Option<u8>,
        new: Option<u8>,
    },
    /// How many entries the scope may hold; none: as many as it likes.
    SetQuota {
        scope: u8,
        vectors: Option<u8>,
    },
    Reopen,
    BuildIndex,
    OptimizeIndex,
    /// Reopening after something happened to the index files.
    DamageIndexes(Damage),
}

/// Which entries a filter lets through.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Colors {
    Only(u8),
    Not(u8),
    From(u8),
    Any,
}

impl Colors {
    fn filter(self) -> Filter {
        match self {
            Self::Only(color) => Filter::eq("color", color),
            Self::Not(color) => Filter::ne("color", color),
            Self::From(color) => Filter::ge("color", color),
            Self::Any => Filter::all(),
        }
    }

    fn pass(self, color: u8) -> bool {
        match self {
            Self::Only(only) => color == only,
            Self::Not(not) => color != not,
            Self::From(first) => color >= first,
            Self::Any => true,
        }
    }
}

/// What can happen to every index file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    Lost,
    /// So many thousandths of the length are left.
    Cut(u16),
    /// The bit at so many thousandths of the length.
    Flipped(u16),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) scope: u8,
    pub(crate) id: u8,
    pub(crate) vector: [i8; DIM],
    pub(crate) color: u8,
    /// Expired before it is stored, or not for a long time, or never.
    pub(crate) expires: Option<bool>,
}

/// What a call returned, as far as it must not depend on anything else.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Ids(Vec<String>),
    Count(u64),
    Hits(Vec<(String, f32, f32, u64)>),
    HitsOfScopes(Vec<(StateScope, String, f32)>),
    Entries(Vec<(String, Vec<f32>, u64)>),
    Counts(BTreeMap<String, u64>),
    Done(bool),
    Refused(String),
}

pub(crate) fn scope(number: u8) -> StateScope {
    match number {
        0 => StateScope::Global,
        1 => StateScope::User("a".to_string()),
        2 => StateScope::User("ab".to_string()),
        _ => StateScope::Custom("user:a".to_string()),
    }
}

fn id(number: u8) -> String {
    format!("id-{number:02}")
}

fn floats(vector: [i8; DIM]) -> Vec<f32> {
    vector.map(f32::from).to_vec()
}

/// Calls that concern the scopes in `scopes`.
pub(crate) fn step(scopes: std::ops::Range<u8>) -> impl Strategy<Value = Step> {
    let entry = (
        scopes.clone(),
        0..12_u8,
        any::<[i8; DIM]>(),
        0..3_u8,
        prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)],
    )
        .prop_map(|(scope, id, vector, color, expires)| Entry {
            scope,
            id,
            vector,
            color,
            expires,
        });
    let any_scope = scopes.clone();
    let quota_scopes = scopes.clone();
    prop_oneof![
        3 => vec(entry.clone(), 1..4).prop_map(Step::Insert),
        5 => vec(entry, 1..6).prop_map(Step::Upsert),
        3 => (scopes.clone(), vec(0..12_u8, 1..5)).prop_map(|(scope, ids)| Step::Delete { scope, ids }),
        3 => (scopes.clone(), 0..12_u8, 0..3_u8)
            .prop_map(|(scope, id, color)| Step::UpdateMetadata { scope, id, color }),
        1 => scopes.clone().prop_map(|scope| Step::DropScope { scope }),
        4 => (any_scope, any::<[i8; DIM]>(), 1..15_usize, prop::option::of(0..3_u8), prop::option::of(any::<u8>()))
            .prop_map(|(scope, query, k, color, threshold)| Step::Search { scope, query, k, color, threshold }),
        3 => (vec(scopes.clone(), 1..6), any::<[i8; DIM]>(), 1..15_usize)
            .prop_map(|(scopes, query, k)| Step::SearchScopes { scopes, query, k }),
        2 => (scopes.clone(), prop::option::of(0..12_u8), 1..8_usize)
            .prop_map(|(scope, after, limit)| Step::Page { scope, after, limit }),
        2 => (scopes.clone(), colors()).prop_map(|(scope, colors)| Step::Count { scope, colors }),
        1 => (scopes.clone(), colors(), prop::option::of(0..12_u8), 1..8_usize)
            .prop_map(|(scope, colors, after, limit)| Step::PageMatching { scope, colors, after, limit }),
        1 => (scopes.clone(), colors()).prop_map(|(scope, colors)| Step::DeleteMatching { scope, colors }),
        1 => (scopes, colors()).prop_map(|(scope, colors)| Step::Facet { scope, colors }),
        1 => (0..6_u8, any::<u8>()).prop_map(|(key, value)| Step::Set { key, value }),
        1 => (0..6_u8).prop_map(|key| Step::Remove { key }),
        1 => (0..6_u8, prop::option::of(0..2_u8), prop::option::of(0..2_u8))
            .prop_map(|(key, expected, new)| Step::Swap { key, expected, new }),
        1 => (quota_scopes, prop::option::of(0..9_u8))
            .prop_map(|(scope, vectors)| Step::SetQuota { scope, vectors }),
        1 => Just(Step::Reopen),
        2 => Just(Step::BuildIndex),
        1 => Just(Step::OptimizeIndex),
        1 => damage().prop_map(Step::DamageIndexes),
    ]
}

fn colors() -> impl Strategy<Value = Colors> {
    prop_oneof![
        3 => (0..3_u8).prop_map(Colors::Only),
        2 => (0..3_u8).prop_map(Colors::Not),
        2 => (0..3_u8).prop_map(Colors::From),
        1 => Just(Colors::Any),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::Lost),
        (0..1000_u16).prop_map(Damage::Cut),
        (0..1000_u16).prop_map(Damage::Flipped),
    ]
}

/// A number from the environment, for longer runs.
pub(crate) fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |number| number.parse().expect("a number"))
}

// ---- the store ----

/// A database on the disk.
pub(crate) struct Store {
    path: PathBuf,
    database: Database,
    vectors: HNSWVectorStorage,
}

impl Store {
    pub(crate) async fn open(path: &Path) -> Self {
        // Graphs from the first entries on. The beam is wider than any scope, so that nothing may be missed.
        let options = DatabaseOptions::new().graph_points_min(3).metadata_points_min(2);
        let database = options.open(path).await.unwrap();
        let config = HNSWConfig::fast().with_metric(DistanceMetric::Euclidean);
        let vectors = database.vectors("model", DIM, config).await.unwrap();
        Self {
            path: path.to_path_buf(),
            database,
            vectors,
        }
    }

    pub(crate) async fn run(&mut self, step: &Step) -> Seen {
        match self.try_run(step).await {
            Ok(seen) => seen,
            Err(error) => Seen::Refused(error.to_string()),
        }
    }

    async fn try_run(&mut self, step: &Step) -> Result<Seen> {
        let kv = self.database.kv();
        Ok(match step {
            Step::Insert(entries) => Seen::Ids(self.vectors.insert(entries.iter().map(Entry::build).collect()).await?),
            Step::Upsert(entries) => Seen::Ids(self.vectors.upsert(entries.iter().map(Entry::build).collect()).await?),
            Step::Delete { scope: of, ids } => {
                let ids: Vec<String> = ids.iter().map(|number| id(*number)).collect();
                Seen::Count(self.vectors.delete(&scope(*of), &ids).await?)
            }
            Step::UpdateMetadata {
                scope: of,
                id: number,
                color,
            } => {
                let metadata = json!({ "color": color }).as_object().unwrap().clone();
                self.vectors
                    .update_metadata(&scope(*of), &id(*number), metadata)
                    .await?;
                Seen::Done(true)
            }
            Step::DropScope { scope: of } => Seen::Count(self.vectors.delete_scope(&scope(*of)).await?),
            Step::Search {
                scope: of,
                query,
                k,
                color,
                threshold,
            } => {
                let mut query = VectorQuery::new(floats(*query), *k).with_scope(scope(*of));
                query.filter = color.map(|color| Filter::eq("color", color));
                query.threshold = threshold.map(score);
                let hits = self.vectors.search(&query).await?;
                Seen::Hits(
                    hits.into_iter()
                        .map(|hit| {
                            let color = hit.metadata.unwrap()["color"].as_u64().unwrap();
                            (hit.id, hit.score, hit.distance, color)
                        })
                        .collect(),
                )
            }
            Step::SearchScopes { scopes, query, k } => {
                let query = VectorQuery::new(floats(*query), *k).with_scopes(scopes.iter().map(|of| scope(*of)));
                let hits = self.vectors.search(&query).await?;
                let seen = |hit: VectorResult| (hit.scope.unwrap(), hit.id, hit.distance);
                Seen::HitsOfScopes(hits.into_iter().map(seen).collect())
            }
            Step::Page {
                scope: of,
                after,
                limit,
            } => {
                let after = after.map(id);
                seen(self.vectors.list(&scope(*of), after.as_deref(), *limit).await?)
            }
            Step::Count { scope: of, colors } => {
                Seen::Count(self.vectors.count_matching(&scope(*of), &colors.filter()).await?)
            }
            Step::PageMatching {
                scope: of,
                colors,
                after,
                limit,
            } => {
                let (owner, filter, after) = (scope(*of), colors.filter(), after.map(id));
                let page = self.vectors.list_matching(&owner, &filter, after.as_deref(), *limit);
                seen(page.await?)
            }
            Step::DeleteMatching { scope: of, colors } => {
                Seen::Count(self.vectors.delete_matching(&scope(*of), &colors.filter()).await?)
            }
            Step::Facet { scope: of, colors } => {
                let values = self
                    .vectors
                    .facet(&scope(*of), &"color".into(), &colors.filter(), 100)
                    .await?;
                let counts = values.into_iter().map(|facet| (facet.value.to_string(), facet.count));
                Seen::Counts(counts.collect())
            }
            Step::Set { key, value } => {
                kv.set(&id(*key), vec![*value]).await?;
                Seen::Done(true)
            }
            Step::Remove { key } => Seen::Done(kv.delete(&id(*key)).await?),
            Step::Swap { key, expected, new } => {
                let (expected, new) = (expected.map(|value| vec![value]), new.map(|value| vec![value]));
                Seen::Done(kv.compare_and_swap(&id(*key), expected.as_deref(), new).await?)
            }
            Step::SetQuota { scope: of, vectors } => match vectors {
                Some(count) => {
                    let quota = Quota::new().with_vectors(u64::from(*count));
                    self.database.set_quota(&scope(*of), quota).await?;
                    Seen::Done(true)
                }
                None => Seen::Done(self.database.remove_quota(&scope(*of)).await?),
            },
            Step::Reopen => {
                drop(kv);
                self.reopen(|_| ()).await?;
                Seen::Done(true)
            }
            Step::BuildIndex => {
                self.vectors.build_index().await?;
                Seen::Done(true)
            }
            Step::OptimizeIndex => {
                self.vectors.optimize_index().await?;
                Seen::Done(true)
            }
            Step::DamageIndexes(damage) => {
                drop(kv);
                self.reopen(|path| damage.happen(path)).await?;
                Seen::Done(true)
            }
        })
    }

    async fn reopen(&mut self, meanwhile: impl FnOnce(&Path)) -> Result<()> {
        let path = self.path.clone();
        // All handles go before the directory is opened again.
        let parking = HNSWVectorStorage::new(DIM, HNSWConfig::fast());
        let parked = parking.database()?.clone();
        drop(std::mem::replace(&mut self.vectors, parking));
        std::mem::replace(&mut self.database, parked).close().await?;
        meanwhile(&path);
        *self = Self::open(&path).await;
        Ok(())
    }

    /// Everything that is there, and that it is sound.
    pub(crate) async fn content(&self) -> Content {
        let mut entries = BTreeMap::new();
        for scope in self.vectors.scopes().await.unwrap() {
            let page = self.vectors.list(&scope, None, 10_000).await.unwrap();
            assert_eq!(self.vectors.count(&scope).await.unwrap(), page.len() as u64);
            entries.extend(
                page.into_iter()
                    .map(|entry| ((scope.clone(), entry.id), entry.embedding)),
            );
        }
        for number in 0..4 {
            let status = self.database.quota(&scope(number)).await.unwrap();
            if let Some(status) = status {
                let held = self.vectors.count(&scope(number)).await.unwrap();
                assert_eq!(
                    (status.used.vectors, status.used.vector_bytes),
                    (held, held * 4 * DIM as u64)
                );
            }
        }
        let values = self
            .database
            .kv()
            .scan("", None, 10_000)
            .await
            .unwrap()
            .into_iter()
            .collect();
        let report = self.database.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");
        (entries, values)
    }
}

fn seen(page: Vec<VectorEntry>) -> Seen {
    let color = |entry: &VectorEntry| entry.metadata["color"].as_u64().unwrap();
    Seen::Entries(
        page.into_iter()
            .map(|e| (e.id.clone(), e.embedding.clone(), color(&e)))
            .collect(),
    )
}

impl Damage {
    fn happen(self, database: &Path) {
        let Ok(files) = fs::read_dir(database.join("spaces/00000001/index")) else {
            return;
        };
        for path in files.map(|file| file.unwrap().path()) {
            let mut bytes = fs::read(&path).unwrap();
            let place = |share: u16| bytes.len() * usize::from(share) / 1000;
            match self {
                Self::Lost => {
                    fs::remove_file(&path).unwrap();
                    continue;
                }
                Self::Cut(share) => bytes.truncate(place(share)),
                Self::Flipped(share) => {
                    let place = place(share);
                    bytes[place] ^= 1 << (share % 8);
                }
            }
            fs::write(&path, bytes).unwrap();
        }
    }
}

impl Entry {
    fn build(&self) -> VectorEntry {
        let entry = VectorEntry::new(id(self.id), floats(self.vector))
            .with_scope(scope(self.scope))
            .with_metadata(json!({ "color": self.color }));
        match self.expires {
            Some(true) => entry.with_expires_at(Timestamp::from_millis(1)),
            Some(false) => entry.with_expires_at(Timestamp::from_millis(i64::MAX / 2)),
            None => entry,
        }
    }
}

// ---- the model ----

/// What should be there: a map, and a sort.
#[derive(Debug, Default)]
pub(crate) struct Model {
    entries: BTreeMap<(StateScope, String), (Vec<f32>, u8)>,
    values: BTreeMap<String, Vec<u8>>,
    quotas: BTreeMap<u8, u64>,
}

impl Model {
    pub(crate) fn run(&mut self, step: &Step) -> Seen {
        match step {
            Step::Insert(entries) => self.write(entries, true),
            Step::Upsert(entries) => self.write(entries, false),
            Step::Delete { scope: of, ids } => {
                let gone = ids
                    .iter()
                    .filter(|number| self.entries.remove(&(scope(*of), id(**number))).is_some());
                Seen::Count(gone.count() as u64)
            }
            Step::UpdateMetadata {
                scope: of,
                id: number,
                color,
            } => match self.entries.get_mut(&(scope(*of), id(*number))) {
                Some(entry) => {
                    entry.1 = *color;
                    Seen::Done(true)
                }
                None => Seen::Refused(StorageError::NotFound { id: id(*number) }.to_string()),
            },
            Step::DropScope { scope: of } => {
                let before = self.entries.len();
                self.entries.retain(|(owner, _), _| *owner != scope(*of));
                Seen::Count((before - self.entries.len()) as u64)
            }
            Step::Search {
                scope: of,
                query,
                k,
                color,
                threshold,
            } => {
                let mut hits: Vec<(String, f32, f32, u64)> = self
                    .of(*of)
                    .filter(|(_, entry)| color.is_none_or(|color| entry.1 == color))
                    .map(|(id, entry)| {
                        let distance = distance(&entry.0, *query);
                        (id.clone(), 1.0 / (1.0 + distance), distance, u64::from(entry.1))
                    })
                    .filter(|hit| threshold.is_none_or(|threshold| hit.1 >= score(threshold)))
                    .collect();
                hits.sort_by(|a, b| a.2.total_cmp(&b.2).then_with(|| a.0.cmp(&b.0)));
                hits.truncate(*k);
                Seen::Hits(hits)
            }
            Step::SearchScopes { scopes, query, k } => {
                let mut hits = Vec::new();
                for (place, of) in scopes.iter().enumerate() {
                    if !scopes[..place].contains(of) {
                        let found = self
                            .of(*of)
                            .map(|(id, entry)| (distance(&entry.0, *query), place, id.clone()));
                        hits.extend(found);
                    }
                }
                hits.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| (a.1, &a.2).cmp(&(b.1, &b.2))));
                hits.truncate(*k);
                let seen = |(distance, place, id)| (scope(scopes[place]), id, distance);
                Seen::HitsOfScopes(hits.into_iter().map(seen).collect())
            }
            Step::Page {
                scope: of,
                after,
                limit,
            } => {
                let after = after.map(id);
                Seen::Entries(
                    self.of(*of)
                        .filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after))
                        .take(*limit)
                        .map(|(id, entry)| (id.clone(), entry.0.clone(), u64::from(entry.1)))
                        .collect(),
                )
            }
            Step::Count { scope: of, colors } => {
                let matching = self.of(*of).filter(|(_, entry)| colors.pass(entry.1));
                Seen::Count(matching.count() as u64)
            }
            Step::PageMatching {
                scope: of,
                colors,
                after,
                limit,
            } => {
                let after = after.map(id);
                let matching = self.of(*of).filter(|(_, entry)| colors.pass(entry.1));
                let later = matching.filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after));
                let page = later.take(*limit);
                Seen::Entries(
                    page.map(|(id, entry)| (id.clone(), entry.0.clone(), u64::from(entry.1)))
                        .collect(),
                )
            }
            Step::DeleteMatching { scope: of, colors } => {
                let before = self.entries.len();
                self.entries
                    .retain(|(owner, _), entry| *owner != scope(*of) || !colors.pass(entry.1));
                Seen::Count((before - self.entries.len()) as u64)
            }
            Step::Facet { scope: of, colors } => {
                let mut counts = BTreeMap::new();
                for (_, entry) in self.of(*of).filter(|(_, entry)| colors.pass(entry.1)) {
                    *counts.entry(entry.1.to_string()).or_default() += 1;
                }
                Seen::Counts(counts)
            }
            Step::Set { key, value } => {
                self.values.insert(id(*key), vec![*value]);
                Seen::Done(true)
            }
            Step::Remove { key } => Seen::Done(self.values.remove(&id(*key)).is_some()),
            Step::Swap { key, expected, new } => {
                let matches = self.values.get(&id(*key)) == expected.map(|value| vec![value]).as_ref();
                if matches {
                    match new {
                        Some(value) => drop(self.values.insert(id(*key), vec![*value])),
                        None => drop(self.values.remove(&id(*key))),
                    }
                }
                Seen::Done(matches)
            }
            Step::SetQuota { scope: of, vectors } => Seen::Done(match vectors {
                Some(count) => {
                    self.quotas.insert(*of, u64::from(*count));
                    true
                }
                None => self.quotas.remove(of).is_some(),
            }),
            Step::Reopen | Step::BuildIndex | Step::OptimizeIndex | Step::DamageIndexes(_) => Seen::Done(true),
        }
    }

    fn write(&mut self, entries: &[Entry], refuse: bool) -> Seen {
        for (second, entry) in entries.iter().enumerate() {
            let is_same = |other: &Entry| (other.scope, other.id) == (entry.scope, entry.id);
            if let Some(first) = entries[..second].iter().position(is_same) {
                return Seen::Refused(
                    StorageError::DuplicateId {
                        id: id(entry.id),
                        first,
                        second,
                    }
                    .to_string(),
                );
            }
        }
        let key = |entry: &Entry| (scope(entry.scope), id(entry.id));
        if let Some(entry) = entries
            .iter()
            .find(|entry| refuse && self.entries.contains_key(&key(entry)))
        {
            return Seen::Refused(StorageError::IdExists { id: id(entry.id) }.to_string());
        }
        // In the order in which the batch names them.
        for (place, Entry { scope: of, .. }) in entries.iter().enumerate() {
            let is_named_before = entries[..place].iter().any(|entry| entry.scope == *of);
            if let (Some(limit), false) = (self.quotas.get(of), is_named_before) {
                let mut after: BTreeSet<String> = self.of(*of).map(|(id, _)| id.clone()).collect();
                let used = after.len() as u64;
                for entry in entries.iter().filter(|entry| entry.scope == *of) {
                    if entry.expires == Some(true) {
                        after.remove(&id(entry.id));
                    } else {
                        after.insert(id(entry.id));
                    }
                }
                let after = after.len() as u64;
                if after > *limit && after > used {
                    let refused = StorageError::QuotaExceeded {
                        scope: scope(*of),
                        what: "vectors",
                        limit: *limit,
                        used,
                        asked: after - used,
                    };
                    return Seen::Refused(refused.to_string());
                }
            }
        }
        for entry in entries {
            if entry.expires == Some(true) {
                self.entries.remove(&key(entry));
            } else {
                self.entries.insert(key(entry), (floats(entry.vector), entry.color));
            }
        }
        Seen::Ids(entries.iter().map(|entry| id(entry.id)).collect())
    }

    fn of(&self, number: u8) -> impl Iterator<Item = (&String, &(Vec<f32>, u8))> {
        self.entries
            .iter()
            .filter(move |((owner, _), _)| *owner == scope(number))
            .map(|((_, id), entry)| (id, entry))
    }

    pub(crate) fn content(&self) -> Content {
        (
            self.entries
                .iter()
                .map(|(key, entry)| (key.clone(), entry.0.clone()))
                .collect(),
            self.values.clone(),
        )
    }
}

/// Whole numbers, so the sum is exact and "equal" means equal.
fn distance(vector: &[f32], query: [i8; DIM]) -> f32 {
    let squares: f32 = vector.iter().zip(floats(query)).map(|(a, b)| (a - b) * (a - b)).sum();
    squares.sqrt()
}

/// Thresholds between the scores of near and far vectors.
fn score(threshold: u8) -> f32 {
    1.0 / (1.0 + f32::from(threshold))
}
