//! A small workload of every kind of write, and the content that a database must have after each of its steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use llmspell_core::{
    DateFields, DistanceMetric, Expiry, Filter, HNSWConfig, KeyValueWrite, Metadata, Quota, Result, ScopeKind,
    StateScope, TextConfig, Timestamp, VectorEntry, VectorQuery, VectorStorage, limits::PAGE_MAX,
};
use llmspell_text::{Hit, Kind as TextKind, Positions, Search, Texts};
use parking_lot::Mutex;
use serde_json::json;

use crate::base::options::DatabaseOptions;
use crate::disk::Disk;
use crate::engine::Database;
use crate::indexes::texts::TextRules;

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
    /// Key → value, and when it ends.
    pub(super) values: BTreeMap<String, (Vec<u8>, Option<Timestamp>)>,
    /// Scope, id → vector, metadata.
    pub(super) entries: BTreeMap<(StateScope, String), (Vec<f32>, Metadata)>,
    /// Scope, id → text.
    pub(super) texts: BTreeMap<(StateScope, String), String>,
    /// Those that end.
    pub(super) mortal: BTreeSet<(StateScope, String)>,
    /// Most entries that a scope may hold.
    pub(super) quotas: BTreeMap<StateScope, u64>,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Values(Vec<KeyValueWrite>),
    Upsert(Vec<(StateScope, &'static str, f32)>),
    /// Entries that come, entries of a scope that go, and keys, all in one batch.
    Together(
        Vec<(StateScope, &'static str, f32)>,
        (StateScope, Vec<&'static str>),
        Vec<KeyValueWrite>,
    ),
    /// Entries that end at [`END`].
    Mortal(Vec<(StateScope, &'static str, f32)>),
    Metadata(StateScope, &'static str, u32),
    Delete(StateScope, Vec<&'static str>),
    /// Those whose `value` this is.
    DeleteMatching(StateScope, u32),
    /// Most entries of a scope; none: as many as it likes.
    Quota(StateScope, Option<u64>),
    /// These end when mortal entries do, or not any more.
    Touch(StateScope, Vec<&'static str>, Expiry),
    /// Everything that has an end has ended, and is purged by and by.
    Pass,
    DropScope(StateScope),
    DropScopes(Vec<StateScope>),
    /// All sessions.
    DropSessions,
    /// All entries with their space, whose name is taken again.
    DropSpace,
    /// Every scope of two entries or more has a graph then, and a file of it.
    BuildIndex,
}

/// When a database is made, in milliseconds since 1970; when mortal entries end; and long after.
const BEGIN: i64 = 2_000_000_000_000;
const END: i64 = BEGIN + 1_000;
const LATER: i64 = BEGIN + 1_000_000;

fn ada() -> StateScope {
    StateScope::User("ada".to_string())
}

fn bob() -> StateScope {
    StateScope::User("bob".to_string())
}

fn cleo() -> StateScope {
    StateScope::Session("cleo".to_string())
}

/// Every kind of write, in the orders that matter: reuse of points, of ids, of names of scopes.
pub(super) fn steps() -> Vec<Step> {
    let set = |key: &str, value: &[u8]| KeyValueWrite::Set {
        key: key.to_string(),
        value: value.to_vec(),
    };
    let mortal =
        |key: &str, value: &[u8]| KeyValueWrite::set_expiring(key, value.to_vec(), Timestamp::from_millis(END));
    vec![
        Step::Values(vec![set("a", b"1"), set("b", &[7; 3000])]),
        Step::Upsert(vec![(ada(), "x", 1.0), (ada(), "y", 2.0), (bob(), "x", 3.0)]),
        Step::BuildIndex,
        Step::Upsert(vec![(ada(), "x", 4.0)]),
        Step::BuildIndex,
        Step::Values(vec![set("c", b"3"), KeyValueWrite::Delete { key: "a".to_string() }]),
        Step::Delete(ada(), vec!["y"]),
        Step::Together(
            vec![(ada(), "t", 5.5), (bob(), "x", 3.5), (cleo(), "t", 2.5)],
            (ada(), vec!["x"]),
            vec![set("c", b"4"), KeyValueWrite::Delete { key: "b".to_string() }],
        ),
        Step::Upsert(vec![(ada(), "y", 5.0), (ada(), "z", 6.0)]),
        Step::Metadata(bob(), "x", 9),
        Step::DropScope(ada()),
        Step::Upsert(vec![(ada(), "w", 7.0), (bob(), "v", 8.0)]),
        Step::BuildIndex,
        Step::Upsert(vec![(bob(), "u", 9.0)]),
        Step::Quota(bob(), Some(5)),
        Step::Metadata(bob(), "u", 9),
        // One of the scopes ends with them.
        Step::Mortal(vec![(bob(), "m", 10.0), (cleo(), "m", 10.5), (bob(), "n", 11.0)]),
        Step::DeleteMatching(bob(), 9),
        Step::Values(vec![
            mortal("session", b"5"),
            mortal("b", b"6"),
            mortal("immortal", b"7"),
            set("immortal", b"8"),
        ]),
        Step::Touch(bob(), vec!["v", "w"], Expiry::At(Timestamp::from_millis(END))),
        Step::Mortal(vec![(bob(), "stays", 16.0)]),
        Step::Touch(bob(), vec!["stays"], Expiry::Never),
        Step::Pass,
        Step::Values(vec![set("session", b"9")]),
        Step::Upsert(vec![(bob(), "m", 12.0), (bob(), "p", 13.0), (bob(), "q", 14.0)]),
        // The scope ends with its last entry, and is created again.
        Step::Delete(ada(), vec!["w"]),
        Step::Upsert(vec![(ada(), "w", 7.0), (cleo(), "x", 7.5)]),
        Step::DropScopes(vec![cleo(), ada(), StateScope::Global]),
        Step::Upsert(vec![(cleo(), "x", 7.5)]),
        Step::DropSessions,
        Step::Quota(bob(), Some(2)),
        Step::Metadata(bob(), "q", 9),
        Step::DropScope(bob()),
        Step::Upsert(vec![(bob(), "m", 15.0)]),
        Step::Quota(bob(), None),
        Step::Values(vec![
            KeyValueWrite::DeletePrefix { prefix: String::new() },
            set("d", b"4"),
        ]),
    ]
}

/// [`steps`], and a dropped space whose name is used again: two commits with the same visible content.
pub(super) fn steps_with_a_dropped_space() -> Vec<Step> {
    let mut steps = steps();
    let end = steps.len() - 2;
    let dropped = [
        Step::DropSpace,
        Step::Upsert(vec![(bob(), "m", 16.0), (ada(), "x", 17.0)]),
    ];
    steps.splice(end..end, dropped);
    steps
}

impl Content {
    /// The content after a step.
    pub(super) fn after(&self, step: &Step) -> Self {
        let mut content = self.clone();
        match step {
            Step::Values(writes) => {
                for write in writes {
                    match write {
                        KeyValueWrite::Set { key, value } => {
                            content.values.insert(key.clone(), (value.clone(), None));
                        }
                        KeyValueWrite::SetExpiring { key, value, .. } => {
                            let end = Some(Timestamp::from_millis(END));
                            content.values.insert(key.clone(), (value.clone(), end));
                        }
                        KeyValueWrite::Delete { key } => drop(content.values.remove(key)),
                        KeyValueWrite::DeletePrefix { prefix } => {
                            content.values.retain(|key, _| !key.starts_with(prefix));
                        }
                    }
                }
            }
            Step::Upsert(entries) | Step::Mortal(entries) => {
                for (scope, id, x) in entries {
                    let metadata = json!({ "x": x }).as_object().unwrap().clone();
                    content
                        .entries
                        .insert((scope.clone(), (*id).to_string()), (vector(*x), metadata));
                    content.texts.insert((scope.clone(), (*id).to_string()), text(*x));
                    content.mortal.remove(&(scope.clone(), (*id).to_string()));
                    if matches!(step, Step::Mortal(_)) {
                        content.mortal.insert((scope.clone(), (*id).to_string()));
                    }
                }
            }
            Step::Together(entries, (scope, ids), writes) => {
                let steps = [
                    Step::Upsert(entries.clone()),
                    Step::Delete(scope.clone(), ids.clone()),
                    Step::Values(writes.clone()),
                ];
                content = steps.iter().fold(content, |content, step| content.after(step));
            }
            Step::Touch(scope, ids, expiry) => {
                for id in ids.iter().map(|id| (scope.clone(), (*id).to_string())) {
                    match expiry {
                        Expiry::Never => drop(content.mortal.remove(&id)),
                        _ if content.entries.contains_key(&id) => drop(content.mortal.insert(id)),
                        _ => {}
                    }
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
            Step::DeleteMatching(scope, value) => content
                .entries
                .retain(|(of, _), (_, metadata)| of != scope || metadata.get("value") != Some(&json!(value))),
            Step::Quota(scope, Some(count)) => drop(content.quotas.insert(scope.clone(), *count)),
            Step::Quota(scope, None) => drop(content.quotas.remove(scope)),
            Step::Pass => {
                let mortal = content.mortal.clone();
                content.entries.retain(|id, _| !mortal.contains(id));
                content.values.retain(|_, (_, end)| end.is_none());
            }
            Step::BuildIndex => {}
            Step::DropScope(scope) => content.entries.retain(|(of, _), _| of != scope),
            Step::DropScopes(scopes) => content.entries.retain(|(of, _), _| !scopes.contains(of)),
            Step::DropSessions => content.entries.retain(|(of, _), _| of.kind() != ScopeKind::Session),
            Step::DropSpace => content.entries.clear(),
        }
        let left: Vec<_> = content.entries.keys().cloned().collect();
        content.mortal.retain(|id| left.contains(id));
        content.texts.retain(|id, _| left.contains(id));
        content
    }
}

/// The space, as it is or new.
fn space(database: &Database) -> Result<Arc<dyn VectorStorage>> {
    let config = HNSWConfig::fast().with_metric(DistanceMetric::Euclidean);
    let config = config.with_texts(TextConfig::default()).with_sparse(["s"]);
    Ok(Arc::new(block_on(database.vectors("s", DIM, config))?))
}

/// Some entries have none.
fn vector(x: f32) -> Vec<f32> {
    if x == 13.0 || x == 10.5 || x == 2.0 {
        return Vec::new();
    }
    vec![x, 1.0, -x]
}

/// Every entry has a word of its own, and one that all have.
fn text(x: f32) -> String {
    let times = x as usize % 4;
    format!("common{} x{}", " more".repeat(times), (x * 10.0) as u32)
}

/// Every sparse vector has an index of its own, and one that all have.
fn index(x: f32) -> u32 {
    1_000 + (x * 10.0) as u32
}

fn made(entries: &[(StateScope, &'static str, f32)]) -> impl Iterator<Item = VectorEntry> {
    entries.iter().map(|(scope, id, x)| {
        let entry = VectorEntry::new(*id, vector(*x)).with_scope(scope.clone());
        let entry = entry.with_text(text(*x)).with_sparse("s", [7, index(*x)], [1.0, *x]);
        entry.with_metadata(json!({ "x": x }))
    })
}

/// An open database and its space.
pub(super) struct Store {
    pub(super) database: Database,
    /// Another one once its space was dropped.
    vectors: Mutex<Arc<dyn VectorStorage>>,
    time: Arc<AtomicI64>,
}

impl Store {
    pub(super) fn open(disk: Arc<dyn Disk>) -> Result<Self> {
        Self::open_at(disk, BEGIN)
    }

    /// Opens a database whose clock says `now`.
    pub(super) fn open_at(disk: Arc<dyn Disk>, now: i64) -> Result<Self> {
        let time = Arc::new(AtomicI64::new(now));
        let (source, boot) = (Arc::clone(&time), Arc::clone(&time));
        let options = DatabaseOptions::new()
            .graph_points_min(2)
            .metadata_points_min(1)
            // So that a few entries are read into the index later, and fewer at once.
            .metadata_at_once_max(4)
            // So that words are in indexes, in rows and unread.
            .text_rows_max(2)
            // So that two entries are written in steps, and one is not.
            .large_batch_entries(2)
            .clock(move || Timestamp::from_millis(source.load(Ordering::SeqCst)))
            .boot_clock(move || Duration::from_millis(boot.load(Ordering::SeqCst).unsigned_abs()));
        let database = Database::open_on(disk, &options)?;
        let vectors = Mutex::new(space(&database)?);
        Ok(Self {
            database,
            vectors,
            time,
        })
    }

    pub(super) fn vectors(&self) -> Arc<dyn VectorStorage> {
        Arc::clone(&self.vectors.lock())
    }

    fn drop_space(&self) -> Result<()> {
        block_on(self.database.drop_space("s"))?;
        *self.vectors.lock() = space(&self.database)?;
        Ok(())
    }

    /// What the clock says, in milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.time.load(Ordering::SeqCst)
    }

    pub(super) fn run(&self, step: &Step) -> Result<()> {
        match step {
            Step::Values(writes) => block_on(self.database.kv().write(writes.clone())).map(drop),
            Step::Upsert(entries) => self.upsert(entries, |entry| entry),
            Step::Together(entries, (scope, ids), writes) => {
                let batch = self.database.batch().upsert("s", made(entries));
                let batch = batch.delete("s", scope, ids.iter().copied()).write_keys(writes.clone());
                block_on(batch.commit()).map(drop)
            }
            Step::Mortal(entries) => {
                let end = Timestamp::from_millis(END);
                self.upsert(entries, |entry| entry.with_expires_at(end))
            }
            Step::DeleteMatching(scope, value) => {
                let filter = Filter::eq("value", *value);
                block_on(self.vectors().delete_matching(scope, &filter)).map(drop)
            }
            Step::Quota(scope, Some(count)) => {
                block_on(self.database.set_quota(scope, Quota::new().with_vectors(*count)))
            }
            Step::Quota(scope, None) => block_on(self.database.remove_quota(scope)).map(drop),
            Step::Touch(scope, ids, expiry) => {
                let ids: Vec<String> = ids.iter().map(|id| (*id).to_string()).collect();
                block_on(self.vectors().touch(scope, &ids, *expiry)).map(drop)
            }
            Step::Pass => {
                self.time.store(LATER, Ordering::SeqCst);
                Ok(())
            }
            Step::Metadata(scope, id, value) => {
                let metadata = json!({ "value": value }).as_object().unwrap().clone();
                block_on(self.vectors().update_metadata(scope, id, metadata))
            }
            Step::Delete(scope, ids) => {
                let ids: Vec<String> = ids.iter().map(|id| (*id).to_string()).collect();
                block_on(self.vectors().delete(scope, &ids)).map(drop)
            }
            Step::BuildIndex => block_on(self.vectors().build_index()),
            Step::DropScope(scope) => block_on(self.vectors().delete_scope(scope)).map(drop),
            Step::DropScopes(scopes) => block_on(self.vectors().delete_scopes(scopes)).map(drop),
            Step::DropSessions => block_on(self.vectors().delete_scopes_of_kind(ScopeKind::Session)).map(drop),
            Step::DropSpace => self.drop_space(),
        }
    }

    fn upsert(
        &self,
        entries: &[(StateScope, &'static str, f32)],
        change: impl Fn(VectorEntry) -> VectorEntry,
    ) -> Result<()> {
        let entries = made(entries).map(change).collect();
        block_on(self.vectors().upsert(entries)).map(drop)
    }

    /// Everything, read in every way there is; the ways must agree.
    pub(super) fn content(&self) -> Content {
        block_on(async {
            let mut content = Content::default();
            let page = self.database.kv().scan_entries("", None, PAGE_MAX).await.unwrap();
            assert_eq!(self.database.kv().count("").await.unwrap(), page.len() as u64);
            let values = page
                .into_iter()
                .map(|entry| (entry.key, (entry.value, entry.expires_at)));
            content.values = values.collect();
            for scope in self.vectors().scopes().await.unwrap() {
                let entries = self.vectors().list(&scope, None, PAGE_MAX).await.unwrap();
                assert!(!entries.is_empty(), "a scope without entries is none: {scope}");
                assert_eq!(entries.len() as u64, self.vectors().count(&scope).await.unwrap());
                self.assert_filtered(&scope, &entries).await;
                self.assert_words(&scope, &entries).await;
                self.assert_sparse(&scope, &entries).await;
                for entry in entries {
                    let own = match entry.embedding.is_empty() {
                        true => vec![0.5; DIM],
                        false => entry.embedding.clone(),
                    };
                    let query = VectorQuery::new(own, 10).with_scope(scope.clone());
                    let hits = self.vectors().search(&query).await.unwrap();
                    assert!(
                        entry.embedding.is_empty() || hits.iter().any(|hit| hit.id == entry.id && hit.distance == 0.0),
                        "{entry:?} in {hits:?}"
                    );
                    let is_hit = hits.iter().any(|hit| hit.id == entry.id);
                    assert!(!entry.embedding.is_empty() || !is_hit, "{entry:?} has no vector");
                    let (own, sparse) = (entry.text.clone().unwrap(), &entry.sparse["s"]);
                    let x = sparse.values()[1];
                    assert_eq!((sparse.indices(), &own), (&[7, index(x)][..], &text(x)));
                    content.texts.insert((scope.clone(), entry.id.clone()), own);
                    let (key, value) = entry.metadata.as_object().unwrap().iter().next().unwrap();
                    let filter = Filter::eq(key.as_str(), value.as_f64().unwrap());
                    let page = self.vectors().list_matching(&scope, &filter, None, PAGE_MAX).await;
                    assert!(page.unwrap().iter().any(|other| other.id == entry.id), "{filter}");
                    let metadata = entry.metadata.as_object().unwrap().clone();
                    if entry.expires_at.is_some() {
                        content.mortal.insert((scope.clone(), entry.id.clone()));
                    }
                    content
                        .entries
                        .insert((scope.clone(), entry.id), (entry.embedding, metadata));
                }
            }
            for scope in [ada(), bob()] {
                if let Some(status) = self.database.quota(&scope).await.unwrap() {
                    let held = self.vectors().count(&scope).await.unwrap();
                    assert_eq!(status.used.vectors, held, "{scope}");
                    content.quotas.insert(scope, status.quota.vectors.unwrap());
                }
            }
            content
        })
    }

    /// Words find what the texts say, with the scores of an index that is made of them now, unless expired ones count.
    async fn assert_words(&self, scope: &StateScope, entries: &[VectorEntry]) {
        let rules = TextRules::new(&TextConfig::default()).unwrap();
        let mut texts = Texts::new(TextKind::Texts(Positions::Kept));
        for (point, entry) in (0..).zip(entries) {
            let own = rules.stored(entry.text.clone(), BTreeMap::new());
            texts.insert(point, rules.terms(own.as_ref(), &Metadata::new()).words);
        }
        let own = entries.iter().filter_map(|entry| entry.text.clone());
        for words in own.chain(["common".to_string(), "more -x20".to_string(), "absent".to_string()]) {
            let asked = rules.typed(&words);
            let hits = texts.search(&asked, &texts.statistics(&asked), &Search::best(100));
            let id = |hit: &Hit| (entries[hit.point as usize].id.clone(), hit.score);
            let mut expected: Vec<(String, f32)> = hits.iter().map(id).collect();
            expected.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
            let query = VectorQuery::text(words.as_str(), 100).with_scope(scope.clone());
            let counted = self.vectors().explain(&query).await.unwrap().text.unwrap().texts;
            let found = self.vectors().search(&query).await.unwrap();
            let mut found: Vec<(String, f32)> = found.into_iter().map(|result| (result.id, result.score)).collect();
            if counted > entries.len() as u64 {
                // What has expired and is not purged counts in scores, and is not found.
                for list in [&mut found, &mut expected] {
                    list.iter_mut().for_each(|(_, score)| *score = 0.0);
                    list.sort_by(|one, other| one.0.cmp(&other.0));
                }
            }
            assert_eq!(found, expected, "`{words}` in {scope}");
        }
    }

    /// Sparse vectors are found by what they have in common with others, and by nothing else.
    async fn assert_sparse(&self, scope: &StateScope, entries: &[VectorEntry]) {
        let found = async |indices: [u32; 2]| {
            let query = VectorQuery::sparse("s", indices, [1.0, 2.0], 100).with_scope(scope.clone());
            let found = self.vectors().search(&query).await.unwrap();
            found
                .into_iter()
                .map(|result| (result.id, result.score))
                .collect::<Vec<_>>()
        };
        let all: Vec<(String, f32)> = entries.iter().map(|entry| (entry.id.clone(), 1.0)).collect();
        assert_eq!(found([7, 9]).await, all, "in {scope}");
        for entry in entries {
            let [_, own] = *entry.sparse["s"].indices() else {
                panic!("two components")
            };
            let score = 2.0 * entry.sparse["s"].values()[1];
            let same = entries.iter().filter(|other| other.sparse["s"].indices()[1] == own);
            let same: Vec<(String, f32)> = same.map(|other| (other.id.clone(), score)).collect();
            assert_eq!(found([9, own]).await, same, "index {own} in {scope}");
        }
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
                .vectors()
                .list_matching(scope, &filter, None, PAGE_MAX)
                .await
                .unwrap();
            let found: Vec<&str> = found.iter().map(|entry| entry.id.as_str()).collect();
            assert_eq!(found, expected, "{filter} in {scope}");
            assert_eq!(
                self.vectors().count_matching(scope, &filter).await.unwrap(),
                expected.len() as u64
            );
        }
    }

    pub(super) fn assert_sound(&self) {
        let report = block_on(self.database.check()).unwrap();
        assert!(report.is_ok(), "{report:#?}");
    }
}
