//! Does a quota of entries and metadata hold, for many writers, spaces, and what has expired?

use std::time::Duration;

use llmspell_storage::{Database, HNSWConfig, HNSWVectorStorage, Quota, StorageError};

use super::{DIM, block_on, entries, note, space, user};

/// Writers of batches of three race for room for forty: thirteen batches fit, whole, and not one entry more.
#[test]
fn given_many_writers_when_they_race_for_the_last_place_then_no_batch_is_half_and_the_limit_holds() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path().join("db")).await.unwrap();
        let store = space(&database, "notes", DIM).await;
        database
            .set_quota(&user(0), Quota::new().with_vectors(40))
            .await
            .unwrap();

        let writers: Vec<_> = (0..30)
            .map(|writer| {
                let store = store.clone();
                let batch = entries((0..3).map(|n| format!("{writer}-{n}")), DIM);
                tokio::spawn(async move { store.insert(batch).await })
            })
            .collect();
        let mut stored = Vec::new();
        for writer in writers {
            match writer.await.unwrap() {
                Ok(ids) => stored.extend(ids),
                Err(StorageError::QuotaExceeded {
                    limit: 40,
                    used,
                    asked: 3,
                    ..
                }) => assert!(used > 37),
                Err(other) => panic!("{other}"),
            }
        }

        assert_eq!(stored.len(), 39);
        let mut found: Vec<String> = store
            .list(&user(0), None, 100)
            .await
            .unwrap()
            .into_iter()
            .map(|entry| entry.id)
            .collect();
        stored.sort();
        found.sort();
        assert_eq!(found, stored, "of the others nothing is there");
        assert_eq!(database.quota(&user(0)).await.unwrap().unwrap().used.vectors, 39);
    });
}

#[test]
fn given_scopes_that_hold_nothing_when_all_quotas_are_asked_for_then_theirs_are_among_them() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let database = Database::open(&path).await.unwrap();
        assert_eq!(database.quotas().await.unwrap(), []);
        let quotas = [3, 1, 2].map(|limit| (user(limit), Quota::new().with_vectors(u64::from(limit))));
        for (scope, quota) in &quotas {
            database.set_quota(scope, *quota).await.unwrap();
        }
        let store = space(&database, "notes", DIM).await;
        store.insert(entries(["a".to_string()], DIM)).await.unwrap();
        drop(store);
        database.close().await.unwrap();

        let database = Database::open(&path).await.unwrap();
        let [third, first, second] = quotas;
        assert_eq!(database.quotas().await.unwrap(), [first.clone(), second, third]);
        database.remove_quota(&first.0).await.unwrap();
        assert_eq!(database.quotas().await.unwrap().len(), 2);
    });
}

#[test]
fn given_two_spaces_when_a_scope_fills_them_then_they_share_its_quota_across_restarts() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let database = Database::open(&path).await.unwrap();
        let (small, large) = (space(&database, "small", 2).await, space(&database, "large", 10).await);
        small.insert(entries(["a".into(), "b".into()], 2)).await.unwrap();
        // Two of 8 bytes are there already; one of 40 more fits, and one of 8 after it.
        database
            .set_quota(&user(0), Quota::new().with_vector_bytes(64))
            .await
            .unwrap();
        large.insert(entries(["a".into()], 10)).await.unwrap();
        drop((small, large));
        database.close().await.unwrap();

        let database = Database::open(&path).await.unwrap();
        let (small, large) = (space(&database, "small", 2).await, space(&database, "large", 10).await);
        let refused = large.upsert(entries(["a".into(), "b".into()], 10)).await.unwrap_err();
        let text = "the scope `user:u0` holds 56 of at most 64 bytes of vectors: no room for 40 more";
        assert_eq!(refused.to_string(), text);
        large.upsert(entries(["a".into()], 10)).await.unwrap();
        small.insert(entries(["c".into()], 2)).await.unwrap();
        assert!(small.insert(entries(["d".into()], 2)).await.is_err());
        assert_eq!(
            small
                .stats_for_scope(&user(0))
                .await
                .unwrap()
                .quota
                .unwrap()
                .used
                .vector_bytes,
            64
        );

        // Dropping the scope in one space frees what it held there, and keeps the quota.
        small.delete_scope(&user(0)).await.unwrap();
        let used = database.quota(&user(0)).await.unwrap().unwrap().used;
        assert_eq!((used.vectors, used.vector_bytes), (1, 40));
        assert!(large.insert(entries(["b".into()], 10)).await.is_err());
        small
            .insert(entries(["a".into(), "b".into(), "c".into()], 2))
            .await
            .unwrap();
        // Others are not concerned.
        let others = entries((0..50).map(|n| n.to_string()), 10)
            .into_iter()
            .map(|entry| entry.with_scope(user(1)));
        large.insert(others.collect()).await.unwrap();
        let report = database.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");
    });
}

/// Expired entries are purged about a second later; their room is free at once.
#[test]
fn what_has_expired_does_not_count_before_it_is_purged_either() {
    block_on(async {
        let store = HNSWVectorStorage::new(DIM, HNSWConfig::fast());
        let admin = store.database().unwrap();
        admin.set_quota(&user(0), Quota::new().with_vectors(1)).await.unwrap();
        let brief = entries(["brief".into()], DIM)
            .remove(0)
            .with_ttl(Duration::from_millis(20));
        store.insert(vec![brief]).await.unwrap();
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(admin.quota(&user(0)).await.unwrap().unwrap().used.vectors, 0);
        store.insert(entries(["a".into()], DIM)).await.unwrap();
        assert!(store.insert(entries(["b".into()], DIM)).await.is_err());
        assert_eq!(admin.quota(&user(0)).await.unwrap().unwrap().used.vectors, 1);
    });
}

#[test]
fn metadata_counts_when_it_comes_when_it_changes_and_when_it_goes() {
    block_on(async {
        let store = HNSWVectorStorage::new(DIM, HNSWConfig::fast());
        let admin = store.database().unwrap();
        let entry = |id: &str, bytes| entries([id.into()], DIM).remove(0).with_metadata(note(bytes));
        let used = async || admin.quota(&user(0)).await.unwrap().unwrap().used.metadata_bytes;
        store.insert(vec![entry("a", 60)]).await.unwrap();
        admin
            .set_quota(&user(0), Quota::new().with_metadata_bytes(100))
            .await
            .unwrap();
        assert_eq!(used().await, 60, "what was there is counted");

        let refused = store.insert(vec![entry("b", 41)]).await.unwrap_err();
        let text = "the scope `user:u0` holds 60 of at most 100 bytes of metadata: no room for 41 more";
        assert_eq!(refused.to_string(), text);
        store.insert(vec![entry("b", 40)]).await.unwrap();
        let update = async |id: &str, bytes| {
            let fields = note(bytes).as_object().cloned().unwrap();
            store.update_metadata(&user(0), id, fields).await
        };
        assert!(matches!(
            update("a", 61).await,
            Err(StorageError::QuotaExceeded {
                used: 100,
                asked: 1,
                ..
            })
        ));
        update("a", 20).await.unwrap();
        assert_eq!(used().await, 60);
        store.upsert(vec![entry("b", 80)]).await.unwrap();
        assert!(store.upsert(vec![entry("b", 81)]).await.is_err());
        store.delete(&user(0), ["a"]).await.unwrap();
        assert_eq!(used().await, 80);

        let brief = entry("c", 20).with_ttl(Duration::from_millis(20));
        store.insert(vec![brief]).await.unwrap();
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(used().await, 80, "what has expired does not count");
        store.insert(vec![entry("d", 20)]).await.unwrap();
        assert!(store.insert(vec![entry("e", 12)]).await.is_err());
        store.delete_scope(&user(0)).await.unwrap();
        assert_eq!(used().await, 0);
        let report = admin.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");
    });
}

#[test]
fn what_is_there_already_stays_when_a_quota_is_set_below_it() {
    block_on(async {
        let database = HNSWVectorStorage::new(DIM, HNSWConfig::fast());
        database
            .insert(entries((0..5).map(|n| n.to_string()), DIM))
            .await
            .unwrap();
        let admin = database.database().unwrap();
        admin.set_quota(&user(0), Quota::new().with_vectors(3)).await.unwrap();
        assert_eq!(database.count(&user(0)).await.unwrap(), 5);
        assert!(database.insert(entries(["new".into()], DIM)).await.is_err());
        database.upsert(entries(["0".into()], DIM)).await.unwrap();
        database.delete(&user(0), ["1", "2", "3"]).await.unwrap();
        database.insert(entries(["new".into()], DIM)).await.unwrap();
        assert!(admin.remove_quota(&user(0)).await.unwrap());
        assert!(!admin.remove_quota(&user(0)).await.unwrap());
        assert_eq!(admin.quota(&user(0)).await.unwrap(), None);
        database
            .insert(entries((10..20).map(|n| n.to_string()), DIM))
            .await
            .unwrap();
    });
}
