//! Is a patch of metadata lost where several change one entry at once? Each by a thread of its own.

use std::sync::{Arc, Barrier};

use llmspell_storage::{
    Database, DimensionRouter, EmbeddingModel, HNSWConfig, Metadata, StateScope, VectorEntry, VectorStorage,
};
use serde_json::{Map, Value, json};

const THREADS: usize = 4;
const PATCHES: usize = 50;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn scope() -> StateScope {
    StateScope::user("ada")
}

fn fields(value: &Value) -> Metadata {
    value.as_object().cloned().expect("an object")
}

/// Every thread sets fields of its own, one by one, and one that all share.
fn no_patch_is_lost(store: &Arc<dyn VectorStorage>) {
    block_on(async {
        let entry = VectorEntry::new("doc", vec![1.0, 2.0, 3.0]).with_scope(scope());
        let entry = entry.with_metadata(json!({"kept": true}));
        store.insert(vec![entry]).await.expect("it is inserted");
    });
    let begin = Barrier::new(THREADS);
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            let begin = &begin;
            threads.spawn(move || {
                begin.wait();
                for number in 0..PATCHES {
                    let own = json!({"of": {format!("{thread}"): {format!("{number}"): number}}, "last": thread});
                    block_on(store.patch_metadata(&scope(), "doc", fields(&own))).expect("it is patched");
                }
            });
        }
    });
    let found = block_on(store.get(&scope(), "doc"))
        .expect("it is read")
        .expect("it is there");
    let of_thread: Map<String, Value> = (0..PATCHES).map(|number| (number.to_string(), number.into())).collect();
    let expected: Map<String, Value> = (0..THREADS)
        .map(|thread| (thread.to_string(), of_thread.clone().into()))
        .collect();
    assert_eq!(found.metadata["of"], Value::from(expected), "a patch is lost");
    assert_eq!(found.metadata["kept"], true);
    assert!(
        found.metadata["last"]
            .as_u64()
            .is_some_and(|last| last < THREADS as u64)
    );
}

#[test]
fn no_patch_is_lost_in_a_space_on_the_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = block_on(async {
        let database = Database::open(dir.path()).await.expect("it opens");
        database.vectors("notes", 3, HNSWConfig::fast()).await.expect("a space")
    });
    no_patch_is_lost(&(Arc::new(store) as _));
}

#[test]
fn no_patch_is_lost_in_memory() {
    let store = block_on(Database::in_memory().vectors("notes", 3, HNSWConfig::fast())).expect("a space");
    no_patch_is_lost(&(Arc::new(store) as _));
}

#[test]
fn no_patch_is_lost_by_a_router() {
    let router = DimensionRouter::new(HNSWConfig::fast());
    block_on(router.register_model(EmbeddingModel::new("small", 3))).expect("a model");
    no_patch_is_lost(&(Arc::new(router) as _));
}

#[test]
fn no_patch_is_lost_through_handles_of_one_scope() {
    let store = block_on(Database::in_memory().vectors("notes", 3, HNSWConfig::fast())).expect("a space");
    let handle = store.scoped(scope()).expect("a handle");
    no_patch_is_lost(&(Arc::new(handle) as _));
}
