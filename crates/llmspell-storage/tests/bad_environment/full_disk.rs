//! What of a file system that is full, or read-only? Nothing acknowledged is lost, and what frees room works.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use llmspell_storage::{
    Database, DatabaseOptions, ErrorKind, Expiry, HNSWConfig, KeyValueWrite, StateScope, StorageError, VectorEntry,
};
use serde_json::json;

use super::{DIM, entries, make, tenant};

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
