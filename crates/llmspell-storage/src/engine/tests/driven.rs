//! A database whose committer the test itself drives: its steps come in one order.

use std::collections::BTreeMap;
use std::sync::Arc;

use llmspell_core::{HNSWConfig, OnExisting, Result, StateScope, Timestamp};
use tokio::sync::oneshot::{self, Receiver};

use crate::base::ids::SpaceId;
use crate::base::options::DatabaseOptions;
use crate::base::stored_text::{OwnText, StoredText};
use crate::disk::Disk;
use crate::engine::calls::{DeleteEntries, OpenSpace};
use crate::engine::committer::CommitEngine;
use crate::engine::open;
use crate::engine::request::{Entries, Opening, Part, PreparedEntry, Request, Spaces};
use crate::engine::shared::Shared;
use crate::engine::writer::Writer;
use crate::indexes::texts::Words;
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;
use crate::truth::{FIRST_SPACE, SpaceRecord, Truth};

/// The database, its space, and its committer.
pub(super) struct Driven {
    pub(super) shared: Arc<Shared>,
    pub(super) space: Arc<Space>,
    pub(super) writer: Writer,
}

pub(super) fn ada() -> StateScope {
    StateScope::User("ada".to_string())
}

pub(super) fn bob() -> StateScope {
    StateScope::User("bob".to_string())
}

pub(super) fn entry(scope: &StateScope, id: &str, x: f32) -> PreparedEntry {
    PreparedEntry {
        scope: scope.clone(),
        id: id.to_string(),
        vector: vec![x, 1.0],
        text: StoredText::new(Some(OwnText::Text(format!("text of {id}"))), BTreeMap::new()),
        words: Words::None,
        metadata: b"{}".to_vec(),
        fields: None,
        created_at: None,
        updated_at: Timestamp::from_millis(1),
        event_time: None,
        expires_at: None,
    }
}

impl Driven {
    pub(super) fn new() -> Self {
        let record = SpaceRecord::plain("s", 2, HNSWConfig::fast());
        let truth = Truth::in_memory(Some(&record)).unwrap();
        Self::of(Arc::new(
            Shared::new(truth, None, None, &DatabaseOptions::new()).unwrap(),
        ))
    }

    /// On a disk, which holds nothing yet.
    pub(super) fn on(disk: Arc<dyn Disk>) -> Self {
        let shared = open::open_on(disk, None, &DatabaseOptions::new()).unwrap();
        let shared = Arc::new(shared);
        let mut writer = Writer::new(Arc::clone(&shared)).unwrap();
        let (reply, answer) = oneshot::channel();
        let call = OpenSpace {
            record: SpaceRecord::plain("s", 2, HNSWConfig::fast()),
            opening: Opening::Plain,
        };
        writer.commit(vec![Request::new(call, reply)]);
        let id = answer.blocking_recv().unwrap().unwrap();
        let space = shared.space(id).unwrap();
        Self { shared, space, writer }
    }

    pub(super) fn of(shared: Arc<Shared>) -> Self {
        let writer = Writer::new(Arc::clone(&shared)).unwrap();
        let space = shared.space(FIRST_SPACE).unwrap();
        Self { shared, space, writer }
    }

    /// As after a crash: what is in RAM is lost, what was committed is not.
    pub(super) fn crash(self) -> Self {
        Self::of(self.shared)
    }

    pub(super) fn ask<T>(
        &mut self,
        request: impl FnOnce(oneshot::Sender<Result<T>>) -> Request,
    ) -> Receiver<Result<T>> {
        let (reply, answer) = oneshot::channel();
        self.writer.commit(vec![request(reply)]);
        answer
    }

    pub(super) fn part(&self, entries: Vec<PreparedEntry>) -> Vec<Part> {
        vec![Part {
            space: Arc::clone(&self.space),
            entries,
        }]
    }

    pub(super) fn write_many(&mut self, entries: Vec<PreparedEntry>, on_existing: OnExisting) -> Receiver<Result<()>> {
        let entries = Entries::many(self.part(entries));
        self.ask(|reply| entries.request(on_existing, 0, reply))
    }

    pub(super) fn write(&mut self, entry: PreparedEntry) -> Receiver<Result<()>> {
        let entries = Entries::Few(self.part(vec![entry]));
        self.ask(|reply| entries.request(OnExisting::Replace, 0, reply))
    }

    pub(super) fn delete(&mut self, scope: &StateScope, id: &str) -> Receiver<Result<u64>> {
        let (spaces, scope, ids) = (
            Spaces::One(Arc::clone(&self.space)),
            scope.clone(),
            vec![id.to_string()],
        );
        let call = DeleteEntries {
            spaces,
            scope,
            ids,
            only: None,
            now: 0,
        };
        self.ask(|reply| Request::new(call, reply))
    }

    /// Small steps of what is under way, to its end.
    pub(super) fn finish(&mut self) {
        while self.writer.is_under_way() {
            self.writer.advance(&|| true);
        }
    }

    pub(super) fn ids(&self, scope: &StateScope) -> Vec<String> {
        let Some(namespace) = self.space.load(&self.shared.truth, scope).unwrap() else {
            return Vec::new();
        };
        let snapshot = Snapshot::take(&self.shared.truth, &self.space.slots, &namespace).unwrap();
        let entries = snapshot.unwrap().list(scope, None, 1_000, 0).unwrap();
        entries.into_iter().map(|entry| entry.id).collect()
    }

    /// That all rows agree, and that each slot is free or somebody's; nothing is staged.
    pub(super) fn assert_sound(&self) {
        let report = crate::engine::check::check(&self.shared).unwrap();
        assert!(report.is_ok(), "{report:#?}");
        assert_eq!(self.shared.truth.read().unwrap().staged().unwrap(), []);
    }

    pub(super) fn slot_end(&self) -> u64 {
        self.shared.truth.read().unwrap().slot_end(FIRST_SPACE).unwrap()
    }

    pub(super) fn free_slots(&self) -> u64 {
        let read = self.shared.truth.read().unwrap();
        let free = read.free_slots(SpaceId(FIRST_SPACE.0)).unwrap();
        free.into_iter().map(|(_, len)| u64::from(len)).sum()
    }
}
