//! A subscriber of `tracing` sees every call and the work in the background, and no stored data.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use llmspell_storage::{
    Database, DatabaseOptions, Expiry, FieldPath, Filter, HNSWConfig, KeyValueWrite, MemoryBackend, OnExisting, Quota,
    ScopeKind, SledBackend, StateScope, StorageBackend, VectorEntry, VectorQuery, VectorStorage,
};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;

/// Stands in everything that nobody may see: ids, keys, values, metadata.
const SECRET: &str = "s3cret";
const DIM: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

thread_local! {
    /// The spans that this thread is in, the innermost last.
    static ENTERED: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
}

/// A span or an event.
#[derive(Debug, Clone)]
struct Told {
    /// Of a span; the message of an event.
    name: String,
    metadata: &'static Metadata<'static>,
    fields: BTreeMap<String, String>,
}

/// Collects what is told.
#[derive(Debug, Clone, Default)]
struct Collector {
    spans: Arc<Mutex<BTreeMap<u64, Told>>>,
    events: Arc<Mutex<Vec<Told>>>,
    last: Arc<AtomicU64>,
    /// A thread left a span that was not the innermost.
    is_crossed: Arc<AtomicBool>,
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_string(), format!("{value:?}"));
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("llmspell_storage")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        let mut fields = BTreeMap::new();
        span.record(&mut Fields(&mut fields));
        let (name, metadata) = (span.metadata().name().to_string(), span.metadata());
        let told = Told { name, metadata, fields };
        self.spans.lock().unwrap().insert(id, told);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut spans = self.spans.lock().unwrap();
        let told = spans.get_mut(&span.into_u64()).unwrap();
        values.record(&mut Fields(&mut told.fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        let name = fields.remove("message").unwrap_or_default();
        let metadata = event.metadata();
        self.events.lock().unwrap().push(Told { name, metadata, fields });
    }

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.clone()));
    }

    fn exit(&self, span: &Id) {
        let left = ENTERED.with_borrow_mut(Vec::pop);
        self.is_crossed.fetch_or(left.as_ref() != Some(span), Ordering::SeqCst);
    }

    fn current_span(&self) -> Current {
        let entered = ENTERED.with_borrow(|entered| entered.last().cloned());
        entered.map_or_else(Current::none, |id| {
            let metadata = self.spans.lock().unwrap()[&id.into_u64()].metadata;
            Current::new(id, metadata)
        })
    }
}

impl Collector {
    /// That of this process, which all tests share: threads of databases have no other.
    fn get() -> &'static Self {
        static COLLECTOR: OnceLock<Collector> = OnceLock::new();
        COLLECTOR.get_or_init(|| {
            let collector = Self::default();
            tracing::subscriber::set_global_default(collector.clone()).unwrap();
            collector
        })
    }

    fn spans(&self, name: &str) -> Vec<Told> {
        let spans = self.spans.lock().unwrap();
        spans.values().filter(|span| span.name == name).cloned().collect()
    }
}

fn tenant() -> StateScope {
    StateScope::User(format!("{SECRET}-ada"))
}

fn entry(number: u32, scope: StateScope) -> VectorEntry {
    let vector: Vec<f32> = (0..DIM as u32)
        .map(|i| ((number * 31 + i * 7) % 17) as f32 - 8.5)
        .collect();
    VectorEntry::new(format!("{SECRET}-{number}"), vector)
        .with_scope(scope)
        .with_metadata(json!({"field": format!("{SECRET} text {number}")}))
}

fn query(scope: StateScope) -> VectorQuery {
    VectorQuery::new(vec![1.0; DIM], 3).with_scope(scope)
}

/// Every call of a vector store.
async fn use_vectors(store: &impl VectorStorage) {
    let (scope, ids) = (tenant(), vec![format!("{SECRET}-1")]);
    let filter = Filter::eq("field", format!("{SECRET} text 1"));
    let entries = (0..100).map(|number| entry(number, tenant())).collect();
    store.write(entries, OnExisting::Replace).await.unwrap();
    store
        .write_known(vec![entry(0, tenant())], OnExisting::Replace)
        .await
        .unwrap();
    store.search(&query(tenant())).await.unwrap();
    store
        .search(&query(tenant()).with_scopes([tenant(), StateScope::Global]))
        .await
        .unwrap();
    store
        .search(&query(tenant()).with_filter(filter.clone()))
        .await
        .unwrap();
    store.explain(&query(tenant())).await.unwrap();
    store.get(&scope, &ids[0]).await.unwrap();
    store.get_many(&scope, &ids).await.unwrap();
    let metadata = entry(1, tenant()).metadata.as_object().unwrap().clone();
    store.update_metadata(&scope, &ids[0], metadata).await.unwrap();
    store.touch(&scope, &ids, Expiry::Never).await.unwrap();
    store.list(&scope, None, 10).await.unwrap();
    store.count_matching(&scope, &filter).await.unwrap();
    store.list_matching(&scope, &filter, Some(&ids[0]), 10).await.unwrap();
    store
        .facet(&scope, &FieldPath::from("field"), &filter, 10)
        .await
        .unwrap();
    store.delete_matching(&scope, &filter).await.unwrap();
    store.delete(&scope, &ids).await.unwrap();
    store.scopes().await.unwrap();
    store.stats().await.unwrap();
    store.stats_for_scope(&scope).await.unwrap();
    store.count(&scope).await.unwrap();
    store.build_index().await.unwrap();
    store.search(&query(tenant())).await.unwrap();
    store.optimize_index().await.unwrap();
    store.flush().await.unwrap();
    store.delete_scopes(&[scope]).await.unwrap();
    store.delete_scopes_of_kind(ScopeKind::User).await.unwrap();
}

const VECTOR_CALLS: [&str; 22] = [
    "write",
    "search",
    "explain",
    "get",
    "get_many",
    "update_metadata",
    "touch",
    "list",
    "count_matching",
    "list_matching",
    "facet",
    "delete_matching",
    "delete",
    "scopes",
    "stats",
    "stats_for_scope",
    "count",
    "build_index",
    "optimize_index",
    "flush",
    "delete_scopes",
    "delete_scopes_of_kind",
];

/// Every call of a key-value store.
async fn use_keys(store: &impl StorageBackend) {
    let key = format!("{SECRET}-key");
    let value = SECRET.as_bytes().to_vec();
    let write = KeyValueWrite::Set {
        key: key.clone(),
        value: value.clone(),
    };
    store.write(vec![write]).await.unwrap();
    store.get(&key).await.unwrap();
    store.get_batch(std::slice::from_ref(&key)).await.unwrap();
    store.expires_at(&key).await.unwrap();
    store.scan_entries(SECRET, None, 10).await.unwrap();
    store
        .swap(&key, Some(&value), Some(value.clone()), Expiry::Never)
        .await
        .unwrap();
    store.list_keys(SECRET).await.unwrap();
    store.count(SECRET).await.unwrap();
}

const KEY_CALLS: [&str; 8] = [
    "write",
    "get",
    "get_batch",
    "expires_at",
    "scan_entries",
    "swap",
    "list_keys",
    "count",
];

const DATABASE_CALLS: [&str; 14] = [
    "open",
    "vectors",
    "existing_vectors",
    "router",
    "spaces",
    "stats",
    "set_quota",
    "quota",
    "remove_quota",
    "delete_scopes",
    "delete_scopes_of_kind",
    "drop_space",
    "check",
    "close",
];

/// Every call of a database and its stores.
async fn use_all() {
    let dir = tempfile::tempdir().unwrap();
    let options = DatabaseOptions::new().graph_points_min(16).scope_cache_bytes(1);
    let database = options.open(dir.path().join("database")).await.unwrap();
    let vectors = database.vectors("memories", DIM, HNSWConfig::fast()).await.unwrap();
    use_vectors(&vectors).await;
    database.existing_vectors("memories").await.unwrap();
    drop(vectors);
    database.drop_space("memories").await.unwrap();
    let router = database.router(HNSWConfig::fast()).await.unwrap();
    router.register_dimension(DIM).await.unwrap();
    use_vectors(&router).await;
    // With a cache of one byte each scope gives way to the next.
    let others = database.vectors("others", DIM, HNSWConfig::fast()).await.unwrap();
    for number in 0..8 {
        let scope = StateScope::Session(format!("{SECRET}-{number}"));
        others.insert(vec![entry(number, scope.clone())]).await.unwrap();
        others.count(&scope).await.unwrap();
        others.list(&scope, None, 10).await.unwrap();
    }
    use_keys(&database.kv()).await;
    use_keys(&MemoryBackend::new()).await;
    use_keys(&SledBackend::open(dir.path().join("sled")).await.unwrap()).await;
    database.spaces().await.unwrap();
    database.stats().await.unwrap();
    database
        .set_quota(&tenant(), Quota::new().with_vectors(10))
        .await
        .unwrap();
    database.quota(&tenant()).await.unwrap();
    database.remove_quota(&tenant()).await.unwrap();
    database.delete_scopes(&[tenant()]).await.unwrap();
    database.delete_scopes_of_kind(ScopeKind::User).await.unwrap();
    database.check().await.unwrap();
    database.close().await.unwrap();
}

/// An event of this message, once it comes.
async fn event(message: &str, is_it: impl Fn(&Told) -> bool) -> Told {
    let begun = Instant::now();
    loop {
        let events = Collector::get().events.lock().unwrap().clone();
        if let Some(event) = events.iter().find(|event| event.name == message && is_it(event)) {
            return event.clone();
        }
        let messages: std::collections::BTreeSet<_> = events.into_iter().map(|event| event.name).collect();
        assert!(begun.elapsed() < PATIENCE, "no event `{message}` among {messages:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn given_a_subscriber_when_everything_is_called_then_it_sees_every_call_and_nothing_of_what_is_stored() {
    // Given, when
    let collector = Collector::get();
    let at_once = [use_all(), use_all()].map(Box::pin);
    let [first, second] = at_once;
    tokio::join!(first, second);

    // Then: every call has a span.
    let calls = |prefix: &str, calls: &[&str]| calls.iter().map(|call| format!("{prefix}.{call}")).collect::<Vec<_>>();
    let expected = [
        calls("vectors", &VECTOR_CALLS),
        calls("router", &VECTOR_CALLS),
        calls("router", &["write_known"]),
        calls("kv", &KEY_CALLS),
        calls("database", &DATABASE_CALLS),
    ];
    for name in expected.iter().flatten() {
        assert!(!collector.spans(name).is_empty(), "no span `{name}`");
    }
    for backend in ["redb", "sled", "memory"] {
        let is_its = |span: &Told| span.fields["backend"].contains(backend);
        assert!(collector.spans("kv.get").iter().any(is_its), "{backend}");
    }

    // A search tells how it was done.
    for name in ["vectors.search", "router.search"] {
        let searches = collector.spans(name);
        let one = searches
            .iter()
            .find(|span| span.fields.get("path").is_some_and(|path| path.contains("graph")));
        let one = one.unwrap_or_else(|| panic!("{searches:?}"));
        assert_eq!((one.fields["scope"].as_str(), one.fields["k"].as_str()), ("user", "3"));
        assert_eq!(one.fields["results"], "3");
        assert_ne!(one.fields["distances"], "0");
        assert!(one.fields.contains_key("us"), "{one:?}");
        assert!(searches.iter().any(|span| span.fields["scope"] == "several"));
    }

    // What happened in the background is told.
    event("commit", |event| {
        event.fields["requests"] != "0" && event.fields["bytes"] != "0"
    })
    .await;
    event("index work begun", |event| event.fields["work"].contains("build")).await;
    event("index work ended", |event| event.fields["work"].contains("build")).await;
    event("index file written", |event| event.fields["bytes"] != "0").await;
    event("purge step", |_| true).await;
    event("scopes unloaded", |_| true).await;

    // Nobody is told what is stored, or whose it is; and no span is open on a thread that has gone on.
    let text = format!("{collector:?}");
    assert!(
        !text.contains(SECRET),
        "{}",
        &text[text.find(SECRET).unwrap().saturating_sub(300)..][..600]
    );
    assert!(!collector.is_crossed.load(Ordering::SeqCst));
}

#[tokio::test]
async fn given_leave_when_a_call_or_the_background_is_about_a_scope_then_its_id_is_shown() {
    Collector::get();
    let dir = tempfile::tempdir().unwrap();
    let options = DatabaseOptions::new().graph_points_min(16).trace_scope_ids(true);
    let database: Database = options.open(dir.path()).await.unwrap();
    let vectors = database.vectors("shown", DIM, HNSWConfig::fast()).await.unwrap();
    // A file where the folder of the index files is to be.
    let space = fs::read_dir(dir.path().join("spaces"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    fs::write(space.path().join("index"), b"in the way").unwrap();
    let scope = StateScope::User("shown".to_string());
    let entry = |number: u32| VectorEntry::new(number.to_string(), vec![number as f32; DIM]).with_scope(scope.clone());
    vectors.insert((1..100).map(entry).collect()).await.unwrap();
    vectors.count(&scope).await.unwrap();

    let counts = Collector::get().spans("vectors.count");
    assert!(
        counts.iter().any(|span| span.fields["scope"] == "user:shown"),
        "{counts:?}"
    );
    let failure = event("failed in the background", |event| {
        event.fields["task"].contains("build the index")
    })
    .await;
    assert_eq!(*failure.metadata.level(), Level::WARN);
    assert!(failure.fields.contains_key("error"), "{failure:?}");
    drop(vectors);
    database.close().await.unwrap();
}

/// The calls that a type has of its trait, each with what stands above it.
fn calls<'a>(source: &'a str, head: &str) -> Vec<(&'a str, String)> {
    let block = source.split_once(head).unwrap().1.split("\n}\n").next().unwrap();
    let lines: Vec<&str> = block.lines().collect();
    let is_call = |place: &usize| lines[*place].starts_with("    async fn ");
    let calls = (1..lines.len()).filter(is_call);
    let above = |place: usize| {
        let attributes = lines[..place].iter().rev().take_while(|line| !line.is_empty());
        attributes.copied().collect::<String>()
    };
    calls.map(|place| (lines[place], above(place))).collect()
}

#[test]
fn every_call_of_a_store_has_a_span_above_it() {
    let hnsw = include_str!("../src/api/vectors/calls.rs");
    let router = include_str!("../src/api/router/calls.rs");
    let blocks = [
        (hnsw, "impl VectorStorage for HNSWVectorStorage", 22),
        (router, "impl VectorStorage for DimensionRouter", 23),
        (
            include_str!("../src/api/backends/redb.rs"),
            "impl StorageBackend for RedbBackend",
            8,
        ),
        (
            include_str!("../src/api/backends/sled/mod.rs"),
            "impl StorageBackend for SledBackend",
            8,
        ),
        (
            include_str!("../src/api/backends/memory/mod.rs"),
            "impl StorageBackend for MemoryBackend",
            8,
        ),
    ];
    for (source, head, calls_min) in blocks {
        let calls = calls(source, head);
        assert!(calls.len() >= calls_min, "{head}: {}", calls.len());
        for (call, above) in calls {
            assert!(above.contains("tracing::instrument("), "{head}: no span above `{call}`");
        }
    }
}
