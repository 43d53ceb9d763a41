//! No filter answers from out-of-date metadata, whatever happens to the file of its index.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llmspell_core::{Metadata, StateScope, VectorEntry, limits::PAGE_MAX};
use proptest::prelude::*;
use serde_json::json;

use super::workload::{Store, block_on};
use crate::disk::sim::{Luck, SimDisk};
use crate::disk::{Disk, DiskFile};
use crate::indexes::files::{self, Kind};
use crate::truth::FIRST_SPACE;

/// How long the indexer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happens to a database.
#[derive(Debug, Clone)]
enum Step {
    /// Entries by their numbers, with this value.
    Upsert(Vec<u8>, u8),
    Update(u8, u8),
    Delete(Vec<u8>),
    /// Drops the scope, and writes an equal one.
    Replace(Vec<u8>),
    /// The graph and the metadata index get their files.
    Index,
    Ask,
    Close,
    /// Acknowledged writes must be there afterwards.
    PowerLoss(u8),
    /// A byte of each file of a metadata index becomes another while the database is closed.
    Damage(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let numbers = || prop::collection::vec(0..12_u8, 1..5);
    prop_oneof![
        6 => (numbers(), 0..6_u8).prop_map(|(numbers, value)| Step::Upsert(numbers, value)),
        4 => (0..12_u8, 0..6_u8).prop_map(|(number, value)| Step::Update(number, value)),
        3 => numbers().prop_map(Step::Delete),
        1 => numbers().prop_map(Step::Replace),
        4 => Just(Step::Index),
        2 => Just(Step::Ask),
        3 => Just(Step::Close),
        2 => any::<u8>().prop_map(Step::PowerLoss),
        1 => any::<u16>().prop_map(Step::Damage),
    ]
}

fn scope() -> StateScope {
    StateScope::User("ada".to_string())
}

fn id(number: u8) -> String {
    format!("id-{number:02}")
}

fn metadata(value: u8) -> Metadata {
    json!({"x": value, "value": 9 - value}).as_object().unwrap().clone()
}

/// A database on a disk, and its expected content.
struct Run {
    disk: SimDisk,
    store: Option<Store>,
    model: BTreeMap<String, u8>,
}

impl Run {
    fn new() -> Self {
        let disk = SimDisk::default();
        let store = Store::open(Arc::new(disk.clone())).unwrap();
        Self {
            disk,
            store: Some(store),
            model: BTreeMap::new(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn upsert(&mut self, numbers: &[u8], value: u8) {
        let ids: std::collections::BTreeSet<u8> = numbers.iter().copied().collect();
        let entry = |number: &u8| {
            VectorEntry::new(id(*number), vec![f32::from(*number), 1.0, 0.0])
                .with_scope(scope())
                .with_metadata(serde_json::Value::Object(metadata(value)))
        };
        let entries = ids.iter().map(entry).collect();
        block_on(self.store().vectors().upsert(entries)).unwrap();
        self.model.extend(ids.into_iter().map(|number| (id(number), value)));
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Store::open(Arc::new(self.disk.clone())).unwrap());
    }

    fn files(&self) -> Vec<String> {
        let dir = files::dir(FIRST_SPACE);
        let mut names = self.disk.list(&dir).unwrap();
        names.retain(|name| name.ends_with(".meta"));
        names.iter().map(|name| format!("{dir}/{name}")).collect()
    }

    /// The indexer may be writing a file that will never be named.
    fn wait_for(&self, what: &str, is_so: impl Fn(&[String]) -> bool) {
        let begun = Instant::now();
        while !is_so(&self.files()) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", self.files());
            std::thread::yield_now();
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Upsert(numbers, value) => self.upsert(numbers, *value),
            Step::Update(number, value) => {
                let updated = block_on(self.store().vectors().update_metadata(
                    &scope(),
                    &id(*number),
                    metadata(*value),
                ));
                assert_eq!(updated.is_ok(), self.model.contains_key(&id(*number)));
                if updated.is_ok() {
                    self.model.insert(id(*number), *value);
                }
            }
            Step::Delete(numbers) => {
                let ids: Vec<String> = numbers.iter().copied().map(id).collect();
                block_on(self.store().vectors().delete(&scope(), &ids)).unwrap();
                self.model.retain(|id, _| !ids.contains(id));
            }
            Step::Replace(numbers) => {
                block_on(self.store().vectors().delete_scope(&scope())).unwrap();
                self.wait_for("the files of a dropped scope go with it", <[String]>::is_empty);
                self.model.clear();
                self.upsert(numbers, 1);
            }
            Step::Index => block_on(self.store().vectors().build_index()).unwrap(),
            Step::Ask => self.ask(),
            Step::Close => {
                self.reopen();
                self.ask();
            }
            Step::PowerLoss(seed) => {
                let luck = match seed % 4 {
                    0 => Luck::Nothing,
                    1 => Luck::Everything,
                    _ => Luck::Some(u64::from(*seed)),
                };
                let image = self.disk.image_at(self.disk.now(), luck);
                self.store = None;
                self.disk = SimDisk::from_image(&image);
                self.reopen();
                self.ask();
            }
            Step::Damage(place) => {
                self.store = None;
                for path in self.files() {
                    damage(&*self.disk.open(&path).unwrap(), *place);
                }
                self.reopen();
                self.ask();
            }
        }
    }

    fn ask(&self) {
        block_on(async {
            let entries = self.store().vectors().list(&scope(), None, PAGE_MAX).await.unwrap();
            let expected = self.model.iter().map(|(id, value)| (id.clone(), metadata(*value)));
            let got = entries
                .iter()
                .map(|entry| (entry.id.clone(), entry.metadata.as_object().unwrap().clone()));
            assert!(got.eq(expected));
            self.store().assert_filtered(&scope(), &entries).await;
        });
        self.store().assert_sound();
        // One, and another that is being written.
        assert!(self.files().len() <= 2, "older files are removed: {:?}", self.files());
    }
}

/// Neither in the zeros after the header, which mean nothing, nor outside.
fn damage(file: &dyn DiskFile, place: u16) {
    let len = file.len().unwrap();
    let covered = len - 4096 + 64;
    let place = u64::from(place) % covered;
    let place = if place < 64 { place } else { place - 64 + 4096 };
    let mut byte = [0];
    file.read_at(place, &mut byte).unwrap();
    file.write_at(place, &[byte[0] ^ 0x10]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn filters_answer_from_the_metadata_of_now_whatever_becomes_of_the_file(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut run = Run::new();
        for step in &steps {
            run.run(step);
        }
        run.ask();
    }
}

/// The namespace of the scope, loaded.
fn namespace(store: &Store) -> Arc<crate::namespace::Namespace> {
    let shared = &store.database.inner.shared;
    let space = shared.space(FIRST_SPACE).unwrap();
    space.load(&shared.truth, &scope()).unwrap().unwrap()
}

/// Twelve entries whose index is in a file.
fn indexed() -> Run {
    let mut run = Run::new();
    run.upsert(&(0..12).collect::<Vec<_>>(), 1);
    run.run(&Step::Index);
    assert_eq!(run.files().len(), 1);
    run
}

#[test]
fn given_a_file_when_a_filter_asks_after_opening_then_its_index_is_that_of_the_file_and_what_changed() {
    let mut run = indexed();
    run.run(&Step::Update(3, 2));
    run.run(&Step::Delete(vec![4]));
    let image = run.disk.image_at(run.disk.now(), Luck::Everything);
    run.store = None;
    run.disk = SimDisk::from_image(&image);
    run.reopen();
    let before = namespace(run.store()).state();
    let file = before.files.get(Kind::Metadata).expect("the truth names it");
    assert_eq!(file.changed.iter().collect::<Vec<_>>(), [3, 4]);
    assert!(before.metadata.is_none(), "nobody asked");

    run.ask();
    let namespace = namespace(run.store());
    let state = namespace.state();
    assert!(!state.files.get(Kind::Metadata).unwrap().is_bad);
    let index = state.metadata.as_ref().expect("a filter asked");
    assert_eq!((index.points().len(), index.distrusted_count()), (11, 0));
}

#[test]
fn given_a_damaged_file_when_a_filter_asks_then_it_is_made_anew_at_the_next_chance() {
    let mut run = indexed();
    let damaged = run.files();
    run.store = None;
    damage(&*run.disk.open(&damaged[0]).unwrap(), 4_000);
    run.reopen();
    let report = block_on(run.store().database.check()).unwrap();
    let notes: Vec<&String> = report.sections.iter().flat_map(|section| &section.notes).collect();
    assert!(
        report.is_ok() && notes.len() == 1 && notes[0].contains("damaged"),
        "{report:?}"
    );

    run.ask();
    run.wait_for("another file", |files| files.len() == 1 && files != damaged);
    run.run(&Step::Close);
    let state = namespace(run.store()).state();
    assert!(!state.files.get(Kind::Metadata).unwrap().is_bad);
}

#[test]
fn given_power_lost_anywhere_while_a_file_is_written_and_named_then_filters_are_right() {
    let mut run = indexed();
    let before = run.disk.now();
    run.run(&Step::Upsert(vec![0, 1, 2, 3, 4], 3));
    // By now the file may be under way, or even be there: the indexer does not wait to be asked.
    let begun = run.disk.now();
    run.run(&Step::Index);
    let end = run.disk.now();
    let mut boundaries = run.disk.sync_boundaries();
    boundaries.retain(|time| (before..=end).contains(time));
    assert!(
        boundaries.len() > 6,
        "slots and rows are synced, the file too, its directory, and the rows that name it"
    );
    for time in boundaries.into_iter().filter(|time| *time >= begun) {
        for luck in [Luck::Nothing, Luck::Everything, Luck::Some(1), Luck::Some(2)] {
            let disk = SimDisk::from_image(&run.disk.image_at(time, luck));
            let mut later = Run {
                disk,
                store: None,
                model: run.model.clone(),
            };
            later.reopen();
            later.ask();
        }
    }
}
