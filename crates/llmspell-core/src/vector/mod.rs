//! Memory of vectors and texts: the contract of a store, and the types of its calls.
//!
//! | file          | question                                                    |
//! |---------------|-------------------------------------------------------------|
//! | `storage.rs`  | what does a vector store promise? [`VectorStorage`]         |
//! | `scoped.rs`   | how is a store confined to one scope? [`ScopedVectors`]     |
//! | `scoped_storage.rs` | … and passed on as a store?                           |
//! | `scopes.rs`       | which scopes does a query name, each once?              |
//! | `pointers.rs` | how is a store used through a reference, a `Box` or an `Arc`? |
//! | `inherent.rs` | how are its calls made without importing the trait?         |
//! | `entry.rs`    | what is stored? [`VectorEntry`]                             |
//! | `components.rs` | which types can become a vector? [`IntoVector`]           |
//! | `metadata.rs` | how does metadata become a type of the application?         |
//! | `list.rs`     | which entries are listed, and in which order? [`ListQuery`] |
//! | `cursor.rs`   | where does a listing go on? [`ListCursor`]                  |
//! | `sample.rs`   | which entries are a random sample? [`SampleQuery`]          |
//! | `pages.rs`    | how are all entries of a scope read, a page at a time? [`Pages`] |
//! | `steps.rs`    | how do the calls of a reader become a stream?               |
//! | `patch.rs`    | how is metadata changed by a patch? [`merge_patch`]          |
//! | `query.rs`    | what does a search ask, and what does it return? [`VectorQuery`], [`VectorResult`] |
//! | `recommend.rs` | how is a search by examples done? [`RecommendQuery`]        |
//! | `time_range.rs` | which times does a query allow? [`TimeRange`]             |
//! | `recency.rs`  | how does age lower a score? [`recency_score`]               |
//! | `selection.rs` | which of the nearest are returned: diverse ones, some of each group? [`GroupBy`] |
//! | `selecting.rs` | … and by which further searches? [`Selection`]              |
//! | `plan.rs`     | how was a query answered, and why? [`SearchPlan`]           |
//! | `ef.rs`       | how wide is the beam of searches, and why? [`EfChoice`]     |
//! | `config.rs`   | how is an index built? [`HNSWConfig`]                       |
//! | `texts.rs`    | which texts are indexed, and what is a snippet? [`TextConfig`], [`Snippet`] |
//! | `sparse.rs`   | what is a sparse vector? [`SparseVector`]                   |
//! | `hybrid.rs`   | how are words searched for, alone or beside a vector?       |
//! | `stats.rs`    | what is stored, and how large is it? [`StorageStats`], [`ScopedStats`] |
//! | `validate.rs` | which input is allowed?                                     |

mod components;
mod config;
mod cursor;
mod ef;
mod entry;
mod hybrid;
mod inherent;
mod list;
pub(crate) mod metadata;
mod pages;
mod patch;
mod plan;
mod pointers;
mod query;
mod recency;
mod recommend;
mod sample;
mod scoped;
mod scoped_storage;
mod scopes;
mod selecting;
mod selection;
mod sparse;
mod stats;
mod steps;
mod storage;
mod texts;
mod time_range;
pub mod validate;

pub use crate::fields::Metadata;
pub use crate::metric::DistanceMetric;
pub use components::{Component, IntoVector};
pub use config::{HNSWConfig, Memory};
pub use cursor::ListCursor;
pub use ef::{EfChoice, EfSource, MeasuredRecall, MeasuredWith};
pub use entry::VectorEntry;
pub use list::{ListBegin, ListOrder, ListPage, ListQuery};
pub use pages::{Entries, Pages};
pub use patch::merge_patch;
pub use plan::{PathCost, SearchPath, SearchPlan, SearchStage, TextPlan};
pub use query::{FacetValue, VectorQuery, VectorResult};
pub use recency::{RecencyPlan, recency_score};
pub use recommend::{Example, RecommendQuery};
pub use sample::{Draw, SampleQuery, Sampling};
pub use scoped::{ScopedVectors, VectorStorageExt};
pub use selecting::{DistancesFrom, Selection};
pub use selection::{GroupBy, SelectionPlan};
pub use sparse::SparseVector;
pub use stats::{IndexStats, ScopedStats, StorageStats};
pub use storage::{OnExisting, VectorStorage};
pub use texts::{OWN_TEXT, Snippet, TextConfig};
pub use time_range::TimeRange;
