//! Quotas older than the counting of metadata are read, and their metadata is counted.

use llmspell_core::{HNSWConfig, Quota, StateScope, StorageError, VectorEntry};
use serde_json::json;

use super::workload::block_on;
use crate::api::vectors::HNSWVectorStorage;

#[test]
fn given_a_quota_of_version_1_when_the_scope_is_used_then_its_metadata_was_counted() {
    let vectors = HNSWVectorStorage::new(2, HNSWConfig::fast());
    let database = vectors.database().unwrap();
    let scope = StateScope::User("ada".to_string());
    let entry = |id: &str| {
        VectorEntry::new(id, vec![1.0, 2.0])
            .with_scope(scope.clone())
            .with_metadata(json!({ "a": "12345" }))
    };
    block_on(async {
        let quota = Quota::new().with_vectors(9).with_kv_bytes(5);
        vectors.insert(vec![entry("1"), entry("2")]).await.unwrap();
        database.set_quota(&scope, quota).await.unwrap();
        let status = database.quota(&scope).await.unwrap().unwrap();
        let write_old_row = || {
            let txn = database.inner.shared.truth.write().unwrap();
            let mut rows = txn.rows();
            rows.set_quota_of_version_1(&scope, &status).unwrap();
            drop(rows);
            txn.commit().unwrap();
        };

        write_old_row();
        assert_eq!(database.quota(&scope).await.unwrap(), Some(status));
        assert_eq!(status.used.metadata_bytes, 2 * 13);
        let report = database.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");

        database
            .set_quota(&scope, quota.with_metadata_bytes(3 * 13))
            .await
            .unwrap();
        vectors.insert(vec![entry("3")]).await.unwrap();
        let refused = vectors.insert(vec![entry("4")]).await;
        assert!(
            matches!(refused, Err(StorageError::QuotaExceeded { used: 39, .. })),
            "{refused:?}"
        );

        write_old_row();
        vectors.delete(&scope, &["1".to_string()]).await.unwrap();
        let used = database.quota(&scope).await.unwrap().unwrap().used;
        assert_eq!(used.metadata_bytes, 2 * 13, "it was counted before the deletion was");
    });
}
