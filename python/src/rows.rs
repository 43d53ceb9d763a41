//! How listings are read one row after the other: [`Rows`], and [`AsyncRows`] for asyncio.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use llmspell_storage::{Result, VectorEntry};
use pyo3::exceptions::{PyStopAsyncIteration, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::call::{Call, Mode, lock, wait};
use crate::entry::Entry;

/// One row of a listing.
pub(crate) enum Row {
    Entry(Box<VectorEntry>),
    Pair(String, Vec<u8>),
}

impl Row {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Self::Entry(entry) => Py::new(py, Entry::from(*entry))?.into_any(),
            Self::Pair(key, value) => (key, PyBytes::new(py, &value)).into_pyobject(py)?.into_any().unbind(),
        })
    }
}

/// The rows after a place, and the place after them; none at the end.
pub(crate) type Page = (Vec<Row>, Option<String>);
type Fetch = Box<dyn Fn(Option<String>) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> + Send + Sync>;

/// Rows that were read, and how further ones are.
struct Listing {
    fetch: Fetch,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    rows: VecDeque<Row>,
    after: Option<String>,
    is_over: bool,
}

impl Listing {
    /// The next row. A call that is cancelled skips none.
    async fn next(&self) -> Result<Option<Row>> {
        loop {
            let after = {
                let mut read = lock(&self.read);
                if let Some(row) = read.rows.pop_front() {
                    return Ok(Some(row));
                }
                if read.is_over {
                    return Ok(None);
                }
                read.after.clone()
            };
            let (rows, next) = (self.fetch)(after.clone()).await?;
            let mut read = lock(&self.read);
            // Unless another task has read the page meanwhile.
            if read.after == after && !read.is_over {
                read.rows.extend(rows);
                read.is_over = next.is_none();
                read.after = next;
            }
        }
    }
}

/// An iterator of the rows.
pub(crate) fn rows<'py, F, P>(py: Python<'py>, mode: Mode, fetch: F) -> PyResult<Bound<'py, PyAny>>
where
    F: Fn(Option<String>) -> P + Send + Sync + 'static,
    P: Future<Output = Result<Page>> + Send + 'static,
{
    let listing = Arc::new(Listing {
        fetch: Box::new(move |after| Box::pin(fetch(after))),
        read: Mutex::default(),
    });
    Ok(match mode {
        Mode::Sync => Bound::new(py, Rows(listing))?.into_any(),
        Mode::Async => Bound::new(py, AsyncRows(listing))?.into_any(),
    })
}

/// An iterator that reads a page when it needs one.
#[pyclass(frozen, module = "llmspell_storage")]
pub(crate) struct Rows(Arc<Listing>);

#[pymethods]
impl Rows {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match wait(py, self.0.next())? {
            Some(row) => row.into_python(py),
            None => Err(PyStopIteration::new_err(())),
        }
    }
}

/// An asynchronous iterator that reads a page when it needs one.
#[pyclass(frozen, module = "llmspell_storage")]
pub(crate) struct AsyncRows(Arc<Listing>);

#[pymethods]
impl AsyncRows {
    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__(&self) -> Call {
        let listing = Arc::clone(&self.0);
        Call::new(async move { listing.next().await }, |py, row: Option<Row>| match row {
            Some(row) => row.into_python(py),
            None => Err(PyStopAsyncIteration::new_err(())),
        })
    }
}
