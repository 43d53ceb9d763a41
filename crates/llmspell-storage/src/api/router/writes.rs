//! Writes of entries by a router: each entry goes to the space of its model.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use llmspell_core::{ModelRef, OnExisting, Result, StorageError, VectorEntry};

use super::DimensionRouter;
use super::calls::SENT_MAX;
use super::routes::{Route, Routes};
use crate::api::vectors::{Shape, by_size, effort, prepare_routed};
use crate::engine::{Opening, Part, PreparedEntry};
use crate::truth::SpaceRecord;

impl DimensionRouter {
    pub(super) async fn write_with(
        &self,
        entries: Vec<VectorEntry>,
        on_existing: OnExisting,
        unknown: Unknown,
    ) -> Result<Vec<String>> {
        if entries.is_empty() {
            self.inner.database.inner.check_open()?;
            return Ok(Vec::new());
        }
        for _ in 1..SENT_MAX {
            let routes = self.routes();
            if !routes.is_migrating {
                return self.write_by(&routes, entries, on_existing, unknown).await;
            }
            match self.write_by(&routes, entries.clone(), on_existing, unknown).await {
                // It was replaced between two looks.
                Err(StorageError::UnknownSpace { .. }) => {}
                done => return done,
            }
        }
        let routes = self.routes();
        self.write_by(&routes, entries, on_existing, unknown).await
    }

    pub(super) async fn write_by(
        &self,
        routes: &Routes,
        entries: Vec<VectorEntry>,
        on_existing: OnExisting,
        unknown: Unknown,
    ) -> Result<Vec<String>> {
        let now = self.now();
        let batch = self.sorted(routes, &entries, unknown)?;
        let Sorted { routes, new, space_of } = batch;
        let known = routes.iter().map(|route| route.shape());
        let shapes = known
            .chain(new.iter().map(Shape::of_record))
            .collect::<Result<Vec<_>>>()?;
        let components: usize = entries.iter().map(|entry| entry.embedding.len()).sum();
        let components = effort(&entries, components);
        let prepare = move || {
            let prepared = prepare_routed(entries, |place| &shapes[space_of[place]], now)?;
            Ok((prepared, space_of))
        };
        let (prepared, space_of) = by_size(&self.inner.database.inner, components, prepare).await?;
        // All of it is fine: now there may be new spaces.
        let mut spaces = Vec::with_capacity(routes.len() + new.len());
        for route in &routes {
            spaces.push(Arc::clone(&route.handle(&self.inner.database).await?.space));
        }
        for record in new {
            let storage = self.inner.database.open_space_as(record, Opening::Routed).await?;
            spaces.push(storage.into_handle().space);
        }
        let ids = prepared.iter().map(|entry| entry.id.clone()).collect();
        let mut of_space: BTreeMap<usize, Vec<PreparedEntry>> = BTreeMap::new();
        for (entry, place) in prepared.into_iter().zip(space_of) {
            of_space.entry(place).or_default().push(entry);
        }
        let parts = of_space
            .into_iter()
            .map(|(place, entries)| Part {
                space: Arc::clone(&spaces[place]),
                entries,
            })
            .collect();
        let entries = self.inner.database.inner.in_order(parts).await?;
        let database = &self.inner.database.inner;
        database
            .write_entries(&self.open_spaces(), entries, (on_existing, now))
            .await?;
        Ok(ids)
    }

    /// The space of each entry of a batch.
    fn sorted(&self, routes: &Routes, entries: &[VectorEntry], unknown: Unknown) -> Result<Sorted> {
        let mut sorted = Sorted {
            routes: Vec::new(),
            new: Vec::new(),
            space_of: Vec::with_capacity(entries.len()),
        };
        let mut known: Vec<Arc<Route>> = Vec::new();
        let mut new: HashMap<String, usize> = HashMap::new();
        // Places of known spaces count from the front, of new ones as they come; the new ones follow the known ones.
        let mut places: Vec<Result<usize, usize>> = Vec::with_capacity(entries.len());
        for entry in entries {
            let dim = entry.embedding.len();
            let route = match &entry.model {
                Some(model) => routes.of_model(model.name()),
                None => routes.of_dim(dim)?,
            };
            if let Some(route) = route {
                check_same(route, entry.model.as_ref())?;
                let place = known.iter().position(|other| other.id == route.id);
                places.push(Ok(place.unwrap_or_else(|| {
                    known.push(Arc::clone(route));
                    known.len() - 1
                })));
                continue;
            }
            let record = match unknown {
                Unknown::GetsASpace => self.new_space(routes, entry.model.as_ref(), dim)?,
                Unknown::IsRefused => return Err(routes.unknown(entry.model.as_ref(), dim)),
            };
            let place = match new.get(&record.name) {
                Some(place) => {
                    sorted.new[*place].check_matches(&record)?;
                    *place
                }
                None => {
                    new.insert(record.name.clone(), sorted.new.len());
                    sorted.new.push(record);
                    sorted.new.len() - 1
                }
            };
            places.push(Err(place));
        }
        sorted.routes = known;
        let first_new = sorted.routes.len();
        let place = |place: Result<usize, usize>| place.unwrap_or_else(|new| first_new + new);
        sorted.space_of = places.into_iter().map(place).collect();
        Ok(sorted)
    }
}

/// What becomes of entries of a model, or of a dimension, that the router does not know.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unknown {
    /// They get a space, where they say enough of it and the configuration allows it.
    GetsASpace,
    /// They come from a handle for one scope, whose holder must not make spaces.
    IsRefused,
}

/// A batch by its spaces.
struct Sorted {
    routes: Vec<Arc<Route>>,
    /// Spaces that do not exist yet.
    new: Vec<SpaceRecord>,
    /// For each entry, a place in `routes` and then in `new`.
    space_of: Vec<usize>,
}

/// That a model that is given whole is the one that is known.
fn check_same(route: &Route, given: Option<&ModelRef>) -> Result<()> {
    let (Some(ModelRef::Model(given)), Some(known)) = (given, route.model()) else {
        return Ok(());
    };
    let mismatch = |what, stored: String, requested: String| {
        Err(StorageError::SpaceMismatch {
            space: route.name().to_string(),
            what,
            stored,
            requested,
        })
    };
    if given.dim != known.dim {
        return mismatch("dimension", known.dim.to_string(), given.dim.to_string());
    }
    if given.metric != known.metric {
        return mismatch("metric", known.metric.to_string(), given.metric.to_string());
    }
    Ok(())
}
