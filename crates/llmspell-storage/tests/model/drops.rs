//! What does a search see while its scope is dropped and written again, and others take the space?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llmspell_storage::{
    DatabaseOptions, DistanceMetric, Filter, HNSWConfig, HNSWVectorStorage, VectorEntry, VectorQuery,
};
use serde_json::json;

use crate::program::{DIM, scope, setting};
use crate::store::directory;

const ENTRIES: u16 = 40;

/// Entries of one round: vectors and metadata say which.
fn entries(of: u8, round: usize) -> Vec<VectorEntry> {
    let entry = |number: u16| {
        VectorEntry::new(
            format!("id-{number}"),
            vec![round as f32, f32::from(number), f32::from(of), 1.0],
        )
        .with_scope(scope(of))
        .with_metadata(json!({ "round": round, "number": number }))
    };
    (0..ENTRIES).map(entry).collect()
}

/// Searches until it is told to stop. Every answer is one round, whole, or nothing. Says how many were a round.
async fn search(store: HNSWVectorStorage, is_over: Arc<AtomicBool>, filter: Option<Filter>) -> usize {
    let mut query = VectorQuery::new(vec![0.0; DIM], 100)
        .with_scope(scope(1))
        .with_vectors(true);
    query.filter = filter;
    let mut whole = 0;
    while !is_over.load(Ordering::SeqCst) {
        query.exact = !query.exact;
        let hits = store.search(&query).await.unwrap();
        let Some(first) = hits.first() else { continue };
        assert_eq!(hits.len(), usize::from(ENTRIES), "half a round");
        for hit in &hits {
            let (metadata, vector) = (hit.metadata.as_ref().unwrap(), hit.vector.as_ref().unwrap());
            assert_eq!(metadata["round"], first.metadata.as_ref().unwrap()["round"]);
            assert_eq!(metadata["round"].as_f64().unwrap(), f64::from(vector[0]));
            assert_eq!(vector[2], 1.0, "a vector of another scope");
        }
        whole += 1;
    }
    whole
}

#[test]
fn given_searches_while_a_scope_is_dropped_and_written_again_then_each_sees_one_of_its_lives_or_none() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let dir = directory();
        let options = DatabaseOptions::new().graph_points_min(8).metadata_points_min(8);
        let database = options.open(dir.path().join("db")).await.unwrap();
        let config = HNSWConfig::fast().with_metric(DistanceMetric::Euclidean);
        let store = database.vectors("s", DIM, config).await.unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let searches: Vec<_> = [None, None, Some(Filter::ge("number", 0))]
            .map(|filter| tokio::spawn(search(store.clone(), Arc::clone(&is_over), filter)))
            .into();

        for round in 0..setting("LLMSPELL_DROP_ROUNDS", 150) {
            store.upsert(entries(1, round)).await.unwrap();
            tokio::task::yield_now().await;
            assert_eq!(store.delete_scope(&scope(1)).await.unwrap(), u64::from(ENTRIES));
            // Takes the slots that were just given back.
            store.upsert(entries(2 + (round % 2) as u8, round)).await.unwrap();
            if round % 3 == 0 {
                store.delete_scope(&scope(2)).await.unwrap();
            }
        }

        is_over.store(true, Ordering::SeqCst);
        let mut whole = 0;
        for search in searches {
            whole += search.await.unwrap();
        }
        assert!(whole > 0, "no search met the scope");
        let report = database.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");
    });
}
