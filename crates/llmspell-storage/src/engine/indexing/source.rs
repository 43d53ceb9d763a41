//! The points and ids that are to be linked.

use std::sync::Arc;

use llmspell_core::{Result, StorageError};
use llmspell_vector::{Graph, PointId, ReadOrder, Rows};
use roaring::RoaringBitmap;

use super::Work;
use crate::base::ids::{Generation, ScopeId};
use crate::base::record::Record;
use crate::indexes::files::IdList;
use crate::namespace::{State, damaged_slot};
use crate::slots::SlotView;
use crate::spaces::snapshot::Snapshot;
use crate::truth::Read;

/// Points to link, as of one mutation. Holding the state keeps their slots unchanged.
pub(super) struct Source {
    pub(super) state: Arc<State>,
    pub(super) view: Arc<SlotView>,
    pub(super) points: RoaringBitmap,
    /// In the order of the points.
    ids: IdList,
    /// Number of leading components that are linked: those that the existing graph uses.
    pub(super) dim: usize,
}

impl Source {
    /// The points chosen by `choose` from the current state; none if the scope was dropped.
    pub(super) fn take(work: &Work<'_>, choose: impl FnOnce(&State) -> RoaringBitmap) -> Result<Option<Self>> {
        let (space, namespace) = (work.space, work.namespace);
        let Some(snapshot) = Snapshot::take(&work.indexing.shared.truth, &space.slots, namespace)? else {
            return Ok(None);
        };
        let (state, view, read) = snapshot.into_parts();
        let points = choose(&state);
        let ids = read_ids(&read, namespace.scope_id, &points)?;
        drop(read);
        namespace.verify_points(&points, &state, &space.slots, &view)?;
        for (place, point) in (0..).zip(&points) {
            let slot = state.slot(PointId(point)).expect("living points have slots");
            let expected = ids.get(place).map(|(generation, _)| generation);
            if expected != Some(view.stated_generation(slot)) {
                let problem = "its generation is not that of the entry";
                return Err(damaged_slot(&space.slots, PointId(point), slot, problem));
            }
        }
        let dim = state.index.as_ref().map(|index| index.graph.config().dim);
        Ok(Some(Self {
            state,
            view,
            points,
            ids,
            dim: dim.unwrap_or(space.dim),
        }))
    }

    /// The ids of the vertices of a graph from `first` on.
    pub(super) fn ids_from(&self, graph: &Graph, first: u32) -> Result<IdList> {
        let mut list = IdList::default();
        for vertex in first..graph.len() {
            let PointId(point) = graph.point(vertex);
            let place = self
                .points
                .rank(point)
                .checked_sub(1)
                .filter(|_| self.points.contains(point));
            let place = place.expect("a graph has the vertices that it was given");
            let place = u32::try_from(place).expect("points are u32");
            let (generation, id) = self.ids.get(place).expect("every point has an id");
            push(&mut list, generation, id)?;
        }
        Ok(list)
    }
}

impl Rows for Source {
    fn row(&self, point: PointId) -> &[f32] {
        let slot = self.state.slot(point).expect("vertices have slots");
        &self.view.vector(slot)[..self.dim]
    }

    fn will_read(&self, order: ReadOrder) {
        self.view.will_read_in_order(order == ReadOrder::Given);
    }
}

/// The ids of points that live, in their order.
fn read_ids(read: &Read, scope: ScopeId, points: &RoaringBitmap) -> Result<IdList> {
    let records = read.records(scope)?;
    let mut list = IdList::default();
    // Rows in their order are cheaper than as many look-ups, if most of them are wanted.
    if points.len() >= 1_000 {
        let mut wanted = points.iter().peekable();
        records.visit(|point, record| {
            if wanted.next_if_eq(&point.0).is_some() {
                push(&mut list, of_vector(&record), record.id.as_bytes())?;
            }
            Ok(())
        })?;
        if let Some(missing) = wanted.next() {
            records.get(PointId(missing))?;
        }
    } else {
        for point in points {
            let record = records.get(PointId(point))?;
            push(&mut list, of_vector(&record), record.id.as_bytes())?;
        }
    }
    Ok(list)
}

/// The generation of the slot of an entry that has a vector. An entry without one is no other's vector.
fn of_vector(record: &Record) -> Generation {
    record.generation.unwrap_or(Generation(0))
}

fn push(list: &mut IdList, generation: Generation, id: &[u8]) -> Result<()> {
    if list.push(generation, id) {
        return Ok(());
    }
    Err(StorageError::LimitExceeded {
        what: "index of",
        name: "a scope".to_string(),
        got: u64::from(u32::MAX) + 1,
        limit: u64::from(u32::MAX),
        unit: "bytes of ids",
    })
}
