//! Power is lost while handles for one scope write entries of the models of a router, and try models of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use llmspell_core::{EmbeddingModel, HNSWConfig, ModelRef, StateScope, StorageError, VectorEntry, limits::PAGE_MAX};

use super::workload::block_on;
use crate::api::router::DimensionRouter;
use crate::base::options::DatabaseOptions;
use crate::disk::sim::{Luck, SimDisk};
use crate::engine::Database;

/// Models of the router, and their components.
const MODELS: [(&str, usize); 2] = [("even", 4), ("odd", 3)];

/// What can be seen.
#[derive(Debug, Clone, Default, PartialEq)]
struct Content {
    models: BTreeSet<String>,
    /// Scope, id → model, first component.
    entries: BTreeMap<(StateScope, String), (String, f32)>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Register(usize),
    /// The handle of a user writes an entry of a model, which may have been one of another.
    Write(&'static str, &'static str, usize, f32),
    /// It writes an entry of a known model and one of a model of its own.
    Own(&'static str),
    Delete(&'static str, &'static str),
    Clear(&'static str),
}

const STEPS: [Step; 13] = [
    Step::Register(0),
    Step::Register(1),
    Step::Write("ada", "x", 0, 1.0),
    Step::Own("ada"),
    Step::Write("bob", "x", 1, 2.0),
    Step::Write("ada", "x", 1, 3.0),
    Step::Own("bob"),
    Step::Write("ada", "y", 0, 4.0),
    Step::Delete("ada", "x"),
    Step::Clear("bob"),
    Step::Write("bob", "z", 0, 5.0),
    Step::Own("ada"),
    Step::Clear("ada"),
];

fn user(name: &str) -> StateScope {
    StateScope::User(name.to_string())
}

fn vector(dim: usize, x: f32) -> Vec<f32> {
    let mut vector = vec![1.0; dim];
    vector[0] = x;
    vector
}

fn entry(id: &str, (model, dim): (&str, usize), x: f32) -> VectorEntry {
    VectorEntry::new(id, vector(dim, x)).with_model(model)
}

fn open(disk: SimDisk) -> (Database, DimensionRouter) {
    let database = Database::open_on(Arc::new(disk), &DatabaseOptions::new()).unwrap();
    let router = block_on(database.router(HNSWConfig::fast())).unwrap();
    (database, router)
}

fn run(router: &DimensionRouter, step: Step) {
    let handle = |name| router.scoped(user(name)).unwrap();
    block_on(async {
        match step {
            Step::Register(number) => {
                let (name, dim) = MODELS[number];
                router.register_model(EmbeddingModel::new(name, dim)).await.unwrap();
            }
            Step::Write(name, id, model, x) => {
                let written = handle(name).upsert(vec![entry(id, MODELS[model], x)]).await;
                assert_eq!(written.unwrap(), [id]);
            }
            Step::Own(name) => {
                let own = VectorEntry::new("own", vector(5, 1.0)).with_model(EmbeddingModel::new("own", 5));
                let refused = handle(name).upsert(vec![entry("known", MODELS[0], 1.0), own]).await;
                assert!(matches!(refused, Err(StorageError::UnknownModel { .. })), "{refused:?}");
            }
            Step::Delete(name, id) => assert_eq!(handle(name).delete(&[id.to_string()]).await.unwrap(), 1),
            Step::Clear(name) => assert_eq!(handle(name).clear().await.unwrap(), 1),
        }
    });
}

impl Content {
    fn after(&self, step: Step) -> Self {
        let mut content = self.clone();
        match step {
            Step::Register(number) => drop(content.models.insert(MODELS[number].0.to_string())),
            Step::Write(name, id, model, x) => {
                let value = (MODELS[model].0.to_string(), x);
                content.entries.insert((user(name), id.to_string()), value);
            }
            Step::Own(_) => {}
            Step::Delete(name, id) => drop(content.entries.remove(&(user(name), id.to_string()))),
            Step::Clear(name) => content.entries.retain(|(scope, _), _| *scope != user(name)),
        }
        content
    }

    fn of(router: &DimensionRouter) -> Self {
        let models = router.models().into_iter().map(|model| model.name).collect();
        let mut entries = BTreeMap::new();
        block_on(async {
            for scope in router.scopes().await.unwrap() {
                let page = router.list(&scope, None, PAGE_MAX).await.unwrap();
                assert!(!page.is_empty(), "a scope without entries is none: {scope}");
                for entry in page {
                    let model = entry.model.as_ref().map(ModelRef::name).unwrap_or_default();
                    let value = (model.to_string(), entry.embedding[0]);
                    entries.insert((scope.clone(), entry.id), value);
                }
            }
        });
        Self { models, entries }
    }
}

#[test]
fn given_power_lost_while_handles_write_when_reopened_then_all_is_there_and_no_model_that_a_handle_described() {
    let disk = SimDisk::default();
    let (database, router) = open(disk.clone());
    let mut contents = vec![Content::default()];
    let (mut begun, mut acknowledged) = (Vec::new(), Vec::new());
    for step in STEPS {
        begun.push(disk.now());
        run(&router, step);
        acknowledged.push(disk.now());
        contents.push(contents.last().unwrap().after(step));
    }
    assert_eq!(&Content::of(&router), contents.last().unwrap(), "without any loss");
    drop((router, database));

    for time in disk.sync_boundaries() {
        let before = |times: &[usize]| times.iter().filter(|moment| **moment <= time).count();
        let possible = &contents[before(&acknowledged)..=before(&begun)];
        for luck in [Luck::Nothing, Luck::Everything, Luck::Some(1), Luck::Some(2)] {
            let (database, router) = open(SimDisk::from_image(&disk.image_at(time, luck)));
            let found = Content::of(&router);
            let place = format!("power lost at operation {time}, {luck:?}");
            assert!(
                possible.contains(&found),
                "{place}: found {found:?}, which is none of {possible:?}"
            );
            let report = block_on(database.check()).unwrap();
            assert!(report.is_ok(), "{place}: {report:#?}");
        }
    }
}
