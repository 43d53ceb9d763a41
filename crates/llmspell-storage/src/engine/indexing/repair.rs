//! Repair of links around tombstones.
//!
//! See [`Graph::repaired`](llmspell_vector::Graph::repaired). Repaired links are not stored: an index file is never
//! changed, and after a restart the next repair finds little to do.

use std::sync::OnceLock;

use llmspell_core::{Result, StorageError};
use llmspell_vector::{BuildWatch, PointId, Rows};
use roaring::RoaringBitmap;

use super::Work;
use super::source::Source;

impl Work<'_> {
    /// Repairs links around all current tombstones. Searches use the old links until then.
    pub(super) fn repair(&self) -> Result<()> {
        let Some(source) = Source::take(self, |_| RoaringBitmap::new())? else {
            return Ok(());
        };
        let Some(old) = &source.state.index else { return Ok(()) };
        let rows = CheckedRows::new(self, &source);
        let is_dead = |point: PointId| source.state.dead.contains(point.0);
        let repaired = old.graph.repaired(&is_dead, &rows, &rows);
        rows.finish()?;
        let Some(graph) = repaired else { return Ok(()) };
        let index = old.repaired(graph, source.state.counts().tombstones);
        self.hand_over(index, source.state)?;
        self.forget_pages();
        Ok(())
    }
}

/// Vectors that are verified when they are first read: a repair does not know beforehand which ones it needs.
struct CheckedRows<'a> {
    work: &'a Work<'a>,
    source: &'a Source,
    failure: OnceLock<StorageError>,
}

impl<'a> CheckedRows<'a> {
    fn new(work: &'a Work<'a>, source: &'a Source) -> Self {
        Self {
            work,
            source,
            failure: OnceLock::new(),
        }
    }

    /// Whether all vectors that were read are undamaged. If not, the repaired graph must not be used.
    fn finish(self) -> Result<()> {
        self.failure.into_inner().map_or(Ok(()), Err)
    }
}

impl Rows for CheckedRows<'_> {
    fn row(&self, point: PointId) -> &[f32] {
        let Source { state, view, .. } = self.source;
        let Work { space, namespace, .. } = self.work;
        if let Err(error) = namespace.verify_points([point.0], state, &space.slots, view) {
            // Only the first failure is reported.
            let _ = self.failure.set(error);
        }
        self.source.row(point)
    }
}

impl BuildWatch for CheckedRows<'_> {
    fn advance(&self, _points: u64) {}

    fn is_cancelled(&self) -> bool {
        self.work.is_cancelled() || self.failure.get().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use llmspell_core::{HNSWConfig, Memory, StateScope, VectorEntry, VectorQuery};
    use llmspell_vector::Scratch;

    use crate::namespace::State;
    use crate::{Database, DatabaseOptions, HNSWVectorStorage};

    const DIM: usize = 4;
    const COUNT: usize = 400;

    fn vector(number: usize) -> Vec<f32> {
        (0..DIM).map(|i| ((number * DIM + i) as f32 * 1.37).sin()).collect()
    }

    fn name(number: usize) -> String {
        format!("id-{number:03}")
    }

    async fn open(dir: &std::path::Path, memory: Memory) -> (Database, HNSWVectorStorage) {
        let database = DatabaseOptions::new().graph_points_min(16).open(dir).await.unwrap();
        let config = HNSWConfig::fast().with_memory(memory);
        let vectors = database.vectors("s", DIM, config).await.unwrap();
        (database, vectors)
    }

    fn state(database: &Database) -> Arc<State> {
        let space = database.inner.shared.open_spaces().pop().unwrap();
        space.loaded(&StateScope::Global).unwrap().state()
    }

    async fn wait_until(database: &Database, is_so: impl Fn(&State) -> bool) {
        for _ in 0..400 {
            if is_so(&state(database)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it did not happen: {:?}", state(database).counts());
    }

    /// Dead points that a walk over the whole graph meets.
    fn dead_met(state: &State) -> usize {
        let graph = &state.index.as_ref().unwrap().graph;
        let mut scratch = Scratch::default();
        let met = graph.shortlist(&vector(3), COUNT, COUNT, None, &mut scratch);
        met.candidates()
            .iter()
            .filter(|candidate| state.dead.contains(candidate.point.0))
            .count()
    }

    #[tokio::test]
    async fn tombstones_are_led_around_in_the_background_and_in_the_file() {
        for memory in [Memory::Speed, Memory::Balanced, Memory::Lean] {
            let dir = tempfile::tempdir().unwrap();
            let (database, vectors) = open(dir.path(), memory).await;
            let entries = (0..COUNT).map(|number| VectorEntry::new(name(number), vector(number)));
            vectors.insert(entries.collect()).await.unwrap();
            vectors.build_index().await.unwrap();

            // A region, too few for a new graph.
            let near = VectorQuery::new(vector(3), COUNT / 8).with_exact(true);
            let near = vectors.search(&near).await.unwrap();
            let ids: Vec<String> = near.into_iter().map(|hit| hit.id).collect();
            vectors.delete(&StateScope::Global, &ids).await.unwrap();
            wait_until(&database, |state| state.counts().unrepaired == 0).await;

            let repaired = state(&database);
            assert_eq!(repaired.counts().tombstones, ids.len() as u64);
            assert_eq!(dead_met(&repaired), 0, "{memory:?}");
            drop((repaired, vectors));
            database.close().await.unwrap();

            let (database, vectors) = open(dir.path(), memory).await;
            let found = vectors.search(&VectorQuery::new(vector(3), 10)).await.unwrap();
            assert!(found.len() == 10 && found.iter().all(|hit| !ids.contains(&hit.id)));
            assert_eq!(dead_met(&state(&database)), 0, "{memory:?}: the file is written again");
            wait_until(&database, |state| state.counts().unrepaired == 0).await;
            assert!(database.check().await.unwrap().is_ok());
            drop(vectors);
            database.close().await.unwrap();
        }
    }
}
