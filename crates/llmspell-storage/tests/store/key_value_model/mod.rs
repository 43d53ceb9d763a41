//! Random programs: every backend answers like a sorted map, reopening included.
//!
//! `LLMSPELL_KEY_VALUE_CASES` programs of up to `LLMSPELL_KEY_VALUE_STEPS` steps each; `cargo xtask soak` runs more.

mod steps;

use std::sync::Arc;

use llmspell_storage::{MemoryBackend, RedbBackend, StorageBackend};
use proptest::prelude::*;

fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime starts");
    runtime.block_on(future);
}

fn cases(default: u32) -> ProptestConfig {
    ProptestConfig::with_cases(setting("LLMSPELL_KEY_VALUE_CASES", default))
}

fn steps_max(default: usize) -> usize {
    setting("LLMSPELL_KEY_VALUE_STEPS", default)
}

fn setting<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |number| number.parse().expect("a number"))
}

/// A backend in a directory that lasts as long as the case.
macro_rules! durable {
    ($backend:ident, $steps:expr) => {{
        let directory = tempfile::tempdir().expect("there is room for a directory");
        run(steps::check(
            async || Arc::new($backend::open(directory.path()).await.expect("it opens")) as _,
            $steps,
        ));
    }};
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn memory_answers_like_a_sorted_map(steps in prop::collection::vec(steps::step(), 1..steps_max(60))) {
        let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
        run(steps::check(async || Arc::clone(&backend), steps));
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn redb_answers_like_a_sorted_map(steps in prop::collection::vec(steps::step(), 1..steps_max(40))) {
        durable!(RedbBackend, steps);
    }

    #[cfg(feature = "sled")]
    #[test]
    fn sled_answers_like_a_sorted_map(steps in prop::collection::vec(steps::step(), 1..steps_max(40))) {
        use llmspell_storage::SledBackend;
        durable!(SledBackend, steps);
    }
}
