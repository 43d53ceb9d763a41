//! The module `llmspell_storage._native`: llmspell-storage for Python.
//!
//! | file           | question                                                            |
//! |----------------|---------------------------------------------------------------------|
//! | `call.rs`      | how is a future of the engine waited for, with and without asyncio? |
//! | `errors.rs`    | which exception is an error of the engine?                          |
//! | `json.rs`      | how do Python's values become JSON, and the reverse?                |
//! | `times.rs`     | how do `datetime` and `timedelta` become moments and lengths?       |
//! | `arguments.rs` | how are scopes, filters, orders and vectors given?                  |
//! | `arrays.rs`    | how are numpy arrays read and made?                                 |
//! | `config.rs`    | how are indexes and models described?                               |
//! | `entry.rs`     | what is stored, and what is found?                                  |
//! | `handle.rs`    | what does a Python object hold of an open database?                 |
//! | `rows.rs`      | how are listings read one row after the other?                      |
//! | `query.rs`     | how is a search asked for?                                          |
//! | `vectors.rs`   | which calls has a vector space?                                     |
//! | `router.rs`    | … a store of several models?                                        |
//! | `key_value.rs` | … key-value state?                                                  |
//! | `batch.rs`     | … an atomic batch?                                                  |
//! | `database.rs`  | … a database?                                                       |
//!
//! Each call is written once and returns either its value or an awaitable, as the [`Mode`](call::Mode) of its object says.

mod arguments;
mod arrays;
mod batch;
mod call;
mod config;
mod database;
mod entry;
mod errors;
mod handle;
mod json;
mod key_value;
mod query;
mod router;
mod rows;
mod times;
mod vectors;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<call::Call>()?;
    module.add_class::<config::HnswConfig>()?;
    module.add_class::<config::EmbeddingModel>()?;
    module.add_class::<entry::Entry>()?;
    module.add_class::<entry::Hit>()?;
    module.add_class::<rows::Rows>()?;
    module.add_class::<rows::AsyncRows>()?;
    module.add_class::<batch::BatchSummary>()?;
    module.add_class::<batch::BatchBase>()?;
    module.add_class::<batch::Batch>()?;
    module.add_class::<batch::AsyncBatch>()?;
    module.add_class::<vectors::VectorsBase>()?;
    module.add_class::<vectors::Vectors>()?;
    module.add_class::<vectors::AsyncVectors>()?;
    module.add_class::<router::Router>()?;
    module.add_class::<router::AsyncRouter>()?;
    module.add_class::<key_value::KeyValueBase>()?;
    module.add_class::<key_value::KeyValue>()?;
    module.add_class::<key_value::AsyncKeyValue>()?;
    module.add_class::<database::DatabaseBase>()?;
    module.add_class::<database::Database>()?;
    module.add_class::<database::AsyncDatabase>()?;
    module.add_function(wrap_pyfunction!(arguments::scope_text, module)?)?;
    Ok(())
}
