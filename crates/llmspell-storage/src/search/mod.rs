//! Which entries are nearest?
//!
//! Everything a search sees is as of one mutation of the namespace: a state, and a snapshot of the truth that ends with
//! the same mutation.
//!
//! | file      | question                                                    |
//! |-----------|-------------------------------------------------------------|
//! | `mod.rs`  | which entries are nearest, and what else does a reader see? |
//! | `tail.rs` | which vectors are compared by a scan?                       |

mod tail;

use std::cmp::Ordering;
use std::sync::Arc;

use llmspell_core::{DistanceMetric, Filter, Result, StateScope, StorageError, VectorEntry, VectorQuery, VectorResult};
use llmspell_vector::{ExactDistance, Metric, Neighbor, TiesDropped, TopK};
use roaring::RoaringBitmap;

use crate::error::corrupted;
use crate::ids::{PointId, Slot};
use crate::namespace::{Namespace, State};
use crate::record::Record;
use crate::slots::{SlotStore, SlotView};
use crate::truth::{Read, Truth};
use tail::Tail;

/// How often a reader looks again for a state and a snapshot that belong together.
///
/// The two differ only for the instant between a commit and its publication, so the second look nearly always does.
const LOOKS_MAX: u32 = 1_000_000;

/// One committed state of a namespace, with everything to read it.
pub(crate) struct Snapshot<'a> {
    namespace: &'a Namespace,
    slots: &'a SlotStore,
    state: Arc<State>,
    view: Arc<SlotView>,
    read: Read,
}

impl<'a> Snapshot<'a> {
    /// What is committed now; none if the scope was dropped.
    pub(crate) fn take(truth: &Truth, slots: &'a SlotStore, namespace: &'a Namespace) -> Result<Option<Self>> {
        for _ in 0..LOOKS_MAX {
            let state = namespace.state();
            if state.is_dropped {
                return Ok(None);
            }
            let read = truth.read()?;
            if read.scope_lsn(namespace.scope_id)? == Some(state.lsn) {
                // After the state: it must reach every slot that the state names.
                let view = slots.view();
                return Ok(Some(Self {
                    namespace,
                    slots,
                    state,
                    view,
                    read,
                }));
            }
            std::thread::yield_now();
        }
        Err(StorageError::Timeout {
            what: "a consistent view of the scope",
            timeout_ms: 1_000,
        })
    }

    /// The answer to a valid query at `now`, in milliseconds since 1970.
    pub(crate) fn search(&self, query: &VectorQuery, metric: DistanceMetric, now: i64) -> Result<Vec<VectorResult>> {
        let hidden = self.state.hidden(now);
        let candidates = query
            .filter
            .as_ref()
            .map(|filter| self.candidates(filter, &hidden))
            .transpose()?;
        self.namespace.verify(&self.state, self.slots, &self.view)?;

        let distance = ExactDistance::new(kernel_metric(metric), &query.vector);
        let tail = Tail {
            state: &self.state,
            view: &self.view,
            hidden: &hidden,
            candidates: candidates.as_ref(),
        };
        let mut top = TopK::new(query.k);
        tail.scan(&distance, &mut top);
        let (mut neighbors, ties) = top.into_sorted();
        if let TiesDropped::At(at) = ties {
            // Which of the equally near ones come in, their ids decide.
            neighbors.retain(|neighbor| neighbor.distance.total_cmp(&at) != Ordering::Equal);
            let tied = tail.ties(&distance, at);
            neighbors.extend(tied.into_iter().map(|point| Neighbor { distance: at, point }));
        }
        if let Some(threshold) = query.threshold {
            neighbors.retain(|neighbor| metric.score(neighbor.distance) >= threshold);
        }
        self.resolve(neighbors, query, metric)
    }

    /// The living points whose metadata passes the filter.
    fn candidates(&self, filter: &Filter, hidden: &RoaringBitmap) -> Result<RoaringBitmap> {
        let mut candidates = RoaringBitmap::new();
        self.read.records(self.namespace.scope_id)?.visit(|point, record| {
            if !hidden.contains(point.0) && filter.matches(&self.metadata(point, &record)?) {
                candidates.insert(point.0);
            }
            Ok(())
        })?;
        Ok(candidates)
    }

    /// Ids, scores and fields of the best `k` of what was found; equal distances by id.
    fn resolve(
        &self,
        neighbors: Vec<Neighbor>,
        query: &VectorQuery,
        metric: DistanceMetric,
    ) -> Result<Vec<VectorResult>> {
        let records = self.read.records(self.namespace.scope_id)?;
        let mut found = neighbors
            .into_iter()
            .map(|neighbor| Ok((neighbor.distance, neighbor.point, records.get(neighbor.point)?)))
            .collect::<Result<Vec<_>>>()?;
        found.sort_by(|(a, _, a_record), (b, _, b_record)| a.total_cmp(b).then_with(|| a_record.id.cmp(&b_record.id)));
        found.truncate(query.k);
        found
            .into_iter()
            .map(|(distance, point, record)| {
                let vector = self.vector(point, &record)?;
                let metadata = query
                    .include_metadata
                    .then(|| self.metadata(point, &record))
                    .transpose()?;
                let mut result = VectorResult::new(record.id, metric.score(distance), distance);
                result.metadata = metadata;
                result.vector = query.include_vectors.then(|| vector.to_vec());
                Ok(result)
            })
            .collect()
    }

    /// One entry.
    pub(crate) fn get(&self, scope: &StateScope, id: &str, now: i64) -> Result<Option<VectorEntry>> {
        let Some(point) = self.read.point(self.namespace.scope_id, id)? else {
            return Ok(None);
        };
        let record = self
            .read
            .records(self.namespace.scope_id)?
            .get_by_id(id.as_bytes(), point)?;
        if record.is_expired(llmspell_core::Timestamp::from_millis(now)) {
            return Ok(None);
        }
        self.entry(scope, point, record).map(Some)
    }

    /// Entries in the order of their ids.
    pub(crate) fn list(
        &self,
        scope: &StateScope,
        after: Option<&str>,
        limit: usize,
        now: i64,
    ) -> Result<Vec<VectorEntry>> {
        let records = self.read.records(self.namespace.scope_id)?;
        let now = llmspell_core::Timestamp::from_millis(now);
        let mut entries = Vec::new();
        self.read.visit_ids(self.namespace.scope_id, after, |id, point| {
            let record = records.get_by_id(id, point)?;
            if !record.is_expired(now) {
                entries.push(self.entry(scope, point, record)?);
            }
            Ok(entries.len() < limit)
        })?;
        Ok(entries)
    }

    fn entry(&self, scope: &StateScope, point: PointId, record: Record) -> Result<VectorEntry> {
        let vector = self.vector(point, &record)?.to_vec();
        let metadata = self.metadata(point, &record)?;
        let mut entry = VectorEntry::new(record.id, vector)
            .with_scope(scope.clone())
            .with_metadata(metadata);
        entry.created_at = Some(record.created_at);
        entry.updated_at = Some(record.updated_at);
        entry.event_time = record.event_time;
        entry.expires_at = record.expires_at;
        Ok(entry)
    }

    /// The vector of a point, checked now: what leaves the store is what was stored.
    fn vector(&self, point: PointId, record: &Record) -> Result<&[f32]> {
        let damaged = |slot: Slot, problem: &str| {
            corrupted(
                self.slots.path(slot),
                format!("vector of point {} in slot {}: {problem}", point.0, slot.0),
            )
        };
        let Some(slot) = self.state.slot(point) else {
            return Err(damaged(Slot(0), "the point has no slot"));
        };
        let generation = self
            .view
            .verify(slot, self.namespace.scope_id)
            .map_err(|problem| damaged(slot, problem))?;
        if generation != record.generation {
            return Err(damaged(slot, "its generation is not that of the entry"));
        }
        Ok(self.view.vector(slot))
    }

    fn metadata(&self, point: PointId, record: &Record) -> Result<llmspell_core::Metadata> {
        record.metadata().map_err(|malformed| {
            let detail = format!(
                "entry {} of scope {}: {}",
                point.0, self.namespace.scope_id.0, malformed.0
            );
            corrupted(self.read.path(), detail)
        })
    }
}

fn kernel_metric(metric: DistanceMetric) -> Metric {
    match metric {
        DistanceMetric::Cosine => Metric::Cosine,
        DistanceMetric::Euclidean => Metric::Euclidean,
        DistanceMetric::InnerProduct => Metric::InnerProduct,
        DistanceMetric::Manhattan => Metric::Manhattan,
    }
}
