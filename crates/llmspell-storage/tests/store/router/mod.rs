//! Each vector goes to the space of its model, and all spaces act as one store.
//!
//! | file | question |
//! |---|---|
//! | `models.rs` | which space does a vector go to, and what is refused? |
//! | `one_store.rs` | are ids, deletions, filters and quotas about all spaces? |
//! | `passing.rs` | what do calls about all spaces see while one comes and goes? |
//! | `scoped.rs` | what may a handle for one scope do, and what is it told? |
//! | `words.rs` | what does a search for words find without a model? |

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod models;
mod one_store;
mod passing;
mod scoped;
mod words;

use llmspell_storage::{DimensionRouter, EmbeddingModel, HNSWConfig, Result, StateScope, VectorEntry};

const SCOPE: StateScope = StateScope::Global;

fn axis(dim: usize, place: usize) -> Vec<f32> {
    (0..dim)
        .map(|component| if component == place { 1.0 } else { 0.01 })
        .collect()
}

fn entry(id: &str, model: &str, dim: usize) -> VectorEntry {
    VectorEntry::new(id, axis(dim, 0)).with_model(model)
}

/// Models `a` and `b` of four components each, and `c` of eight, which may be cut at four.
async fn three_models() -> DimensionRouter {
    let router = DimensionRouter::new(HNSWConfig::balanced());
    for model in [
        EmbeddingModel::new("a", 4),
        EmbeddingModel::new("b", 4),
        EmbeddingModel::new("c", 8).with_matryoshka([4]),
    ] {
        router.register_model(model).await.unwrap();
    }
    router
}

fn text<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}
