//! How is a call done, through the public API, by a database on the disk?

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use llmspell_storage::{
    Database, DatabaseOptions, DistanceMetric, Filter, HNSWConfig, HNSWVectorStorage, Quota, Result, StorageBackend,
    Timestamp, VectorEntry, VectorQuery, VectorResult, VectorStorage,
};
use serde_json::json;

use crate::plain::score;
use crate::program::{Content, DIM, Damage, Entry, Seen, Step, floats, id, scope};

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
