//! Salvage: of a damaged database, everything that `get` can read is in the new one, and nothing that was never stored.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llmspell_storage::{
    Database, DatabaseOptions, ErrorKind, HNSWConfig, HNSWVectorStorage, Quota, SalvageReport, ScopedBackend,
    StateScope, StorageError, Timestamp, VectorEntry,
};
use llmspell_testkit::Random;

const DIM: usize = 24;
const SPACES: [&str; 2] = ["a", "b"];

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

fn scope(number: u32) -> StateScope {
    StateScope::User(format!("u-{number}"))
}

/// Space, scope, id → the entry; key → value.
#[derive(Debug, Default, PartialEq)]
struct Content {
    entries: BTreeMap<(String, String, String), VectorEntry>,
    values: BTreeMap<String, Vec<u8>>,
}

async fn space(database: &Database, name: &str) -> HNSWVectorStorage {
    database.vectors(name, DIM, HNSWConfig::fast()).await.unwrap()
}

/// So that every scope has an index.
fn options() -> DatabaseOptions {
    DatabaseOptions::new().graph_points_min(20).metadata_points_min(10)
}

/// A database with everything: replaced and deleted entries, dropped scopes, times, quotas, an index, keys that expire.
async fn fill(dir: &Path) {
    let database = options().open(dir).await.unwrap();
    for (number, name) in SPACES.into_iter().enumerate() {
        let vectors = space(&database, name).await;
        for round in 0..3_u32 {
            let entries = (0..160_u32).filter(|id| id % 3 >= round).map(|id| {
                let vector: Vec<f32> = (0..DIM as u32)
                    .map(|at| ((id * 7 + at * at + round) % 89) as f32 + 1.0)
                    .collect();
                let mut entry = VectorEntry::new(format!("id-{id}"), vector)
                    .with_scope(scope(id % 4))
                    .with_metadata(serde_json::json!({ "n": id, "text": "x".repeat(id as usize), "space": number }));
                entry.event_time = (id % 5 == 0).then(|| Timestamp::from_millis(i64::from(id)));
                entry.expires_at = (id % 7 == 0).then(|| Timestamp::from_millis(4_000_000_000_000));
                entry
            });
            vectors.upsert(entries.collect()).await.unwrap();
        }
        vectors
            .delete(&scope(1), &["id-1".to_string(), "id-5".to_string()])
            .await
            .unwrap();
        let dropped = StateScope::Session("gone".to_string());
        let entry = VectorEntry::new("x", vec![1.0; DIM]).with_scope(dropped.clone());
        vectors.insert(vec![entry]).await.unwrap();
        vectors.delete_scope(&dropped).await.unwrap();
        vectors.build_index().await.unwrap();
    }
    for number in 0..60 {
        let value = vec![number; 20 * usize::from(number)];
        database.kv().set(&format!("key-{number}"), value).await.unwrap();
    }
    ScopedBackend::new(Arc::new(database.kv()), scope(1))
        .unwrap()
        .set("own", b"1".to_vec())
        .await
        .unwrap();
    database
        .set_quota(&scope(2), Quota::new().with_vectors(1_000))
        .await
        .unwrap();
    database.close().await.unwrap();
}

/// What can be read, entry by entry and key by key; none if the database cannot be opened.
async fn readable(dir: &Path, known: &Content) -> Content {
    let mut content = Content::default();
    let Ok(database) = options().must_exist(true).open(dir).await else {
        return content;
    };
    for name in SPACES {
        let Ok(Some(vectors)) = database.existing_vectors(name).await else {
            continue;
        };
        for (of, scope, id) in known.entries.keys().filter(|(of, ..)| of == name) {
            let found = vectors.get(&scope.parse().unwrap(), id).await;
            if let Ok(Some(entry)) = found {
                content.entries.insert((of.clone(), scope.clone(), id.clone()), entry);
            }
        }
    }
    for key in known.values.keys() {
        if let Ok(Some(value)) = database.kv().get(key).await {
            content.values.insert(key.clone(), value);
        }
    }
    content
}

/// Everything in a database that is whole.
async fn everything(dir: &Path) -> Content {
    let database = options().open(dir).await.unwrap();
    let report = database.check_deep().await.unwrap();
    assert!(report.is_ok(), "{report:#?}");
    let mut content = Content::default();
    for name in SPACES {
        let Some(vectors) = database.existing_vectors(name).await.unwrap() else {
            continue;
        };
        for scope in vectors.scopes().await.unwrap() {
            for entry in vectors.list(&scope, None, 10_000).await.unwrap() {
                content
                    .entries
                    .insert((name.to_string(), scope.to_string(), entry.id.clone()), entry);
            }
        }
    }
    for (key, value) in database.kv().scan("", None, 10_000).await.unwrap() {
        content.values.insert(key, value);
    }
    database.close().await.unwrap();
    content
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

/// All files but the lock.
fn bytes(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = files(dir)
        .into_iter()
        .filter(|path| path.file_name().unwrap() != "LOCK");
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn damage(path: &Path, random: &mut Random) -> String {
    let mut bytes = fs::read(path).unwrap();
    let len = bytes.len().max(1);
    let kind = random.below(6);
    let at = random.between(0, len);
    let page = at / 4096 * 4096;
    match kind {
        0 | 1 if !bytes.is_empty() => {
            for _ in 0..random.between(1, 4) {
                let at = random.between(0, len);
                bytes[at] ^= 1 << random.below(8);
            }
        }
        2 => bytes.truncate(at),
        3 => {
            let end = (page + 4096).min(bytes.len());
            bytes[page..end].fill(0);
        }
        4 if bytes.len() >= 8192 => {
            let other = random.between(0, bytes.len() / 4096) * 4096;
            for place in 0..4096.min(bytes.len() - page.max(other)) {
                bytes.swap(page + place, other + place);
            }
        }
        _ => {
            fs::remove_file(path).unwrap();
            return format!("{} removed", path.display());
        }
    }
    fs::write(path, bytes).unwrap();
    format!("{} damaged in way {kind} at {at}", path.display())
}

async fn salvaged(damaged: &Path, to: &Path) -> Result<SalvageReport, StorageError> {
    Database::salvage(damaged, to, |_| {}).await
}

#[test]
fn given_any_damage_then_everything_that_can_be_read_is_saved_and_nothing_else() {
    let count = std::env::var("LLMSPELL_SALVAGE_CASES").map_or(60, |count| count.parse().unwrap());
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let good = dir.path().join("good");
        fill(&good).await;
        let known = everything(&good).await;
        assert!(known.entries.len() > 250 && known.values.len() == 61);
        let names = files(&good);
        let kinds: BTreeSet<_> = names
            .iter()
            .map(|name| name.extension().map(std::ffi::OsStr::to_owned))
            .collect();
        assert!(kinds.len() >= 4, "{names:?}");
        let (mut whole, mut partly, mut nothing) = (0, 0, 0);
        for number in 0..count {
            let mut random = Random::new(&[17, number]);
            let bad = dir.path().join("bad");
            let to = dir.path().join("to");
            let _ = fs::remove_dir_all(&bad);
            let _ = fs::remove_dir_all(&to);
            copy(&good, &bad);
            // Each kind of file as often; most of the data are in two of them.
            let place = match random.below(3) {
                0 => names[random.between(0, names.len())].clone(),
                1 => good.join("truth.redb"),
                _ => good.join(format!("spaces/0000000{}/slots-0", 1 + random.below(2))),
            };
            let victim = bad.join(place.strip_prefix(&good).unwrap());
            let what = format!("{number}: {}", damage(&victim, &mut random));
            let before = bytes(&bad);

            let done = salvaged(&bad, &to).await;
            assert!(bytes(&bad) == before, "{what}: the damaged database was changed");
            let found = match &done {
                Ok(_) => everything(&to).await,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Data, "{what}: {error}");
                    Content::default()
                }
            };
            for (place, entry) in &found.entries {
                assert_eq!(known.entries.get(place), Some(entry), "{what}: it was never stored");
            }
            for (key, value) in &found.values {
                assert_eq!(known.values.get(key), Some(value), "{what}: {key} was never stored");
            }
            let readable = readable(&bad, &known).await;
            for (place, entry) in &readable.entries {
                assert_eq!(
                    found.entries.get(place),
                    Some(entry),
                    "{what}: {place:?} is not saved; {done:?}"
                );
            }
            for (key, value) in &readable.values {
                assert_eq!(
                    found.values.get(key),
                    Some(value),
                    "{what}: {key} is not saved; {done:?}"
                );
            }
            match found == known {
                true => whole += 1,
                false if found == Content::default() => nothing += 1,
                false => {
                    partly += 1;
                    assert!(done.unwrap().lost_count > 0, "{what}: it says what is lost");
                }
            }
        }
        assert!(
            whole > 0 && partly > count / 10,
            "{whole} whole, {partly} in part, {nothing} not at all"
        );
    });
}

#[test]
fn given_a_database_that_is_whole_then_all_of_it_is_saved_with_its_settings() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let (good, to) = (dir.path().join("good"), dir.path().join("to"));
        fill(&good).await;
        let report = salvaged(&good, &to).await.unwrap();
        assert_eq!(
            (report.spaces, report.quotas, report.lost_count),
            (2, 1, 0),
            "{:?}",
            report.lost
        );
        assert_eq!(everything(&to).await, everything(&good).await);
        let (old, new) = (Database::open(&good).await.unwrap(), Database::open(&to).await.unwrap());
        assert_eq!(old.spaces().await.unwrap(), new.spaces().await.unwrap());
        let quota = new.quota(&scope(2)).await.unwrap().unwrap();
        assert_eq!(quota.quota.vectors, Some(1_000));
        assert_eq!(old.quota(&scope(2)).await.unwrap().unwrap().used, quota.used);
    });
}

#[test]
fn a_salvage_refuses_what_is_no_database_a_filled_target_and_a_database_that_is_open() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let good = dir.path().join("good");
        fill(&good).await;
        let error = salvaged(&dir.path().join("nowhere"), &dir.path().join("to"))
            .await
            .unwrap_err();
        assert!(matches!(&error, StorageError::ForeignDirectory { .. }), "{error}");
        let error = salvaged(dir.path(), &dir.path().join("to")).await.unwrap_err();
        assert!(matches!(&error, StorageError::ForeignDirectory { .. }), "{error}");
        let error = salvaged(&good, &good).await.unwrap_err();
        assert!(matches!(&error, StorageError::DirectoryNotEmpty { .. }), "{error}");
        let open = Database::open(&good).await.unwrap();
        let error = salvaged(&good, &dir.path().join("to")).await.unwrap_err();
        assert!(matches!(&error, StorageError::AlreadyOpen { .. }), "{error}");
        assert!(!dir.path().join("to").exists());
        drop(open);
    });
}
