//! Kills of a router while entries move between its spaces, and while spaces are replaced.
//!
//! The vector of an entry determines its model: an upsert with another vector may move it. One of the models is
//! migrated to a successor, which makes the same vectors, and back, in a loop. Another model is registered and dropped
//! with its space, in a loop: the remains of a kill are dropped when the store is opened. Every other batch of one
//! scope is written by the handle of that scope, which first tries a model of its own: it must never be registered.

use std::time::Duration;

use llmspell_storage::{
    DimensionRouter, EmbeddingModel, HNSWConfig, OnExisting, Result, ScopedVectors, StateScope, StorageError,
    VectorEntry,
};

/// Models that are never removed, and their dimensions.
const STAYING: [(&str, usize); 2] = [("small", 16), ("other of 16", 16)];
/// Two names of the model that is migrated from one to the other.
const WANDERING: [&str; 2] = ["wandering", "wandering back"];
const WANDERING_DIM: usize = 96;
/// How long a migration waits for the next.
const PAUSE: Duration = Duration::from_millis(20);

/// The model that is registered and dropped. Its dimension changes, so nothing may remain of the earlier space.
const PASSING: &str = "passing";
const PASSING_DIMS: [usize; 2] = [24, 40];
/// Entries of its space: more than one step of the purge takes.
const PASSING_ENTRIES: usize = 600;

/// A model that only handles of one scope describe, and its dimension.
const OF_A_HANDLE: (&str, usize) = ("of a handle", 7);

/// Components of the vector that is made from a number.
pub(super) fn dim(seed: u32) -> usize {
    STAYING.get(place(seed)).map_or(WANDERING_DIM, |(_, dim)| *dim)
}

fn place(seed: u32) -> usize {
    seed as usize % (STAYING.len() + 1)
}

/// The router of a database, which knows its models.
pub(super) async fn open(database: &llmspell_storage::Database) -> Result<DimensionRouter> {
    let router = database.router(HNSWConfig::fast()).await?;
    for (name, dim) in STAYING {
        router.register_model(EmbeddingModel::new(name, dim)).await?;
    }
    if wandering(&router).is_none() {
        router
            .register_model(EmbeddingModel::new(WANDERING[0], WANDERING_DIM))
            .await?;
    }
    if router.models().iter().any(|model| model.name == PASSING) {
        expect_whole(&router).await?;
        router.drop_space(PASSING).await?;
    }
    expect_nothing(&router).await?;
    let is_known = router.models().iter().any(|model| model.name == OF_A_HANDLE.0);
    assert!(!is_known, "the handle of a scope made a model known");
    Ok(router)
}

fn passing_scope() -> StateScope {
    StateScope::Custom("passing:all".to_string())
}

/// Checks that the batch of its space is there, or was not written yet.
async fn expect_whole(router: &DimensionRouter) -> Result<()> {
    let count = router.count(&passing_scope()).await?;
    assert!(
        [0, PASSING_ENTRIES as u64].contains(&count),
        "{count} of {PASSING_ENTRIES} entries of the model `{PASSING}` are there"
    );
    Ok(())
}

/// Checks that nothing of its space is visible any more.
async fn expect_nothing(router: &DimensionRouter) -> Result<()> {
    let count = router.count(&passing_scope()).await?;
    let is_listed = router.scopes().await?.contains(&passing_scope());
    let is_known = router.models().iter().any(|model| model.name == PASSING);
    assert!(
        count == 0 && !is_listed && !is_known,
        "of the model `{PASSING}` that was dropped: {count} entries, scope listed: {is_listed}, known: {is_known}"
    );
    Ok(())
}

/// Registers a model, writes entries of it, and drops its space, in a loop.
pub(super) async fn keep_dropping(router: DimensionRouter, tell: impl Fn(String)) {
    for dim in PASSING_DIMS.into_iter().cycle() {
        if let Err(error) = come_and_go(&router, dim).await {
            tell(format!("the space of the model `{PASSING}`: {error:#}"));
            return;
        }
    }
}

async fn come_and_go(router: &DimensionRouter, dim: usize) -> Result<()> {
    router.register_model(EmbeddingModel::new(PASSING, dim)).await?;
    let entry = |number: usize| {
        let vector = vec![1.0 + number as f32; dim];
        VectorEntry::new(format!("passing-{number}"), vector)
            .with_scope(passing_scope())
            .with_model(PASSING)
    };
    router.insert((0..PASSING_ENTRIES).map(entry).collect()).await?;
    expect_whole(router).await?;
    router.drop_space(PASSING).await?;
    expect_nothing(router).await?;
    std::thread::sleep(PAUSE);
    Ok(())
}

/// The current name of the model that is migrated.
fn wandering(router: &DimensionRouter) -> Option<&'static str> {
    let models = router.models();
    let is_known = |name: &&str| models.iter().any(|model| model.name == *name);
    WANDERING.into_iter().find(is_known)
}

/// Writes entries made of numbers, each to the space of its model.
pub(super) async fn write(
    router: &DimensionRouter,
    entries: Vec<(u32, VectorEntry)>,
    on_existing: OnExisting,
) -> Result<Vec<String>> {
    let handle = handle_for(router, &entries)?;
    loop {
        let last = wandering(router).unwrap_or(WANDERING[0]);
        let named = |(seed, entry): (u32, VectorEntry)| {
            let model = STAYING.get(place(seed)).map_or(last, |(name, _)| *name);
            entry.with_model(model)
        };
        let entries: Vec<VectorEntry> = entries.iter().cloned().map(named).collect();
        let written = match &handle {
            Some(handle) => {
                try_own_model(handle, &entries[0]).await;
                handle.write(entries, on_existing).await
            }
            None => router.write(entries, on_existing).await,
        };
        match written {
            // It was replaced a moment ago.
            Err(StorageError::UnknownModel { .. }) => {}
            done => return done,
        }
    }
}

/// For every other batch with a single scope: the handle of that scope.
fn handle_for(router: &DimensionRouter, entries: &[(u32, VectorEntry)]) -> Result<Option<ScopedVectors>> {
    let first = entries.first().filter(|(seed, _)| (seed >> 8) % 2 == 0);
    let is_one = |scope: &&StateScope| entries.iter().all(|(_, entry)| entry.scope == **scope);
    let scope = first.map(|(_, entry)| &entry.scope).filter(is_one);
    scope.map(|scope| router.scoped(scope.clone())).transpose()
}

/// Writes an entry of a model that the handle describes, beside a good one: both are refused.
async fn try_own_model(handle: &ScopedVectors, good: &VectorEntry) {
    let (name, dim) = OF_A_HANDLE;
    let own = VectorEntry::new(name, vec![1.0; dim]).with_model(EmbeddingModel::new(name, dim));
    let answer = handle.write(vec![good.clone(), own], OnExisting::Replace).await;
    assert!(
        matches!(answer, Err(StorageError::UnknownModel { .. })),
        "an entry of a model that a handle described was answered by {answer:?}"
    );
}

/// Migrates in a loop.
pub(super) async fn keep_migrating(router: DimensionRouter, tell: impl Fn(String)) {
    loop {
        let from = wandering(&router).unwrap_or(WANDERING[0]);
        let to = WANDERING.into_iter().find(|name| *name != from).unwrap_or(WANDERING[1]);
        let same = async |entries: Vec<VectorEntry>| {
            Ok::<_, StorageError>(entries.into_iter().map(|entry| entry.embedding).collect())
        };
        let model = EmbeddingModel::new(to, WANDERING_DIM);
        if let Err(error) = router.migrate_space(from, model, same).await {
            tell(format!("migration from {from}: {error:#}"));
            return;
        }
        std::thread::sleep(PAUSE);
    }
}
