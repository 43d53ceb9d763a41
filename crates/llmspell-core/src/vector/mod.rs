//! Vector memory: what a store does, and what goes in and out.
//!
//! | file          | question                                                    |
//! |---------------|-------------------------------------------------------------|
//! | `storage.rs`  | what does a vector store promise? [`VectorStorage`]         |
//! | `scoped.rs`   | how is a store confined to one scope? [`ScopedVectors`]     |
//! | `entry.rs`    | what is stored? [`VectorEntry`]                             |
//! | `query.rs`    | what is asked, what is answered? [`VectorQuery`], [`VectorResult`] |
//! | `time_range.rs` | within which times? [`TimeRange`]                         |
//! | `recency.rs`  | what does age take away from a score? [`recency_score`]     |
//! | `plan.rs`     | how was a query answered, and why so? [`SearchPlan`]        |
//! | `ef.rs`       | how wide is the beam of searches, and why? [`EfChoice`]     |
//! | `metric.rs`   | how near is near? [`DistanceMetric`]                        |
//! | `config.rs`   | how is an index built? [`HNSWConfig`]                       |
//! | `stats.rs`    | how much is there? [`StorageStats`], [`ScopedStats`]        |
//! | `validate.rs` | what is allowed?                                            |

mod config;
mod ef;
mod entry;
mod metric;
mod plan;
mod query;
mod recency;
mod scoped;
mod stats;
mod storage;
mod time_range;
pub mod validate;

pub use config::{HNSWConfig, Memory};
pub use ef::{EfChoice, EfSource, MeasuredRecall, MeasuredWith};
pub use entry::{IntoMetadata, Metadata, VectorEntry};
pub use metric::DistanceMetric;
pub use plan::{PathCost, SearchPath, SearchPlan, SearchStage};
pub use query::{FacetValue, VectorQuery, VectorResult};
pub use recency::{RecencyPlan, recency_score};
pub use scoped::{ScopedVectors, VectorStorageExt};
pub use stats::{IndexStats, ScopedStats, StorageStats};
pub use storage::{OnExisting, VectorStorage};
pub use time_range::TimeRange;
