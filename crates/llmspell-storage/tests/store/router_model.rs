//! Random programs: the router answers like one sorted map, whatever is moved and replaced.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::{BTreeMap, BTreeSet};

use llmspell_storage::{
    DatabaseOptions, DimensionRouter, EmbeddingModel, Filter, HNSWConfig, ModelSpace, StateScope, StorageError,
    VectorEntry, VectorQuery,
};
use proptest::prelude::*;
use serde_json::json;

/// Models by their numbers: dimension, and what of it is stored.
const MODELS: [(usize, usize); 5] = [(2, 2), (3, 3), (3, 3), (6, 4), (8, 8)];
const IDS: u8 = 12;
const SCOPES: u8 = 2;

#[derive(Debug, Clone)]
enum Step {
    Write {
        /// Id, scope, model and seed of the vector.
        entries: Vec<(u8, u8, usize, u8)>,
        is_upsert: bool,
    },
    Delete(u8, Vec<u8>),
    DeleteMatching(u8, u8),
    Metadata(u8, u8, u8),
    DropScope(u8),
    /// The space of one model becomes one of another.
    Migrate(usize, usize),
    /// The same, and the embedding fails after so many pages; it goes on later, if it is asked for again.
    MigrateInPart(usize, usize, u8),
    BuildIndex,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let (id, scope, model) = (0..IDS, 0..SCOPES, 0..MODELS.len());
    let entry = (id.clone(), scope.clone(), model.clone(), any::<u8>());
    prop_oneof![
        8 => (prop::collection::vec(entry, 1..6), any::<bool>())
            .prop_map(|(entries, is_upsert)| Step::Write { entries, is_upsert }),
        2 => (scope.clone(), prop::collection::vec(id.clone(), 1..4)).prop_map(|(scope, ids)| Step::Delete(scope, ids)),
        1 => (scope.clone(), 0_u8..3).prop_map(|(scope, tag)| Step::DeleteMatching(scope, tag)),
        2 => (scope.clone(), id, any::<u8>()).prop_map(|(scope, id, seed)| Step::Metadata(scope, id, seed)),
        1 => scope.prop_map(Step::DropScope),
        2 => (model.clone(), model.clone()).prop_map(|(from, to)| Step::Migrate(from, to)),
        1 => (model.clone(), model, 0_u8..2).prop_map(|(from, to, pages)| Step::MigrateInPart(from, to, pages)),
        1 => Just(Step::BuildIndex),
        1 => Just(Step::Reopen),
    ]
}

/// What must be there: model, vector as it was given, tag.
type Model = BTreeMap<(StateScope, String), (usize, Vec<f32>, u8)>;

fn name(model: usize) -> String {
    format!("model-{model}")
}

fn model(number: usize) -> ModelSpace {
    let (dim, stored) = MODELS[number];
    let mut model = EmbeddingModel::new(name(number), dim);
    if stored < dim {
        model = model.with_matryoshka([stored]);
    }
    ModelSpace::new(model).with_store_dim(stored)
}

fn scope(number: u8) -> StateScope {
    match number {
        0 => StateScope::Global,
        number => StateScope::User(number.to_string()),
    }
}

fn vector(model: usize, seed: u8) -> Vec<f32> {
    let component =
        |place: usize| f32::from(seed.wrapping_mul(37).wrapping_add((place as u8).wrapping_mul(91))) - 127.5;
    (0..MODELS[model].0).map(component).collect()
}

/// What a model makes of an entry: its id says it all.
fn made(model: usize, id: &str) -> Vec<f32> {
    vector(
        model,
        id.bytes().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)),
    )
}

fn kept(model: usize, vector: &[f32]) -> Vec<f32> {
    let (dim, stored) = MODELS[model];
    if dim == stored {
        return vector.to_vec();
    }
    let norm = vector[..stored]
        .iter()
        .map(|c| f64::from(*c).powi(2))
        .sum::<f64>()
        .sqrt();
    vector[..stored].iter().map(|c| (f64::from(*c) / norm) as f32).collect()
}

fn tag(seed: u8) -> u8 {
    seed % 3
}

async fn open(directory: &std::path::Path) -> DimensionRouter {
    let options = DatabaseOptions::new().graph_points_min(4).metadata_points_min(2);
    let database = options.open(directory).await.unwrap();
    database.router(HNSWConfig::fast().with_ef_search(1_000)).await.unwrap()
}

/// Whether the model can be written to: it is known, or can be.
fn is_known(router: &DimensionRouter, number: usize) -> bool {
    router.models().iter().any(|model| model.name == name(number))
}

async fn write(router: &DimensionRouter, expected: &mut Model, entries: &[(u8, u8, usize, u8)], is_upsert: bool) {
    let mut batch = Vec::new();
    let mut after = expected.clone();
    let mut is_new = true;
    for (id, of, number, seed) in entries {
        let (id, of) = (format!("{id:02}"), scope(*of));
        let entry = VectorEntry::new(id.clone(), vector(*number, *seed))
            .with_scope(of.clone())
            .with_model(name(*number))
            .with_metadata(json!({"tag": tag(*seed)}));
        batch.push(entry);
        let key = (of, id);
        is_new &= !expected.contains_key(&key);
        after.insert(key, (*number, vector(*number, *seed), tag(*seed)));
    }
    let keys: BTreeSet<_> = batch.iter().map(|entry| (&entry.scope, &entry.id)).collect();
    let is_twice = keys.len() < batch.len();
    let all_known = entries.iter().all(|(_, _, number, _)| is_known(router, *number));
    let written = match is_upsert {
        true => router.upsert(batch).await,
        false => router.insert(batch).await,
    };
    match written {
        Ok(_) => {
            assert!(all_known && !is_twice && (is_upsert || is_new));
            *expected = after;
        }
        Err(StorageError::UnknownModel { .. }) => assert!(!all_known),
        Err(StorageError::DuplicateId { .. }) => assert!(is_twice),
        Err(StorageError::IdExists { .. }) => assert!(!is_upsert && !is_new),
        Err(error) => panic!("{error}"),
    }
}

async fn migrate(router: &DimensionRouter, expected: &mut Model, (from, to): (usize, usize), pages: Option<u8>) {
    let is_possible = is_known(router, from) && !is_known(router, to);
    let mut left = pages;
    let embed = |entries: Vec<VectorEntry>| {
        let fails = left == Some(0);
        left = left.map(|left| left.saturating_sub(1));
        async move {
            match fails {
                true => Err("no more"),
                false => Ok(entries.iter().map(|entry| made(to, &entry.id)).collect()),
            }
        }
    };
    let migrated = router.migrate_space(&name(from), model(to), embed).await;
    match migrated {
        Ok(report) if is_possible => {
            for ((_, id), (number, vector, _)) in expected.iter_mut().filter(|(_, entry)| entry.0 == from) {
                (*number, *vector) = (to, made(to, id));
            }
            assert!(report.embedded >= report.copied);
        }
        // Asked for again after it was done: the old one is gone, the new one is there.
        Ok(report) => assert!(report.embedded == 0 && !is_known(router, from) && is_known(router, to)),
        Err(StorageError::Embedding { .. }) => assert!(pages.is_some() && is_possible),
        Err(StorageError::UnknownSpace { .. }) => assert!(!is_known(router, from)),
        Err(StorageError::SpaceMismatch { .. }) => assert!(is_known(router, from)),
        Err(error) => panic!("{error}"),
    }
}

async fn check(router: &DimensionRouter, expected: &Model) {
    for number in 0..SCOPES {
        let of = scope(number);
        let owed: Vec<_> = expected.iter().filter(|((scope, _), _)| *scope == of).collect();
        assert_eq!(router.count(&of).await.unwrap(), owed.len() as u64);
        let listed = router.list(&of, None, 100).await.unwrap();
        assert_eq!(listed.len(), owed.len());
        for (entry, ((_, id), (number, vector, tag))) in listed.iter().zip(&owed) {
            assert_eq!(&entry.id, id);
            assert_eq!(entry.model.as_ref().unwrap().name(), name(*number));
            assert_eq!(entry.embedding, kept(*number, vector));
            assert_eq!(entry.metadata["tag"], *tag);
            assert_eq!(router.get(&of, id).await.unwrap().as_ref(), Some(entry));
        }
        for tag in 0_u8..3 {
            let count = owed.iter().filter(|(_, entry)| entry.2 == tag).count() as u64;
            assert_eq!(
                router.count_matching(&of, &Filter::eq("tag", tag)).await.unwrap(),
                count
            );
        }
        for model in (0..MODELS.len()).filter(|model| is_known(router, *model)) {
            let of_model = || owed.iter().filter(|(_, entry)| entry.0 == model);
            for query in [vector(model, 3), vector(model, 200)] {
                let query = VectorQuery::new(query, 50)
                    .with_model(name(model))
                    .with_scope(of.clone());
                for query in [query.clone().with_exact(true), query] {
                    let mut found: Vec<String> = router
                        .search(&query)
                        .await
                        .unwrap()
                        .into_iter()
                        .map(|hit| hit.id)
                        .collect();
                    found.sort();
                    assert_eq!(found, of_model().map(|((_, id), _)| id.clone()).collect::<Vec<_>>());
                }
            }
        }
    }
}

async fn run(steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let mut router = open(directory.path()).await;
    for number in 0..3 {
        router.register_model(model(number)).await.unwrap();
    }
    let mut expected = Model::new();
    for step in steps {
        match step {
            Step::Write { entries, is_upsert } => write(&router, &mut expected, &entries, is_upsert).await,
            Step::Delete(of, ids) => {
                let ids: BTreeSet<String> = ids.iter().map(|id| format!("{id:02}")).collect();
                let gone = ids
                    .iter()
                    .filter(|id| expected.remove(&(scope(of), (*id).clone())).is_some())
                    .count();
                let ids: Vec<String> = ids.into_iter().collect();
                assert_eq!(router.delete(&scope(of), &ids).await.unwrap(), gone as u64);
            }
            Step::DeleteMatching(of, tag) => {
                let before = expected.len();
                expected.retain(|(owner, _), entry| *owner != scope(of) || entry.2 != tag);
                let gone = router
                    .delete_matching(&scope(of), &Filter::eq("tag", tag))
                    .await
                    .unwrap();
                assert_eq!(gone, (before - expected.len()) as u64);
            }
            Step::Metadata(of, id, seed) => {
                let metadata = json!({"tag": tag(seed)}).as_object().unwrap().clone();
                let id = format!("{id:02}");
                let updated = router.update_metadata(&scope(of), &id, metadata).await;
                match expected.get_mut(&(scope(of), id)) {
                    Some(entry) => {
                        updated.unwrap();
                        entry.2 = tag(seed);
                    }
                    None => assert!(matches!(updated, Err(StorageError::NotFound { .. }))),
                }
            }
            Step::DropScope(of) => {
                let before = expected.len();
                expected.retain(|(owner, _), _| *owner != scope(of));
                assert_eq!(
                    router.delete_scope(&scope(of)).await.unwrap(),
                    (before - expected.len()) as u64
                );
            }
            Step::Migrate(from, to) => migrate(&router, &mut expected, (from, to), None).await,
            Step::MigrateInPart(from, to, pages) => migrate(&router, &mut expected, (from, to), Some(pages)).await,
            Step::BuildIndex => router.build_index().await.unwrap(),
            Step::Reopen => {
                router.close().await.unwrap();
                router = open(directory.path()).await;
            }
        }
        check(&router, &expected).await;
    }
    let report = router.database().check().await.unwrap();
    assert!(report.is_ok(), "{report:?}");
}

fn cases() -> u32 {
    let wanted = std::env::var("LLMSPELL_MODEL_CASES").ok();
    wanted.and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_router_answers_like_a_map_whatever_happened_before(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(run(steps));
    }
}
