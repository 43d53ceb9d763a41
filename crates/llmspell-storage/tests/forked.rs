//! A forked process gets `Closed` at once from its parent's database.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]
#![expect(unsafe_code, reason = "forking is what is tested")]

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use llmspell_storage::{Database, HNSWConfig, HNSWVectorStorage, StateScope, StorageError, VectorEntry, VectorQuery};

/// Drives futures without threads.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future)
}

fn wait_for(path: &Path) {
    let begun = Instant::now();
    while !path.exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `act` in a forked process; it says whether all is as it should be.
fn fork(mut act: impl FnMut() -> bool + Send + Sync + 'static) -> bool {
    let mut command = Command::new("true");
    let run = move || {
        if act() {
            Ok(())
        } else {
            Err(io::Error::other("not as it should be"))
        }
    };
    // SAFETY: a thread may have held a lock of the allocator when the process was forked; the C library lets go of it.
    unsafe { command.pre_exec(run) };
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn given_a_forked_process_then_its_calls_are_refused_at_once_and_it_keeps_nobody_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let database = block_on(Database::open(&path)).unwrap();
    let vectors = block_on(database.vectors("a", 3, HNSWConfig::fast())).unwrap();
    let in_memory = HNSWVectorStorage::new(3, HNSWConfig::fast());
    let entry = || vec![VectorEntry::new("x", vec![1.0, 0.0, 0.0])];
    block_on(vectors.insert(entry())).unwrap();
    block_on(in_memory.insert(entry())).unwrap();
    block_on(database.kv().set("a", vec![1])).unwrap();

    // When: a forked process uses its copies, and then lives on until all is said.
    let (forked, done) = (dir.path().join("forked"), dir.path().join("done"));
    let copies = Arc::new(Mutex::new(Some((database.clone(), vectors.clone(), in_memory.clone()))));
    let child = std::thread::spawn({
        let (forked, done, copies) = (forked.clone(), done.clone(), Arc::clone(&copies));
        move || {
            fork(move || {
                let (database, vectors, in_memory) = copies.lock().unwrap().take().unwrap();
                let query = VectorQuery::new(vec![1.0, 0.0, 0.0], 1);
                let closed = |result: Result<(), StorageError>| matches!(result, Err(StorageError::Closed));
                let good = closed(block_on(database.kv().set("b", vec![2])))
                    && closed(block_on(database.kv().get("a")).map(drop))
                    && closed(block_on(database.stats()).map(drop))
                    && [&vectors, &in_memory].into_iter().all(|vectors| {
                        closed(block_on(vectors.insert(entry())).map(drop))
                            && closed(block_on(vectors.search(&query)).map(drop))
                            && closed(block_on(vectors.count(&StateScope::Global)).map(drop))
                    });
                drop((database, vectors, in_memory));
                std::fs::write(&forked, "").unwrap();
                wait_for(&done);
                good
            })
        }
    });
    wait_for(&forked);
    assert!(forked.exists(), "the forked process came to the end of its calls");

    // Then: the parent goes on, and may close and open again.
    drop(copies.lock().unwrap().take());
    block_on(vectors.upsert(entry())).unwrap();
    drop(vectors);
    block_on(database.close()).unwrap();
    let again = block_on(Database::open(&path));
    std::fs::write(&done, "").unwrap();
    assert_eq!(block_on(again.unwrap().kv().get("a")).unwrap(), Some(vec![1]));
    assert!(child.join().unwrap(), "every call was refused");
}

#[tokio::test]
async fn a_closed_database_refuses_empty_input_too() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).await.unwrap();
    let router = database.router(HNSWConfig::fast()).await.unwrap();
    let vectors = database.vectors("a", 3, HNSWConfig::fast()).await.unwrap();
    let kv = database.kv();
    database.close().await.unwrap();
    let global = StateScope::Global;
    assert!(matches!(vectors.insert(vec![]).await, Err(StorageError::Closed)));
    assert!(matches!(vectors.upsert(vec![]).await, Err(StorageError::Closed)));
    assert!(matches!(
        vectors.delete(&global, [""; 0]).await,
        Err(StorageError::Closed)
    ));
    assert!(matches!(router.insert(vec![]).await, Err(StorageError::Closed)));
    assert!(matches!(
        router.delete(&global, [""; 0]).await,
        Err(StorageError::Closed)
    ));
    assert!(matches!(kv.write(vec![]).await, Err(StorageError::Closed)));
    assert!(matches!(kv.get_batch([""; 0]).await, Err(StorageError::Closed)));
}
