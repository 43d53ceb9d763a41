//! A small workload of every kind of write, and what a database must hold after each of its steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use llmspell_core::{
    DateFields, DistanceMetric, Filter, HNSWConfig, KeyValueWrite, Metadata, Result, StateScope, StorageBackend,
    VectorEntry, VectorQuery, VectorStorage, limits::PAGE_MAX,
};
use serde_json::json;

use crate::database::Database;
use crate::disk::Disk;
use crate::options::DatabaseOptions;

pub(super) const DIM: usize = 3;

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// What can be seen of a database.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Content {
    pub(super) values: BTreeMap<String, Vec<u8>>,
    /// Scope, id → vector, metadata.
    pub(super) entries: BTreeMap<(StateScope, String), (Vec<f32>, Metadata)>,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Values(Vec<KeyValueWrite>),
    Upsert(Vec<(StateScope, &'static str, f32)>),
    Metadata(StateScope, &'static str, u32),
    Delete(StateScope, Vec<&'static str>),
    DropScope(StateScope),
    /// Every scope of two entries or more has a graph then, and a file of it.
    BuildIndex,
}

fn ada() -> StateScope {
    StateScope::User("ada".to_string())
}

fn bob() -> StateScope {
    StateScope::User("bob".to_string())
}

/// Every kind of write, in the orders that matter: reuse of points, of ids, of names of scopes.
pub(super) fn steps() -> Vec<Step> {
    let set = |key: &str, value: &[u8]| KeyValueWrite::Set {
        key: key.to_string(),
        value: value.to_vec(),
    };
    vec![
        Step::Values(vec![set("a", b"1"), set("b", &[7; 3000])]),
        Step::Upsert(vec![(ada(), "x", 1.0), (ada(), "y", 2.0), (bob(), "x", 3.0)]),
        Step::BuildIndex,
        Step::Upsert(vec![(ada(), "x", 4.0)]),
        Step::BuildIndex,
        Step::Values(vec![set("c", b"3"), KeyValueWrite::Delete { key: "a".to_string() }]),
        Step::Delete(ada(), vec!["y"]),
        Step::Upsert(vec![(ada(), "y", 5.0), (ada(), "z", 6.0)]),
        Step::Metadata(bob(), "x", 9),
        Step::DropScope(ada()),
        Step::Upsert(vec![(ada(), "w", 7.0), (bob(), "v", 8.0)]),
        Step::BuildIndex,
        Step::Upsert(vec![(bob(), "u", 9.0)]),
        Step::Values(vec![
            KeyValueWrite::DeletePrefix { prefix: String::new() },
            set("d", b"4"),
        ]),
    ]
}

impl Content {
    /// What is there after a step.
    pub(super) fn after(&self, step: &Step) -> Self {
        let mut content = self.clone();
        match step {
            Step::Values(writes) => {
                for write in writes {
                    match write {
                        KeyValueWrite::Set { key, value } => drop(content.values.insert(key.clone(), value.clone())),
                        KeyValueWrite::Delete { key } => drop(content.values.remove(key)),
                        KeyValueWrite::DeletePrefix { prefix } => {
                            content.values.retain(|key, _| !key.starts_with(prefix));
                        }
                    }
                }
            }
            Step::Upsert(entries) => {
                for (scope, id, x) in entries {
                    let metadata = json!({ "x": x }).as_object().unwrap().clone();
                    content
                        .entries
                        .insert((scope.clone(), (*id).to_string()), (vector(*x), metadata));
                }
            }
            Step::Metadata(scope, id, value) => {
                let entry = content.entries.get_mut(&(scope.clone(), (*id).to_string())).unwrap();
                entry.1 = json!({ "value": value }).as_object().unwrap().clone();
            }
            Step::Delete(scope, ids) => {
                content
                    .entries
                    .retain(|(of, id), _| of != scope || !ids.contains(&id.as_str()));
            }
            Step::BuildIndex => {}
            Step::DropScope(scope) => content.entries.retain(|(of, _), _| of != scope),
        }
        content
    }
}

fn vector(x: f32) -> Vec<f32> {
    vec![x, 1.0, -x]
}

/// An open database and its space.
pub(super) struct Store {
    pub(super) database: Database,
    pub(super) vectors: Arc<dyn VectorStorage>,
}

impl Store {
    pub(super) fn open(disk: Arc<dyn Disk>) -> Result<Self> {
        let options = DatabaseOptions::new().graph_points_min(2).metadata_points_min(2);
        let database = Database::open_on(disk, &options)?;
        let config = HNSWConfig::fast().with_metric(DistanceMetric::Euclidean);
        let vectors = Arc::new(block_on(database.vectors("s", DIM, config))?);
        Ok(Self { database, vectors })
    }

    pub(super) fn run(&self, step: &Step) -> Result<()> {
        match step {
            Step::Values(writes) => block_on(self.database.kv().write(writes.clone())).map(drop),
            Step::Upsert(entries) => {
                let entries = entries.iter().map(|(scope, id, x)| {
                    VectorEntry::new(*id, vector(*x))
                        .with_scope(scope.clone())
                        .with_metadata(json!({ "x": x }))
                });
                block_on(self.vectors.upsert(entries.collect())).map(drop)
            }
            Step::Metadata(scope, id, value) => {
                let metadata = json!({ "value": value }).as_object().unwrap().clone();
                block_on(self.vectors.update_metadata(scope, id, metadata))
            }
            Step::Delete(scope, ids) => {
                let ids: Vec<String> = ids.iter().map(|id| (*id).to_string()).collect();
                block_on(self.vectors.delete(scope, &ids)).map(drop)
            }
            Step::BuildIndex => block_on(self.vectors.build_index()),
            Step::DropScope(scope) => block_on(self.vectors.delete_scope(scope)).map(drop),
        }
    }

    /// Everything, read in every way there is; the ways must agree.
    pub(super) fn content(&self) -> Content {
        block_on(async {
            let mut content = Content::default();
            let page = self.database.kv().scan("", None, PAGE_MAX).await.unwrap();
            content.values = page.into_iter().collect();
            for scope in self.vectors.scopes().await.unwrap() {
                let entries = self.vectors.list(&scope, None, PAGE_MAX).await.unwrap();
                assert_eq!(entries.len() as u64, self.vectors.count(&scope).await.unwrap());
                self.assert_filtered(&scope, &entries).await;
                for entry in entries {
                    let query = VectorQuery::new(entry.embedding.clone(), 10).with_scope(scope.clone());
                    let hits = self.vectors.search(&query).await.unwrap();
                    assert!(
                        hits.iter().any(|hit| hit.id == entry.id && hit.distance == 0.0),
                        "{entry:?} in {hits:?}"
                    );
                    let metadata = entry.metadata.as_object().unwrap().clone();
                    content
                        .entries
                        .insert((scope.clone(), entry.id), (entry.embedding, metadata));
                }
            }
            content
        })
    }

    /// Filters find what the metadata says.
    pub(super) async fn assert_filtered(&self, scope: &StateScope, entries: &[VectorEntry]) {
        let thresholds = (0..10).map(f64::from);
        let filters = thresholds.flat_map(|x| [Filter::eq("x", x), Filter::ge("value", x), Filter::lt("x", x)]);
        for filter in filters.chain([Filter::exists("value")]) {
            let compiled = filter.compile(&DateFields::none()).unwrap();
            let matches = |entry: &&VectorEntry| compiled.matches(entry.metadata.as_object().unwrap());
            let expected: Vec<&str> = entries.iter().filter(matches).map(|entry| entry.id.as_str()).collect();
            let found = self
                .vectors
                .list_matching(scope, &filter, None, PAGE_MAX)
                .await
                .unwrap();
            let found: Vec<&str> = found.iter().map(|entry| entry.id.as_str()).collect();
            assert_eq!(found, expected, "{filter} in {scope}");
            assert_eq!(
                self.vectors.count_matching(scope, &filter).await.unwrap(),
                expected.len() as u64
            );
        }
    }

    pub(super) fn assert_sound(&self) {
        let report = block_on(self.database.check()).unwrap();
        assert!(report.is_ok(), "{report:#?}");
    }
}
