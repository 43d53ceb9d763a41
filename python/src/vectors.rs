//! Which calls has a vector space? [`VectorsBase`], whose subclasses wait or return awaitables.

use std::sync::Arc;

use llmspell_storage::{
    Example, FieldPath, HNSWVectorStorage, ListQuery, OnExisting, RecommendQuery, SampleQuery, Scalar, ScopedVectors,
    StateScope, VectorStorage,
};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::arguments::{filter_or_all, ids, optional_filter, order, own_time, scope, scope_kind, scope_or, scopes};
use crate::arrays::{matrix, vector};
use crate::call::{Mode, run};
use crate::entry::{self, Entry, entries, entries_of_array, entry_list};
use crate::errors::{invalid, raised};
use crate::handle::{Slot, Slots};
use crate::json::{of_report, to_object};
use crate::query::Settings;
use crate::rows::{Row, rows};
use crate::times::expiry;

/// The store behind a handle.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) storage: Arc<dyn VectorStorage>,
    /// Where it is a space of a database, which a batch may write to.
    pub(crate) space: Option<HNSWVectorStorage>,
}

/// What vector spaces, routers and handles for one scope can do.
#[pyclass(frozen, subclass, name = "_VectorsBase", module = "llmspell_storage._native")]
pub(crate) struct VectorsBase {
    pub(crate) slots: Slots,
    pub(crate) store: Arc<Slot<Store>>,
    pub(crate) mode: Mode,
    /// Where calls without a scope go.
    pub(crate) scope: StateScope,
    is_scoped: bool,
}

/// A vector space. Calls wait for their answers; other threads run meanwhile.
#[pyclass(frozen, subclass, extends = VectorsBase, module = "llmspell_storage")]
pub(crate) struct Vectors;

/// A vector space for asyncio: each call returns an awaitable.
#[pyclass(frozen, subclass, extends = VectorsBase, module = "llmspell_storage")]
pub(crate) struct AsyncVectors;

impl VectorsBase {
    pub(crate) fn new(slots: Slots, store: Store, mode: Mode) -> Self {
        let store = slots.hold(store);
        Self {
            slots,
            store,
            mode,
            scope: StateScope::Global,
            is_scoped: false,
        }
    }

    /// It as an object of Python, of the class of its mode.
    pub(crate) fn into_object(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let mode = self.mode;
        let base = PyClassInitializer::from(self);
        Ok(match mode {
            Mode::Sync => Py::new(py, base.add_subclass(Vectors))?.into_any(),
            Mode::Async => Py::new(py, base.add_subclass(AsyncVectors))?.into_any(),
        })
    }

    fn storage(&self) -> PyResult<Arc<dyn VectorStorage>> {
        Ok(self.store.get()?.storage)
    }

    fn write<'py>(
        &self,
        py: Python<'py>,
        entries: Vec<llmspell_storage::VectorEntry>,
        on_existing: OnExisting,
    ) -> PyResult<Bound<'py, PyAny>> {
        let storage = self.storage()?;
        run(
            py,
            self.mode,
            async move { storage.write(entries, on_existing).await },
            |py, ids| Ok(PyList::new(py, ids)?.into_any().unbind()),
        )
    }

    fn list_query(&self, listing: Listing<'_, '_>) -> PyResult<ListQuery> {
        let mut query = ListQuery::new(scope_or(listing.scope, &self.scope)?)
            .with_order(order(listing.order)?)
            .with_time(own_time(listing.time)?)
            .with_limit(listing.limit);
        query.scopes = listing.scopes.map(|texts| scopes(&texts)).transpose()?;
        query.filter = optional_filter(listing.filter)?;
        Ok(match listing.after {
            Some(cursor) => query.after(cursor.parse().map_err(raised)?),
            None => query,
        })
    }
}

/// The arguments of a listing.
struct Listing<'a, 'py> {
    scope: Option<&'a str>,
    scopes: Option<Vec<String>>,
    filter: Option<&'a Bound<'py, PyAny>>,
    order: &'a str,
    time: &'a str,
    after: Option<&'a str>,
    limit: usize,
}

/// A value of nothing.
pub(crate) fn none(py: Python<'_>, _nothing: ()) -> PyResult<Py<PyAny>> {
    Ok(py.None())
}

/// A number.
pub(crate) fn number(py: Python<'_>, number: u64) -> PyResult<Py<PyAny>> {
    Ok(number.into_pyobject(py)?.into_any().unbind())
}

#[pymethods]
#[expect(clippy::too_many_arguments, reason = "the arguments of Python's calls, by name")]
impl VectorsBase {
    /// Components per vector; 0 if the store holds several dimensions or is for one scope.
    #[getter]
    fn dim(&self) -> PyResult<usize> {
        Ok(self.store.get()?.space.map_or(0, |space| space.dim()))
    }

    /// The scope of calls that name none.
    #[getter]
    fn scope(&self) -> String {
        self.scope.to_string()
    }

    /// A handle that can only touch one scope, for code that must not reach others.
    #[pyo3(signature = (scope, /))]
    fn scoped(&self, py: Python<'_>, scope: &str) -> PyResult<Py<PyAny>> {
        let scope = self::scope(scope)?;
        if self.is_scoped && scope != self.scope {
            let error = llmspell_storage::StorageError::OutsideScope {
                scope: self.scope.clone(),
                named: scope,
            };
            return Err(raised(error));
        }
        let scoped = ScopedVectors::new(self.storage()?, scope.clone()).map_err(raised)?;
        let store = Store {
            storage: Arc::new(scoped),
            space: None,
        };
        let mut handle = Self::new(self.slots.clone(), store, self.mode);
        handle.scope = scope;
        handle.is_scoped = true;
        handle.into_object(py)
    }

    /// Stores new entries atomically, and returns their ids; refuses an id that exists in its scope.
    #[pyo3(signature = (entries, /))]
    fn insert<'py>(&self, py: Python<'py>, entries: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.write(py, self::entries(entries, &self.scope)?, OnExisting::Refuse)
    }

    /// Stores entries atomically, and returns their ids; replaces those whose id exists in its scope.
    #[pyo3(signature = (entries, /))]
    fn upsert<'py>(&self, py: Python<'py>, entries: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.write(py, self::entries(entries, &self.scope)?, OnExisting::Replace)
    }

    /// insert of the rows of an array of n × dim float32, whose ids and metadata are given in their order.
    #[pyo3(signature = (ids, vectors, metadata=None, *, scope=None, model=None, event_time=None, ttl=None))]
    fn insert_array<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        vectors: &Bound<'py, PyAny>,
        metadata: Option<&Bound<'py, PyAny>>,
        scope: Option<&str>,
        model: Option<&Bound<'py, PyAny>>,
        event_time: Option<&Bound<'py, PyAny>>,
        ttl: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let scope = scope_or(scope, &self.scope)?;
        let shared = entry::Shared {
            scope,
            model,
            event_time,
            ttl,
        };
        self.write(
            py,
            entries_of_array(ids, vectors, metadata, &shared)?,
            OnExisting::Refuse,
        )
    }

    /// upsert of the rows of an array of n × dim float32, whose ids and metadata are given in their order.
    #[pyo3(signature = (ids, vectors, metadata=None, *, scope=None, model=None, event_time=None, ttl=None))]
    fn upsert_array<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        vectors: &Bound<'py, PyAny>,
        metadata: Option<&Bound<'py, PyAny>>,
        scope: Option<&str>,
        model: Option<&Bound<'py, PyAny>>,
        event_time: Option<&Bound<'py, PyAny>>,
        ttl: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let scope = scope_or(scope, &self.scope)?;
        let shared = entry::Shared {
            scope,
            model,
            event_time,
            ttl,
        };
        self.write(
            py,
            entries_of_array(ids, vectors, metadata, &shared)?,
            OnExisting::Replace,
        )
    }

    /// The k entries that are nearest to a vector, best first.
    #[pyo3(signature = (vector, k=10, *, scope=None, scopes=None, filter=None, threshold=None, offset=0, ef_search=None, exact=false, recency=None, event_time=None, ingested=None, mmr=None, group_by=None, model=None, include_metadata=true, include_vectors=false))]
    fn search<'py>(
        &self,
        py: Python<'py>,
        vector: &Bound<'py, PyAny>,
        k: usize,
        scope: Option<&str>,
        scopes: Option<Vec<String>>,
        filter: Option<&Bound<'py, PyAny>>,
        threshold: Option<f32>,
        offset: usize,
        ef_search: Option<usize>,
        exact: bool,
        recency: Option<&Bound<'py, PyAny>>,
        event_time: Option<&Bound<'py, PyAny>>,
        ingested: Option<&Bound<'py, PyAny>>,
        mmr: Option<f32>,
        group_by: Option<(String, usize)>,
        model: Option<String>,
        include_metadata: bool,
        include_vectors: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let settings = Settings {
            scope,
            scopes,
            filter,
            threshold,
            offset,
            ef_search,
            exact,
            recency,
            event_time,
            ingested,
            mmr,
            group_by,
            model,
            include_metadata,
            include_vectors,
        };
        let query = settings.query(self::vector(vector)?, k, &self.scope)?;
        let storage = self.storage()?;
        run(
            py,
            self.mode,
            async move { storage.search(&query).await },
            |py, results| Ok(entry::hits(py, results)?.into_any().unbind()),
        )
    }

    /// One answer for each row of an array of n × dim float32, in their order.
    #[pyo3(signature = (vectors, k=10, *, scope=None, scopes=None, filter=None, threshold=None, ef_search=None, exact=false, model=None, include_metadata=true, include_vectors=false))]
    fn search_many<'py>(
        &self,
        py: Python<'py>,
        vectors: &Bound<'py, PyAny>,
        k: usize,
        scope: Option<&str>,
        scopes: Option<Vec<String>>,
        filter: Option<&Bound<'py, PyAny>>,
        threshold: Option<f32>,
        ef_search: Option<usize>,
        exact: bool,
        model: Option<String>,
        include_metadata: bool,
        include_vectors: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let settings = Settings {
            scope,
            scopes,
            filter,
            threshold,
            ef_search,
            exact,
            model,
            include_metadata,
            include_vectors,
            ..Settings::default()
        };
        let template = settings.query(Vec::new(), k, &self.scope)?;
        let of_vector = |vector| {
            let mut query = template.clone();
            query.vector = vector;
            query
        };
        let queries: Vec<_> = matrix(vectors)?.into_iter().map(of_vector).collect();
        let storage = self.storage()?;
        run(
            py,
            self.mode,
            async move { storage.search_batch(&queries).await },
            |py, answers| {
                let answers: PyResult<Vec<_>> = answers.into_iter().map(|results| entry::hits(py, results)).collect();
                Ok(PyList::new(py, answers?)?.into_any().unbind())
            },
        )
    }

    /// The entries most like some examples (ids or vectors) and unlike others, without the examples given by id.
    #[pyo3(signature = (like, k=10, *, unlike=None, scope=None, scopes=None, filter=None, threshold=None, ef_search=None, exact=false, model=None, include_metadata=true, include_vectors=false))]
    fn recommend<'py>(
        &self,
        py: Python<'py>,
        like: &Bound<'py, PyAny>,
        k: usize,
        unlike: Option<&Bound<'py, PyAny>>,
        scope: Option<&str>,
        scopes: Option<Vec<String>>,
        filter: Option<&Bound<'py, PyAny>>,
        threshold: Option<f32>,
        ef_search: Option<usize>,
        exact: bool,
        model: Option<String>,
        include_metadata: bool,
        include_vectors: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let settings = Settings {
            scope,
            scopes,
            filter,
            threshold,
            ef_search,
            exact,
            model,
            include_metadata,
            include_vectors,
            ..Settings::default()
        };
        let mut query = RecommendQuery::like("", k);
        query.positive = examples(like)?;
        query.negative = unlike.map(examples).transpose()?.unwrap_or_default();
        query.query = settings.query(Vec::new(), k, &self.scope)?;
        let storage = self.storage()?;
        run(
            py,
            self.mode,
            async move { storage.recommend(&query).await },
            |py, results| Ok(entry::hits(py, results)?.into_any().unbind()),
        )
    }

    /// One entry; None if there is none with this id.
    #[pyo3(signature = (id, /, *, scope=None))]
    fn get<'py>(&self, py: Python<'py>, id: String, scope: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
        let (storage, scope) = (self.storage()?, scope_or(scope, &self.scope)?);
        run(
            py,
            self.mode,
            async move { storage.get(&scope, &id).await },
            |py, entry| {
                Ok(match entry {
                    Some(entry) => Py::new(py, Entry::from(entry))?.into_any(),
                    None => py.None(),
                })
            },
        )
    }

    /// Several entries as of one moment, in the order of the ids; None for an id that does not exist.
    #[pyo3(signature = (ids, /, *, scope=None))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        scope: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (storage, scope, ids) = (self.storage()?, scope_or(scope, &self.scope)?, self::ids(ids)?);
        run(
            py,
            self.mode,
            async move { storage.get_many(&scope, &ids).await },
            |py, entries| {
                let made = entries
                    .into_iter()
                    .map(|entry| entry.map(|entry| Py::new(py, Entry::from(entry))).transpose());
                let made: PyResult<Vec<Option<Py<Entry>>>> = made.collect();
                Ok(PyList::new(py, made?)?.into_any().unbind())
            },
        )
    }

    /// Replaces the metadata of an entry and nothing else.
    #[pyo3(signature = (id, metadata, /, *, scope=None))]
    fn update_metadata<'py>(
        &self,
        py: Python<'py>,
        id: String,
        metadata: &Bound<'py, PyAny>,
        scope: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (storage, scope, metadata) = (
            self.storage()?,
            scope_or(scope, &self.scope)?,
            to_object(Some(metadata))?,
        );
        run(
            py,
            self.mode,
            async move { storage.update_metadata(&scope, &id, metadata).await },
            none,
        )
    }

    /// Merges a patch into the metadata of an entry: None removes a field, a dict is merged into the existing one.
    #[pyo3(signature = (id, patch, /, *, scope=None))]
    fn patch_metadata<'py>(
        &self,
        py: Python<'py>,
        id: String,
        patch: &Bound<'py, PyAny>,
        scope: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (storage, scope, patch) = (self.storage()?, scope_or(scope, &self.scope)?, to_object(Some(patch))?);
        run(
            py,
            self.mode,
            async move { storage.patch_metadata(&scope, &id, patch).await },
            none,
        )
    }

    /// Changes when entries expire: after a timedelta, at a datetime, or never by None. Returns the ids that do not exist.
    #[pyo3(signature = (ids, expiry, /, *, scope=None))]
    fn touch<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        expiry: Option<&Bound<'py, PyAny>>,
        scope: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (storage, scope, ids) = (self.storage()?, scope_or(scope, &self.scope)?, self::ids(ids)?);
        let expiry = self::expiry(expiry)?;
        run(
            py,
            self.mode,
            async move { storage.touch(&scope, &ids, expiry).await },
            |py, missing| Ok(PyList::new(py, missing)?.into_any().unbind()),
        )
    }

    /// Removes entries by id, atomically. Returns how many existed.
    #[pyo3(signature = (ids, /, *, scope=None))]
    fn delete<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        scope: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (storage, scope, ids) = (self.storage()?, scope_or(scope, &self.scope)?, self::ids(ids)?);
        run(py, self.mode, async move { storage.delete(&scope, &ids).await }, number)
    }

    /// Removes the entries that match a filter. Returns how many there were.
    #[pyo3(signature = (filter, /, *, scope=None))]
    fn delete_matching<'py>(
        &self,
        py: Python<'py>,
        filter: &Bound<'py, PyAny>,
        scope: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (storage, scope, filter) = (
            self.storage()?,
            scope_or(scope, &self.scope)?,
            crate::arguments::filter(filter)?,
        );
        run(
            py,
            self.mode,
            async move { storage.delete_matching(&scope, &filter).await },
            number,
        )
    }

    /// Removes all entries of a scope. Returns how many there were.
    #[pyo3(signature = (scope=None, /))]
    fn delete_scope<'py>(&self, py: Python<'py>, scope: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
        if scope.is_none() && !self.is_scoped {
            return Err(invalid(
                "Scope",
                "name the scope whose entries are to be removed; \"global\" is one too",
            ));
        }
        let (storage, scope) = (self.storage()?, scope_or(scope, &self.scope)?);
        run(py, self.mode, async move { storage.delete_scope(&scope).await }, number)
    }

    /// Removes all entries of some scopes, atomically. Returns how many there were.
    #[pyo3(signature = (scopes, /))]
    fn delete_scopes<'py>(&self, py: Python<'py>, scopes: Vec<String>) -> PyResult<Bound<'py, PyAny>> {
        let (storage, scopes) = (self.storage()?, self::scopes(&scopes)?);
        run(
            py,
            self.mode,
            async move { storage.delete_scopes(&scopes).await },
            number,
        )
    }

    /// Removes all entries of all scopes of a kind, such as "session", atomically. Returns how many there were.
    #[pyo3(signature = (kind, /))]
    fn delete_scopes_of_kind<'py>(&self, py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyAny>> {
        let (storage, kind) = (self.storage()?, scope_kind(kind)?);
        run(
            py,
            self.mode,
            async move { storage.delete_scopes_of_kind(kind).await },
            number,
        )
    }

    /// An iterator of entries, in the order of their ids or of a time. It reads them in pages.
    #[pyo3(signature = (*, scope=None, scopes=None, filter=None, order="id", time="created_at", page=1000))]
    fn list<'py>(
        &self,
        py: Python<'py>,
        scope: Option<&str>,
        scopes: Option<Vec<String>>,
        filter: Option<&Bound<'py, PyAny>>,
        order: &str,
        time: &str,
        page: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let listing = Listing {
            scope,
            scopes,
            filter,
            order,
            time,
            after: None,
            limit: page,
        };
        let (storage, query) = (self.storage()?, self.list_query(listing)?);
        rows(py, self.mode, move |after| {
            let (storage, mut query) = (Arc::clone(&storage), query.clone());
            async move {
                if let Some(cursor) = after {
                    query = query.after(cursor.parse()?);
                }
                let page = storage.list_page(&query).await?;
                let rows = page
                    .entries
                    .into_iter()
                    .map(|entry| Row::Entry(Box::new(entry)))
                    .collect();
                Ok((rows, page.next.map(|next| next.to_string())))
            }
        })
    }

    /// One page of a listing, and the cursor of the next page; None at the end.
    #[pyo3(signature = (*, scope=None, scopes=None, filter=None, order="id", time="created_at", after=None, limit=1000))]
    fn list_page<'py>(
        &self,
        py: Python<'py>,
        scope: Option<&str>,
        scopes: Option<Vec<String>>,
        filter: Option<&Bound<'py, PyAny>>,
        order: &str,
        time: &str,
        after: Option<&str>,
        limit: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let listing = Listing {
            scope,
            scopes,
            filter,
            order,
            time,
            after,
            limit,
        };
        let (storage, query) = (self.storage()?, self.list_query(listing)?);
        run(
            py,
            self.mode,
            async move { storage.list_page(&query).await },
            |py, page| {
                let next = page.next.map(|next| next.to_string());
                Ok((entry_list(py, page.entries)?, next)
                    .into_pyobject(py)?
                    .into_any()
                    .unbind())
            },
        )
    }

    /// The entries that were created last, the latest first.
    #[pyo3(signature = (limit=20, *, scope=None, filter=None))]
    fn newest<'py>(
        &self,
        py: Python<'py>,
        limit: usize,
        scope: Option<&str>,
        filter: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (order, time) = ("newest_first", "created_at");
        let listing = Listing {
            scope,
            scopes: None,
            filter,
            order,
            time,
            after: None,
            limit,
        };
        let (storage, query) = (self.storage()?, self.list_query(listing)?);
        run(
            py,
            self.mode,
            async move { storage.list_page(&query).await },
            |py, page| Ok(entry_list(py, page.entries)?.into_any().unbind()),
        )
    }

    /// A random sample of the entries, without repetition; the seed decides which.
    #[pyo3(signature = (size, seed=0, *, scope=None, scopes=None, filter=None))]
    fn sample<'py>(
        &self,
        py: Python<'py>,
        size: usize,
        seed: u64,
        scope: Option<&str>,
        scopes: Option<Vec<String>>,
        filter: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut query = SampleQuery::new(scope_or(scope, &self.scope)?, size, seed);
        query.scopes = scopes.map(|texts| self::scopes(&texts)).transpose()?;
        query.filter = optional_filter(filter)?;
        let storage = self.storage()?;
        run(
            py,
            self.mode,
            async move { storage.sample(&query).await },
            |py, entries| Ok(entry_list(py, entries)?.into_any().unbind()),
        )
    }

    /// Number of entries of a scope, or of those that match a filter.
    #[pyo3(signature = (filter=None, *, scope=None))]
    fn count<'py>(
        &self,
        py: Python<'py>,
        filter: Option<&Bound<'py, PyAny>>,
        scope: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (storage, scope, filter) = (self.storage()?, scope_or(scope, &self.scope)?, optional_filter(filter)?);
        let count = async move {
            match &filter {
                Some(filter) => storage.count_matching(&scope, filter).await,
                None => storage.count(&scope).await,
            }
        };
        run(py, self.mode, count, number)
    }

    /// The values of a field and the number of entries of each, the most frequent first.
    #[pyo3(signature = (field, limit=100, *, filter=None, scope=None))]
    fn facet<'py>(
        &self,
        py: Python<'py>,
        field: &str,
        limit: usize,
        filter: Option<&Bound<'py, PyAny>>,
        scope: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (storage, scope, filter) = (self.storage()?, scope_or(scope, &self.scope)?, filter_or_all(filter)?);
        let field = FieldPath::from(field);
        let facet = async move { storage.facet(&scope, &field, &filter, limit).await };
        run(py, self.mode, facet, |py, values| {
            let pairs = values
                .into_iter()
                .map(|facet| PyResult::Ok((of_scalar(py, &facet.value)?, facet.count)));
            let pairs: PyResult<Vec<(Py<PyAny>, u64)>> = pairs.collect();
            Ok(PyList::new(py, pairs?)?.into_any().unbind())
        })
    }

    /// Every scope that has an entry, in order.
    fn scopes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let storage = self.storage()?;
        run(py, self.mode, async move { storage.scopes().await }, |py, scopes| {
            let texts = scopes.iter().map(ToString::to_string);
            Ok(PyList::new(py, texts.collect::<Vec<String>>())?.into_any().unbind())
        })
    }

    /// Counts and bytes of all scopes together, or of one.
    #[pyo3(signature = (*, scope=None))]
    fn stats<'py>(&self, py: Python<'py>, scope: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
        let storage = self.storage()?;
        match scope {
            None => run(py, self.mode, async move { storage.stats().await }, |py, stats| {
                of_report(py, &stats)
            }),
            Some(text) => {
                let scope = self::scope(text)?;
                let stats = async move { storage.stats_for_scope(&scope).await };
                run(py, self.mode, stats, |py, stats| of_report(py, &stats))
            }
        }
    }

    /// Returns once every entry that was written before is in the index of its scope.
    fn build_index<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let storage = self.storage()?;
        run(py, self.mode, async move { storage.build_index().await }, none)
    }

    /// Rebuilds the indexes of all scopes, without deleted entries.
    fn optimize_index<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let storage = self.storage()?;
        run(py, self.mode, async move { storage.optimize_index().await }, none)
    }

    fn __repr__(&self) -> String {
        format!(
            "<{} in {}>",
            if self.mode == Mode::Sync {
                "Vectors"
            } else {
                "AsyncVectors"
            },
            self.scope
        )
    }
}

/// Examples: ids and vectors, one of them or a list.
fn examples(value: &Bound<'_, PyAny>) -> PyResult<Vec<Example>> {
    let example = |item: &Bound<'_, PyAny>| -> PyResult<Example> {
        Ok(match item.cast::<PyString>() {
            Ok(id) => Example::Id(id.to_cow()?.into_owned()),
            Err(_) => Example::Vector(vector(item)?),
        })
    };
    if value.is_instance_of::<PyString>() {
        return Ok(vec![example(value)?]);
    }
    value.try_iter()?.map(|item| example(&item?)).collect()
}

fn of_scalar(py: Python<'_>, scalar: &Scalar) -> PyResult<Py<PyAny>> {
    of_report(py, scalar)
}
