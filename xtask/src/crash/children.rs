//! The work of the processes that are started and killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use llmspell_storage::limits::PAGE_MAX;
use llmspell_storage::{
    Database, Filter, KeyValueEntry, ModelRef, OnExisting, StateScope, StorageError, Timestamp, VectorEntry,
    VectorQuery, VectorStorage,
};

use super::content::{TAGS, Value, metadata_seed, tag, vector, vector_seed};
use super::operation::{Line, Operation, StoredEntry, now};
use super::router::{keep_dropping, keep_migrating};
use super::store::{Engine, Store};
use super::workload::{Subject, WRITERS, Workload, is_mortal, private_scopes, space_of};
use llmspell_testkit::Random;

/// Ends a process that was not killed within this time.
const LIFE_MAX: Duration = Duration::from_secs(60);
/// Number of entries of a scope that are searched for and read one by one.
const SAMPLE: usize = 12;
/// Percentage of operations after which a writer queries by a filter.
const ASK_PERCENT: u64 = 25;
/// Dropped scopes are purged within this time.
const PURGED_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct ChildArguments {
    #[arg(long)]
    subject: Subject,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    seed: u64,
    /// Writer: do not write. Checker: exit without closing.
    #[arg(long)]
    idle: bool,
}

/// Writes until it is killed.
pub(crate) fn write(arguments: &ChildArguments) -> Result<()> {
    tell_of_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    runtime.block_on(async {
        let started = Instant::now();
        let store = Arc::new(Store::open(arguments.subject, &arguments.dir).await?);
        tell_ready(started);
        if !arguments.idle {
            for writer in 0..WRITERS {
                let random = Random::new(&[arguments.seed, writer as u64]);
                let workload = Workload::new(arguments.subject, writer, random);
                tokio::spawn(keep_writing(Arc::clone(&store), writer, workload));
            }
            if let Some(router) = store.router.clone() {
                tokio::spawn(keep_migrating(router.clone(), |problem| tell(&Line::Problem(problem))));
                tokio::spawn(keep_dropping(router, |problem| tell(&Line::Problem(problem))));
            }
        }
        std::thread::sleep(LIFE_MAX);
        anyhow::bail!("nobody killed the writer")
    })
}

async fn keep_writing(store: Arc<Store>, writer: usize, mut workload: Workload) {
    loop {
        let mut operation = workload.next_operation();
        if let Operation::Swap { key, expected, .. } = &mut operation
            && workload.percent(70)
        {
            match store.value(key).await {
                Ok(value) => *expected = value,
                Err(error) => tell(&Line::Problem(format!("get of `{key}`: {error:#}"))),
            }
        }
        let start = Line::Start {
            writer,
            at: now(),
            operation,
        };
        tell(&start);
        let Line::Start { operation, .. } = start else {
            unreachable!()
        };
        let outcome = store.perform(&operation).await;
        tell(&Line::Ack {
            writer,
            at: now(),
            outcome,
        });
        if workload.percent(ASK_PERCENT)
            && let Err(error) = store.ask_by_filter(&operation).await
        {
            tell(&Line::Problem(format!(
                "asked by a filter after {operation:?}: {error:#}"
            )));
        }
    }
}

/// Reports the content of the store, and whether it is consistent.
pub(crate) fn check(arguments: &ChildArguments) -> Result<()> {
    tell_of_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let checked: Result<()> = runtime.block_on(async {
        let started = Instant::now();
        let store = Store::open(arguments.subject, &arguments.dir).await.context("open")?;
        tell_ready(started);
        tell(&Line::Purging(purging(&store).await?));
        check_keys(&store).await.context("key-value data")?;
        for space in 0..store.spaces().len() {
            check_space(&store, space)
                .await
                .with_context(|| format!("space {space}"))?;
        }
        match &store.engine {
            Engine::Database(database) => {
                for writer in 0..WRITERS {
                    if let Some(space) = space_of(arguments.subject, writer) {
                        check_quotas(database, &store, space, writer).await.context("quotas")?;
                    }
                }
                if !arguments.idle {
                    wait_until_purged(&store).await?;
                }
                // This also checks that every slot belongs to one scope or is free, so slots of dropped scopes can be
                // used again.
                let report = database.check().await.context("check")?;
                let problems: Vec<_> = report.sections.iter().flat_map(|section| &section.problems).collect();
                ensure!(problems.is_empty(), "check: {problems:?}");
            }
            Engine::Sled(sled) => drop(sled.verify().await.context("verify")?),
        }
        if arguments.idle {
            // No destructor runs: the next one finds the files as a killed process leaves them.
            tell(&Line::Complete);
            std::process::exit(0);
        }
        store.close().await.context("close")
    });
    match checked {
        Ok(()) => tell(&Line::Complete),
        Err(error) => tell(&Line::Problem(format!("{error:#}"))),
    }
    Ok(())
}

async fn check_keys(store: &Store) -> Result<()> {
    let keys = &store.keys;
    let mut entries: Vec<KeyValueEntry> = Vec::new();
    let from = now();
    // Small pages, so that paging is tested too.
    let page_len = 50;
    loop {
        let page = keys
            .scan_entries("", entries.last().map(|entry| entry.key.as_str()), page_len)
            .await?;
        let is_last = page.len() < page_len;
        entries.extend(page);
        if is_last {
            break;
        }
    }
    tell(&Line::KeysRead { from, to: now() });
    // Keys that expire may do so between two calls.
    let mut listed = keys.list_keys("").await?;
    let mortal = entries.iter().filter(|entry| is_mortal(&entry.key)).count();
    listed.retain(|key| !is_mortal(key));
    ensure!(
        entries
            .iter()
            .map(|entry| &entry.key)
            .filter(|key| !is_mortal(key))
            .eq(&listed),
        "scan and list of keys differ"
    );
    let count = keys.count("").await?;
    ensure!(
        (listed.len()..=listed.len() + mortal).contains(&usize::try_from(count)?),
        "{count} keys are counted, {} and {mortal} that expire listed",
        listed.len()
    );
    let batch = keys.get_batch(&listed).await?;
    for entry in entries {
        let (key, scanned) = (entry.key, entry.value);
        let got = keys.get(&key).await?;
        let is_same = match is_mortal(&key) {
            true => got.is_none_or(|got| got == scanned),
            false => got.as_ref() == Some(&scanned) && batch.get(&key) == Some(&scanned),
        };
        ensure!(is_same, "get, get_batch and scan differ on `{key}`");
        tell(&Line::Pair {
            value: Value::of(&scanned),
            expires_at: entry.expires_at.map(Timestamp::as_millis),
            key,
        });
    }
    Ok(())
}

async fn check_space(store: &Store, space: usize) -> Result<()> {
    let storage = &*store.space(space);
    let mut all: Vec<VectorEntry> = Vec::new();
    let from = now();
    let scopes = storage.scopes().await?;
    tell(&Line::Listed { space, from, to: now() });
    for scope in scopes {
        let from = now();
        let entries = list(storage, &scope).await?;
        let to = now();
        check_scope(storage, &scope, &entries)
            .await
            .with_context(|| format!("scope {scope}"))?;
        tell(&Line::Scope {
            space,
            scope,
            entries: entries.iter().map(stored).collect(),
            from,
            to,
        });
        all.extend(entries);
    }
    let counted = storage.stats().await?.vectors;
    let most = all.len() as u64;
    let least = all.iter().filter(|entry| !is_ending(entry)).count() as u64;
    ensure!(
        (least..=most).contains(&counted),
        "stats tell of {counted} vectors, the scopes list {least} to {most}"
    );
    Ok(())
}

/// Number of dropped scopes whose slots are not freed yet.
async fn purging(store: &Store) -> Result<u64> {
    let mut count = 0;
    for space in store.spaces() {
        count += space.stats().await?.scopes_to_purge;
    }
    Ok(count)
}

async fn wait_until_purged(store: &Store) -> Result<()> {
    let started = Instant::now();
    while purging(store).await? > 0 {
        ensure!(started.elapsed() < PURGED_WITHIN, "dropped scopes are not purged");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Checks that the quotas of a writer's scopes count correctly, admit as much as fits and refuse more. Leaves the
/// entries as they were.
async fn check_quotas(database: &Database, store: &Store, space: usize, writer: usize) -> Result<()> {
    let storage = &*store.space(space);
    let existing = storage.scopes().await?;
    for scope in private_scopes(writer) {
        // Read first: an entry that expires between the two calls would be in the quota and not in the list.
        let entries = list(storage, &scope).await?;
        let Some(status) = database.quota(&scope).await? else {
            continue;
        };
        let limit = status.quota.vectors.context("a quota without a limit of vectors")?;
        tell(&Line::Quota {
            scope: scope.clone(),
            vectors: limit,
        });
        if entries.iter().any(|entry| entry.expires_at.is_some()) {
            // The count changes soon.
            continue;
        }
        let used = entries.len() as u64;
        let bytes: usize = entries.iter().map(|entry| 4 * entry.embedding.len()).sum();
        ensure!(
            status.used.vectors == used && status.used.vector_bytes == bytes as u64,
            "scope {scope} holds {used} entries, its quota says {:?}",
            status.used
        );
        let trial = |count: u64| {
            let entry = |number: u64| {
                let seed = u32::try_from(number).expect("quotas are small");
                let entry = VectorEntry::new(format!("{writer}:trial-{number}"), vector(seed, store.dim(space, seed)));
                (seed, entry.with_scope(scope.clone()))
            };
            (0..count).map(entry).collect::<Vec<_>>()
        };
        let room = limit.saturating_sub(used);
        let refused = store.write_entries(space, trial(room + 1), OnExisting::Refuse).await;
        ensure!(
            matches!(refused, Err(StorageError::QuotaExceeded { .. })),
            "scope {scope} has room for {room}, and takes one more: {refused:?}"
        );
        if room > 0 && existing.contains(&scope) {
            let ids = store.write_entries(space, trial(room), OnExisting::Refuse).await;
            let ids = ids.context("what fits")?;
            let gone = storage.delete(&scope, &ids).await?;
            ensure!(gone == room, "{gone} of {room} entries that fit were there");
        }
    }
    Ok(())
}

async fn list(storage: &dyn VectorStorage, scope: &StateScope) -> Result<Vec<VectorEntry>> {
    let mut entries: Vec<VectorEntry> = Vec::new();
    let page_len = 50;
    loop {
        let after = entries.last().map(|entry| entry.id.as_str());
        let page = storage.list(scope, after, page_len).await?;
        let is_last = page.len() < page_len;
        entries.extend(page);
        if is_last {
            return Ok(entries);
        }
    }
}

/// Checks that count, search and get agree with the list.
///
/// The list is older than the other answers, so an entry that expires in between may be missing in them.
async fn check_scope(storage: &dyn VectorStorage, scope: &StateScope, entries: &[VectorEntry]) -> Result<()> {
    let count = storage.count(scope).await?;
    let mut found = BTreeSet::new();
    for (_, of_model) in by_model(entries) {
        let all = query(of_model[0], PAGE_MAX).with_scope(scope.clone()).with_exact(true);
        found.extend(storage.search(&all).await?.into_iter().map(|hit| hit.id));
    }
    let listed: BTreeSet<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    let lasting: Vec<&VectorEntry> = entries.iter().filter(|entry| !is_ending(entry)).collect();
    let (least, most) = (lasting.len() as u64, listed.len() as u64);
    ensure!(
        (least..=most).contains(&count),
        "{count} entries are counted, {least} to {most} listed"
    );
    for id in &found {
        ensure!(listed.contains(id.as_str()), "`{id}` is found but not listed");
    }
    for entry in &lasting {
        ensure!(found.contains(&entry.id), "`{}` is listed but not found", entry.id);
    }
    check_filters(storage, scope, entries).await?;
    for entry in lasting.iter().step_by(lasting.len().div_ceil(SAMPLE).max(1)) {
        let query = query(entry, 3).with_scope(scope.clone()).with_exact(true);
        let hits = storage.search(&query).await?;
        let is_found = hits.iter().any(|hit| hit.id == entry.id) || is_ending(entry);
        ensure!(is_found, "`{}` is not among the nearest to itself", entry.id);
        let got = storage.get(scope, &entry.id).await?;
        let is_same = got.as_ref().map(stored) == Some(stored(entry)) || is_ending(entry);
        ensure!(is_same, "get and list differ on `{}`", entry.id);
    }
    Ok(())
}

/// Checks that counts, lists and searches by a filter agree with the matches in the list.
async fn check_filters(storage: &dyn VectorStorage, scope: &StateScope, entries: &[VectorEntry]) -> Result<()> {
    for number in 0..TAGS {
        let filter = Filter::eq("tag", tag(number));
        let has_tag = |entry: &&VectorEntry| entry.metadata["tag"] == tag(number).as_str();
        let matching: Vec<&VectorEntry> = entries.iter().filter(has_tag).collect();
        let count = storage.count_matching(scope, &filter).await?;
        let mut found: Vec<BTreeSet<String>> = Vec::new();
        let page = storage.list_matching(scope, &filter, None, PAGE_MAX).await?;
        found.push(page.into_iter().map(|entry| entry.id).collect());
        let (mut exact, mut usual) = (BTreeSet::new(), BTreeSet::new());
        for (_, of_model) in by_model(matching.iter().copied()) {
            let query = query(of_model[0], matching.len())
                .with_scope(scope.clone())
                .with_filter(filter.clone());
            usual.extend(storage.search(&query).await?.into_iter().map(|hit| hit.id));
            exact.extend(
                storage
                    .search(&query.with_exact(true))
                    .await?
                    .into_iter()
                    .map(|hit| hit.id),
            );
        }
        found.extend([exact, usual]);
        let lasting = || matching.iter().filter(|entry| !is_ending(entry));
        let (least, most) = (lasting().count() as u64, matching.len() as u64);
        ensure!(
            (least..=most).contains(&count),
            "{count} entries have tag {number} by count, {least} to {most} by list"
        );
        for found in &found {
            let is_all = lasting().all(|entry| found.contains(&entry.id));
            let is_only = found.iter().all(|id| matching.iter().any(|entry| entry.id == *id));
            ensure!(
                is_all && is_only,
                "{found:?} are found by tag {number}, {matching:?} are listed"
            );
        }
    }
    Ok(())
}

/// Entries by the model of their space.
fn by_model<'e>(entries: impl IntoIterator<Item = &'e VectorEntry>) -> BTreeMap<Option<&'e str>, Vec<&'e VectorEntry>> {
    let mut by_model: BTreeMap<Option<&str>, Vec<&VectorEntry>> = BTreeMap::new();
    for entry in entries {
        by_model
            .entry(entry.model.as_ref().map(ModelRef::name))
            .or_default()
            .push(entry);
    }
    by_model
}

/// A query near an entry, in its space.
fn query(entry: &VectorEntry, k: usize) -> VectorQuery {
    let query = VectorQuery::new(entry.embedding.clone(), k);
    match &entry.model {
        Some(model) => query.with_model(model.name()),
        None => query,
    }
}

fn is_ending(entry: &VectorEntry) -> bool {
    entry.expires_at.is_some_and(|moment| moment.as_millis() <= now())
}

fn stored(entry: &VectorEntry) -> StoredEntry {
    let millis = |moment: Option<llmspell_storage::Timestamp>| moment.map(llmspell_storage::Timestamp::as_millis);
    StoredEntry {
        id: entry.id.clone(),
        vector: vector_seed(&entry.embedding),
        metadata: metadata_seed(&entry.metadata),
        created_at: millis(entry.created_at).unwrap_or(i64::MIN),
        updated_at: millis(entry.updated_at).unwrap_or(i64::MIN),
        event_time: millis(entry.event_time),
        expires_at: millis(entry.expires_at),
    }
}

fn tell_ready(started: Instant) {
    let open_us = u64::try_from(started.elapsed().as_micros()).expect("it was not that long");
    tell(&Line::Ready { open_us });
}

/// Sends one line completely before it returns. Without a parent process it ends the program.
fn tell(line: &Line) {
    let mut bytes = serde_json::to_vec(line).expect("a line is plain data");
    bytes.push(b'\n');
    let mut out = std::io::stdout().lock();
    if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

fn tell_of_panics() {
    std::panic::set_hook(Box::new(|panic| tell(&Line::Panic(panic.to_string()))));
}
