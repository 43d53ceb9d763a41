//! What happens where the directory is not as it should be? A typed error, nothing lost, no panic.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use llmspell_storage::{
    Database, DatabaseOptions, ErrorKind, Expiry, HNSWConfig, HNSWVectorStorage, KeyValueWrite, RedbBackend, Result,
    StateScope, StorageError, VectorEntry, VectorQuery,
};
use serde_json::json;

const DIM: usize = 8;

fn tenant() -> StateScope {
    StateScope::Custom("tenant:1".to_string())
}

async fn open(path: &Path) -> Result<(Database, HNSWVectorStorage)> {
    let database = Database::open(path).await?;
    let vectors = database.vectors("v", DIM, HNSWConfig::fast()).await?;
    Ok((database, vectors))
}

fn entries(count: usize) -> Vec<VectorEntry> {
    let vector = |number: usize| {
        (0..DIM)
            .map(|i| ((number * 31 + i * 7) % 17) as f32 - 8.5)
            .collect::<Vec<f32>>()
    };
    (0..count)
        .map(|number| {
            VectorEntry::new(format!("e{number}"), vector(number))
                .with_scope(tenant())
                .with_metadata(json!({ "number": number }))
        })
        .collect()
}

/// A closed database with a few keys and vectors.
async fn make(path: &Path) {
    let (database, vectors) = open(path).await.unwrap();
    for number in 0..20 {
        database
            .kv()
            .set(&format!("key {number}"), vec![number; 100])
            .await
            .unwrap();
    }
    vectors.insert(entries(300)).await.unwrap();
    drop(vectors);
    database.close().await.unwrap();
}

/// Everything that can be seen.
async fn look(path: &Path) -> Result<(Vec<(String, Vec<u8>)>, Vec<VectorEntry>, Vec<String>)> {
    let (database, vectors) = open(path).await?;
    let values = database.kv().scan("", None, 1000).await?;
    let entries = vectors.list(&tenant(), None, 1000).await?;
    let query = VectorQuery::new(vec![1.0; DIM], 20).with_scope(tenant());
    let hits = vectors.search(&query).await?.into_iter().map(|hit| hit.id).collect();
    drop(vectors);
    database.close().await?;
    Ok((values, entries, hits))
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn restore(files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, bytes) in files {
        fs::write(path, bytes).unwrap();
    }
}

// ---- somebody else ----

const OPEN_IN_CHILD: &str = "LLMSPELL_TEST_OPEN_IN_CHILD";

/// Not a test by itself: the process that the next one starts.
#[tokio::test]
async fn the_other_process() {
    if let Ok(path) = std::env::var(OPEN_IN_CHILD) {
        let error = Database::open(path).await.unwrap_err();
        println!("refused: {error}");
    }
}

#[tokio::test]
async fn given_an_open_database_when_another_process_opens_it_then_it_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).await.unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_process", "--nocapture"])
        .env(OPEN_IN_CHILD, dir.path())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(
        output.contains(&format!("is open elsewhere (process {})", std::process::id())),
        "{output}"
    );
    database.close().await.unwrap();
}

#[tokio::test]
async fn given_an_open_database_when_the_same_process_opens_it_again_then_it_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let first = RedbBackend::open(dir.path()).await.unwrap();
    let error = HNSWVectorStorage::open(dir.path(), DIM, HNSWConfig::fast())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    first.close().await.unwrap();
    HNSWVectorStorage::open(dir.path(), DIM, HNSWConfig::fast())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_closed_database_refuses_every_handle() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path()).await.unwrap();
    let kv = database.kv();
    database.close().await.unwrap();
    assert!(matches!(kv.get("a").await, Err(StorageError::Closed)));
    assert!(matches!(kv.set("a", vec![]).await, Err(StorageError::Closed)));
    assert!(matches!(vectors.insert(entries(1)).await, Err(StorageError::Closed)));
    let query = VectorQuery::new(vec![1.0; DIM], 1).with_scope(tenant());
    assert!(matches!(vectors.search(&query).await, Err(StorageError::Closed)));
}

// ---- another directory ----

#[tokio::test]
async fn a_directory_that_holds_something_else_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "precious").unwrap();
    let before = files(dir.path());
    let error = Database::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StorageError::ForeignDirectory { .. }), "{error}");
    assert!(error.to_string().contains("thesis.tex"));
    assert_eq!(files(dir.path()), before);

    let error = Database::open(dir.path().join("thesis.tex")).await.unwrap_err();
    assert!(matches!(error, StorageError::ForeignDirectory { .. }), "{error}");
}

#[tokio::test]
async fn a_database_that_must_exist_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("missing"), dir.path().to_path_buf()] {
        let error = DatabaseOptions::new().must_exist(true).open(&path).await.unwrap_err();
        assert!(matches!(error, StorageError::ForeignDirectory { .. }), "{error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_newer_format_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    fs::write(dir.path().join("FORMAT"), "llmspell-storage format 2\n").unwrap();
    let mut before = files(dir.path());
    let error = Database::open(dir.path()).await.unwrap_err();
    assert!(
        matches!(
            error,
            StorageError::UnsupportedVersion {
                found: 2,
                min: 1,
                max: 1,
                ..
            }
        ),
        "{error}"
    );
    let mut after = files(dir.path());
    for files in [&mut before, &mut after] {
        files.retain(|path, _| !path.ends_with("LOCK"));
    }
    assert_eq!(after, before);
}

#[tokio::test]
async fn another_dimension_or_metric_than_stored_is_refused_with_both() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    let database = Database::open(dir.path()).await.unwrap();
    let error = database.vectors("v", DIM + 1, HNSWConfig::fast()).await.unwrap_err();
    assert_eq!(error.to_string(), "space `v` was created with dimension 8, not 9");
    let config = HNSWConfig::fast().with_metric(llmspell_storage::DistanceMetric::Manhattan);
    let error = database.vectors("v", DIM, config).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "space `v` was created with metric cosine, not manhattan"
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let reconfigured = HNSWConfig::accurate();
    let vectors = database.vectors("v", DIM, reconfigured.clone()).await.unwrap();
    assert_eq!(vectors.config(), &reconfigured, "the rest may change");
    assert_eq!(database.spaces().await.unwrap()[0].config, reconfigured);
}

#[tokio::test]
async fn bad_names_of_spaces_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).await.unwrap();
    for name in ["", "a\0b", &"x".repeat(257)] {
        let error = database.vectors(name, DIM, HNSWConfig::fast()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    // Names are never part of a path.
    database
        .vectors("../../etc/passwd", DIM, HNSWConfig::fast())
        .await
        .unwrap();
    assert!(
        files(dir.path())
            .keys()
            .all(|path| !path.to_string_lossy().contains("passwd"))
    );
}

#[tokio::test]
async fn a_storage_made_with_a_bad_dimension_says_so_on_every_call() {
    for (dim, config) in [
        (0, HNSWConfig::fast()),
        (65_536, HNSWConfig::fast()),
        (3, HNSWConfig::fast().with_m(0)),
    ] {
        let storage = HNSWVectorStorage::new(dim, config);
        assert!(matches!(storage.stats().await, Err(StorageError::OutOfRange { .. })));
        assert!(matches!(
            storage.insert(vec![]).await,
            Err(StorageError::OutOfRange { .. })
        ));
    }
}

// ---- damaged files ----

#[tokio::test]
async fn a_missing_file_is_damage() {
    for name in ["FORMAT", "truth.redb", "spaces/00000001/slots-0"] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path()).await;
        fs::remove_file(dir.path().join(name)).unwrap();
        let error = look(dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_missing_file_of_a_database_with_keys_only_is_damage_and_no_new_database() {
    for name in ["FORMAT", "truth.redb"] {
        let dir = tempfile::tempdir().unwrap();
        let backend = RedbBackend::open(dir.path()).await.unwrap();
        backend.set("key", vec![1]).await.unwrap();
        backend.close().await.unwrap();
        fs::remove_file(dir.path().join(name)).unwrap();
        let error = RedbBackend::open(dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_file_cut_at_any_length_is_reported_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    let whole = look(dir.path()).await.unwrap();
    let intact = files(dir.path());
    for name in ["truth.redb", "spaces/00000001/slots-0", "FORMAT"] {
        let path = dir.path().join(name);
        let len = intact[&path].len();
        let step = (len / 40).max(1);
        for cut in (0..len).step_by(step).chain([len - 1]) {
            restore(&intact);
            fs::write(&path, &intact[&path][..cut]).unwrap();
            match look(dir.path()).await {
                Ok(found) => assert_eq!(found, whole, "{name} cut at {cut}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Data, "{name} cut at {cut}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_is_reported_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    let whole = look(dir.path()).await.unwrap();
    let intact = files(dir.path());
    let flips: u64 = std::env::var("LLMSPELL_BIT_FLIPS").map_or(150, |number| number.parse().expect("a number"));
    for name in ["truth.redb", "spaces/00000001/slots-0"] {
        let path = dir.path().join(name);
        let bits = 8 * intact[&path].len() as u64;
        let mut reported = 0;
        for flip in 0..flips {
            // Spread over the whole file, and different bits of the bytes.
            let bit = (flip.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) % bits;
            restore(&intact);
            let mut bytes = intact[&path].clone();
            bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            match look(dir.path()).await {
                Ok(found) => assert_eq!(found, whole, "{name}: bit {bit}"),
                Err(error) => {
                    let kind = error.kind();
                    assert!(
                        matches!(kind, ErrorKind::Data | ErrorKind::Closed),
                        "{name}: bit {bit}: {error}"
                    );
                    reported += 1;
                }
            }
        }
        assert!(
            reported > flips / 20,
            "{name}: flips that hit something are noticed, not only {reported} of {flips}"
        );
    }
}

/// A key that leads to rows may be damaged where nothing else is: then rows whose checksums are right are not found.
#[tokio::test]
async fn given_a_truth_too_large_to_be_verified_when_a_key_in_it_is_damaged_then_it_is_found_while_it_is_open() {
    const COUNT: usize = 2_000;
    // Pages of redb, and the type of those that hold keys and no values.
    const PAGE_BYTES: usize = 4096;
    const BRANCH: u8 = 2;
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path()).await.unwrap();
    vectors.insert(entries(COUNT)).await.unwrap();
    drop(vectors);
    database.close().await.unwrap();
    let path = dir.path().join("truth.redb");
    let intact = fs::read(&path).unwrap();
    let starts = (0..intact.len()).step_by(PAGE_BYTES);
    let branches = starts.filter(|start| intact[*start] == BRANCH);
    let places = branches.flat_map(|start| (start + 8..start + 1_500).step_by(127));
    let (mut noticed, mut harmless) = (0, 0);
    for place in places.filter(|place| intact[*place] != 0) {
        let mut bytes = intact.clone();
        bytes[place] ^= 1 << (place % 8);
        fs::write(&path, bytes).unwrap();
        match look_while_verified(dir.path(), COUNT).await {
            Ok(()) => harmless += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Data, "byte {place}: {error}");
                noticed += 1;
            }
        }
    }
    assert!(
        noticed > 0 && harmless > 0,
        "{noticed} flips were noticed, {harmless} did no harm"
    );
}

/// Opens a truth that is verified in the background only. Once that is done, either everything is there or every call
/// says what is damaged.
async fn look_while_verified(path: &Path, count: usize) -> Result<()> {
    let database = DatabaseOptions::new().verify_bytes_max(0).open(path).await?;
    let vectors = database.vectors("v", DIM, HNSWConfig::fast()).await?;
    // Whole or refused, even before it is verified.
    if let Ok(found) = vectors.list(&tenant(), None, 10_000).await {
        assert_eq!(found.len(), count);
    }
    let begun = std::time::Instant::now();
    while !database.stats().await?.is_truth_verified {
        assert!(begun.elapsed().as_secs() < 60, "it is not verified");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for number in (0..count).step_by(97) {
        let found = vectors.get(&tenant(), &format!("e{number}")).await?;
        assert!(found.is_some(), "entry {number} is hidden");
    }
    assert_eq!(vectors.list(&tenant(), None, 10_000).await?.len(), count);
    Ok(())
}

#[tokio::test]
async fn damage_to_one_space_leaves_the_rest_readable() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    let path = dir.path().join("spaces/00000001/slots-0");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (database, vectors) = open(dir.path()).await.unwrap();
    let query = VectorQuery::new(vec![1.0; DIM], 5).with_scope(tenant());
    let error = vectors.search(&query).await.unwrap_err();
    assert!(
        matches!(&error, StorageError::Corrupted { path: at, .. } if *at == path.canonicalize().unwrap()),
        "{error}"
    );
    assert_eq!(database.kv().get("key 3").await.unwrap(), Some(vec![3; 100]));
    let other = vec![VectorEntry::new("x", vec![1.0; DIM])];
    vectors.insert(other).await.unwrap();
    assert_eq!(
        vectors
            .search(&query.with_scope(StateScope::Global))
            .await
            .unwrap()
            .len(),
        1
    );
    let report = database.check().await.unwrap();
    assert_eq!(
        report
            .sections
            .iter()
            .map(|section| section.problems.len())
            .sum::<usize>(),
        1,
        "{report:#?}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_data_file_that_is_a_link_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    make(&dir.path().join("a")).await;
    fs::create_dir(dir.path().join("b")).unwrap();
    for name in ["FORMAT", "truth.redb"] {
        std::os::unix::fs::symlink(dir.path().join("a").join(name), dir.path().join("b").join(name)).unwrap();
    }
    let error = Database::open(dir.path().join("b")).await.unwrap_err();
    assert!(error.to_string().contains("cannot open"), "{error}");
}

// ---- a file system that will not ----

/// A file system in RAM, as large as said; none where the test may not mount.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(dir.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        eprintln!("skipped: this needs the right to mount a file system");
        None
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(self.0.path())
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("db")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_read_only_file_system_is_named_as_such() {
    let Some(mount) = Mount::new("size=128m") else { return };
    make(&mount.path()).await;
    mount.remount("ro");
    let error = Database::open(mount.path()).await.unwrap_err();
    assert!(matches!(error, StorageError::ReadOnly { .. }), "{error}");
}

#[tokio::test]
async fn given_a_disk_that_fills_up_then_the_reserve_refuses_writes_and_deleting_makes_room() {
    let Some(mount) = Mount::new("size=24m") else { return };
    let database = DatabaseOptions::new()
        .free_bytes_min(8 << 20)
        .open(mount.path())
        .await
        .unwrap();
    let vectors = database.vectors("v", 1000, HNSWConfig::fast()).await.unwrap();
    let batch = |number: usize| -> Vec<VectorEntry> {
        (0..100)
            .map(|i| VectorEntry::new(format!("{number}-{i}"), vec![1.0 + i as f32; 1000]).with_scope(tenant()))
            .collect()
    };

    // When: vectors come until there is no room.
    let mut stored = 0;
    let error = loop {
        match vectors.insert(batch(stored)).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1000, "24 MiB are full some time");
    };

    // Then: it is said so; reading goes on; and what frees space is allowed.
    assert!(matches!(error, StorageError::NoSpace { .. }), "{error}");
    assert_eq!(vectors.count(&tenant()).await.unwrap(), 100 * stored as u64);
    assert_eq!(vectors.delete_scope(&tenant()).await.unwrap(), 100 * stored as u64);
    let mut room = false;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        room = room || vectors.insert(batch(0)).await.is_ok();
        if room {
            break;
        }
    }
    assert!(room, "the space of the dropped scope is given back");
    assert!(database.check().await.unwrap().is_ok());
}

#[tokio::test]
async fn given_small_sessions_and_a_disk_that_others_have_filled_then_deleting_them_makes_room() {
    let Some(mount) = Mount::new("size=32m") else { return };
    // Given: many sessions, none of which is worth telling the file system of by itself, up to the reserve.
    let options = || DatabaseOptions::new().free_bytes_min(8 << 20);
    let database = options().open(mount.path()).await.unwrap();
    let vectors = database.vectors("v", 1000, HNSWConfig::fast()).await.unwrap();
    let session = |number: usize| StateScope::Session(number.to_string());
    let entry = |number: usize| VectorEntry::new("m", vec![1.0 + number as f32; 1000]).with_scope(session(number));
    let mut count = 0;
    let error = loop {
        match vectors.insert((count..count + 20).map(entry).collect()).await {
            Ok(_) => count += 20,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StorageError::NoSpace { .. }), "{error}");
    let kept = count / 2;
    // And another program takes all the room there is, to the last byte.
    fill(&mount.0.path().join("theirs"));

    // When: half of the sessions go together, more one by one, one entry by its id.
    let together: Vec<StateScope> = (0..kept).map(session).collect();
    assert_eq!(vectors.delete_scopes(&together).await.unwrap(), kept as u64);
    for number in kept..kept + 10 {
        assert_eq!(vectors.delete_scope(&session(number)).await.unwrap(), 1);
    }
    assert_eq!(
        vectors.delete(&session(kept + 10), &["m".to_string()]).await.unwrap(),
        1
    );

    // Then: there is room again for as many, and nothing else was touched.
    let begun = std::time::Instant::now();
    while vectors.insert(vec![entry(0)]).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the disk stays full");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(vectors.stats().await.unwrap().vectors as usize, count - kept - 10);
    assert!(database.check().await.unwrap().is_ok());
}

#[tokio::test]
async fn given_a_disk_that_is_full_to_the_last_byte_then_nothing_acknowledged_is_lost() {
    let Some(mount) = Mount::new("size=8m") else { return };
    let options = || DatabaseOptions::new().free_bytes_min(0);
    let database = options().open(mount.path()).await.unwrap();
    let mut stored = Vec::new();
    let error = loop {
        let key = format!("key {}", stored.len());
        match database.kv().set(&key, vec![7; 20_000]).await {
            Ok(()) => stored.push(key),
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Closed), "{error}");
    assert_eq!(
        database.kv().get(&stored[0]).await.unwrap().map(|value| value.len()),
        Some(20_000)
    );
    database.close().await.unwrap_or(());

    // When: there is room again.
    mount.remount("size=32m");
    let database = options().open(mount.path()).await.unwrap();

    // Then:
    let found = database.kv().list_keys("").await.unwrap();
    assert!(stored.iter().all(|key| found.contains(key)));
    assert!(
        found.len() <= stored.len() + 1,
        "at most the one in doubt is there, too"
    );
    assert!(database.check().await.unwrap().is_ok());
    database.kv().set("again", vec![1]).await.unwrap();
}

/// Writes a file until not a byte is left.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut filler = fs::File::create(path).unwrap();
    for len in [64 << 10, 4 << 10, 1] {
        let bytes = vec![7; len];
        while filler.write_all(&bytes).is_ok() {}
    }
}

#[tokio::test]
async fn given_not_one_byte_left_then_whatever_frees_room_works() {
    let Some(mount) = Mount::new("size=48m") else { return };
    let options = || DatabaseOptions::new().free_bytes_min(8 << 20).graph_points_min(1_000);
    let scope = |number: usize| StateScope::Custom(format!("tenant:{number}"));
    let database = options().open(mount.path()).await.unwrap();
    let vectors = database.vectors("v", DIM, HNSWConfig::fast()).await.unwrap();
    for number in 0..6 {
        let batch = entries(1_500).into_iter().map(|entry| {
            let metadata = json!({ "text": "x".repeat(300), "third": entry.id.len() % 3 });
            entry.with_scope(scope(number)).with_metadata(metadata)
        });
        vectors.insert(batch.collect()).await.unwrap();
        database
            .kv()
            .set(&format!("key {number}"), vec![7; 50_000])
            .await
            .unwrap();
    }
    vectors.build_index().await.unwrap();

    // When: somebody else takes all the room that is left.
    fill(&mount.0.path().join("filler"));

    // Then:
    let ids: Vec<String> = (0..1_000).map(|number| format!("e{number}")).collect();
    assert_eq!(vectors.delete(&scope(0), &ids).await.unwrap(), 1_000);
    let filter = llmspell_storage::Filter::eq("third", 1);
    assert!(vectors.delete_matching(&scope(1), &filter).await.unwrap() > 0);
    assert_eq!(vectors.delete_scope(&scope(2)).await.unwrap(), 1_500);
    assert!(database.kv().delete("key 0").await.unwrap());
    let rest = KeyValueWrite::DeletePrefix { prefix: String::new() };
    assert_eq!(database.kv().write(vec![rest]).await.unwrap().deleted, 5);
    drop(vectors);
    database.close().await.unwrap();

    // And after opening again, which has no more room either.
    let database = options().open(mount.path()).await.unwrap();
    let vectors = database.vectors("v", DIM, HNSWConfig::fast()).await.unwrap();
    for number in 3..6 {
        assert_eq!(vectors.delete_scope(&scope(number)).await.unwrap(), 1_500);
    }
    assert!(database.check().await.unwrap().is_ok());
}

#[tokio::test]
async fn given_not_one_byte_left_then_one_call_deletes_every_other_entry_of_a_large_scope() {
    let Some(mount) = Mount::new("size=64m") else { return };
    let options = || {
        DatabaseOptions::new()
            .free_bytes_min(8 << 20)
            .graph_points_min(u64::MAX)
    };
    let database = options().open(mount.path()).await.unwrap();
    let vectors = database.vectors("v", DIM, HNSWConfig::fast()).await.unwrap();
    const COUNT: usize = 20_000;
    let batch = entries(COUNT).into_iter().enumerate().map(|(number, entry)| {
        let metadata = json!({ "text": "x".repeat(300), "half": number % 2 });
        entry.with_scope(tenant()).with_metadata(metadata)
    });
    vectors.insert(batch.collect()).await.unwrap();
    fill(&mount.0.path().join("filler"));

    // When: each page of the truth loses half of its rows, and is written anew for the others.
    let filter = llmspell_storage::Filter::eq("half", 1);
    let deleted = vectors.delete_matching(&tenant(), &filter).await;

    // Then: it is done, and so are others of many entries.
    assert_eq!(deleted.unwrap(), COUNT as u64 / 2);
    let ids: Vec<String> = (0..COUNT).step_by(4).map(|number| format!("e{number}")).collect();
    assert_eq!(vectors.delete(&tenant(), &ids).await.unwrap(), COUNT as u64 / 4);
    drop(vectors);
    database.close().await.unwrap();
    let database = options().open(mount.path()).await.unwrap();
    let vectors = database.vectors("v", DIM, HNSWConfig::fast()).await.unwrap();
    assert_eq!(vectors.count(&tenant()).await.unwrap(), COUNT as u64 / 4);

    // A shorter life gives room back, so it needs none; a longer one is refused, and changes nothing.
    let rest: Vec<String> = (2..COUNT).step_by(4).map(|number| format!("e{number}")).collect();
    let hour = Expiry::After(Duration::from_secs(3600));
    assert!(vectors.touch(&tenant(), &rest, hour).await.unwrap().is_empty());
    for longer in [Expiry::Never, Expiry::After(Duration::from_secs(7200))] {
        for ids in [&rest[..1], &rest] {
            let refused = vectors.touch(&tenant(), ids, longer).await.unwrap_err();
            assert!(matches!(refused, StorageError::NoSpace { .. }), "{refused}");
        }
    }
    let at_once = Expiry::After(Duration::from_millis(1));
    let some = [rest.clone(), vec!["nobody".to_string(), "nobody".to_string()]].concat();
    assert_eq!(vectors.touch(&tenant(), &some, at_once).await.unwrap(), ["nobody"]);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(vectors.count(&tenant()).await.unwrap(), 0);
    assert!(database.check().await.unwrap().is_ok());
}

#[tokio::test]
async fn given_a_disk_with_less_room_than_writes_need_then_lives_can_be_made_longer() {
    let Some(mount) = Mount::new("size=32m") else { return };
    let database = DatabaseOptions::new().open(mount.path()).await.unwrap();
    assert!(matches!(
        database.vectors("v", DIM, HNSWConfig::fast()).await,
        Err(StorageError::NoSpace { .. })
    ));
    database.close().await.unwrap();
    let options = DatabaseOptions::new().free_bytes_min(1 << 20);
    let database = options.open(mount.path()).await.unwrap();
    let vectors = database.vectors("v", DIM, HNSWConfig::fast()).await.unwrap();
    vectors.insert(entries(3)).await.unwrap();
    drop(vectors);
    database.close().await.unwrap();

    let database = DatabaseOptions::new().open(mount.path()).await.unwrap();
    let vectors = database.vectors("v", DIM, HNSWConfig::fast()).await.unwrap();
    let ids = ["e0".to_string(), "e1".to_string()];
    for expiry in [Expiry::After(Duration::from_secs(60)), Expiry::Never] {
        assert!(vectors.touch(&tenant(), &ids, expiry).await.unwrap().is_empty());
    }
    let refused = vectors.insert(entries(1)).await.unwrap_err();
    assert!(matches!(refused, StorageError::NoSpace { .. }), "{refused}");
}

/// A slot that lies in a hole of its file is not read through memory: the system would look for room, and kill the process.
#[tokio::test]
async fn given_a_full_file_system_in_ram_when_slots_are_used_again_then_writes_fail_and_the_process_lives() {
    let Some(mount) = Mount::new("size=12m") else { return };
    let options = DatabaseOptions::new().free_bytes_min(0).graph_points_min(u64::MAX);
    let database = options.open(mount.path()).await.unwrap();
    let vectors = database.vectors("v", 256, HNSWConfig::fast()).await.unwrap();
    let batch = |name: &str, count: usize| -> Vec<VectorEntry> {
        (0..count)
            .map(|number| VectorEntry::new(format!("{name}-{number}"), vec![1.0; 256]).with_scope(tenant()))
            .collect()
    };
    let other = |name: &str| {
        batch(name, 200)
            .into_iter()
            .map(|entry| entry.with_scope(StateScope::Global))
    };
    let mut stored = 0;
    while vectors.insert(batch(&stored.to_string(), 100)).await.is_ok() {
        stored += 1;
        if stored == 20 {
            vectors.insert(other("dropped").collect()).await.unwrap();
        }
    }
    // When: slots become free, their blocks are given back, and somebody else takes them.
    let _ = vectors.delete_scope(&StateScope::Global).await;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fill(&mount.0.path().join("filler"));
    for round in 0..30 {
        let _ = vectors.insert(batch(&format!("again {round}"), 20)).await;
        let _ = vectors.insert(other(&format!("new {round}")).take(5).collect()).await;
    }
    // Then: it is still here, and so is what was acknowledged.
    assert!(vectors.count(&tenant()).await.unwrap() >= 100 * stored as u64);
}
