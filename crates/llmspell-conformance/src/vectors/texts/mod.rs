//! The promises of a [`VectorStorage`] that indexes words.
//!
//! | file            | question                                                            |
//! |-----------------|---------------------------------------------------------------------|
//! | `formula.rs`    | which score has a text by the formula of BM25?                      |
//! | `found.rs`      | are words found at once when written, and no more when gone?        |
//! | `statistics.rs` | are texts scored by the formula, and by the searched scopes alone?  |
//! | `language.rs`   | does each form of a query find what it says?                        |
//! | `hybrid.rs`     | do both sides of a search become one ranking?                       |
//! | `chosen.rs`     | do pages, recency, diversity and groups follow their definitions?   |
//! | `results.rs`    | do results, statistics and plans carry what they should?            |
//! | `sparse.rs`     | are sparse vectors kept, and found by exact inner products?         |
//! | `refusals.rs`   | are bad texts and words refused, and nothing changed by them?       |

mod chosen;
mod formula;
mod found;
mod hybrid;
mod language;
mod refusals;
mod results;
mod sparse;
mod statistics;

use std::sync::Arc;

use super::{DIM, METRIC, Promise};
use llmspell_core::{
    AnalyzerConfig, HNSWConfig, Language, StateScope, TextConfig, VectorEntry, VectorQuery, VectorResult, VectorStorage,
};

pub use chosen::*;
pub use found::*;
pub use hybrid::*;
pub use language::*;
pub use refusals::*;
pub use results::*;
pub use sparse::*;
pub use statistics::*;

/// Runs every promise about words, each on a store of its own. Stores that index no words have nothing to run.
///
/// `fresh` makes an empty store of the given dimension, which may be 0, and of the texts and the metric of the
/// configuration.
///
/// # Panics
///
/// If a promise is broken.
pub async fn check_texts(fresh: impl AsyncFn(usize, HNSWConfig) -> Arc<dyn VectorStorage>) {
    macro_rules! check {
        ($config:expr; $($promise:ident),* $(,)?) => {
            $({
                let _name = Promise(stringify!($promise));
                $promise(&fresh(DIM, $config).await).await;
            })*
        };
    }
    {
        let _name = Promise("scores of words reveal nothing of other scopes");
        let (alone, among) = (fresh(DIM, config()).await, fresh(DIM, config()).await);
        scores_of_words_reveal_nothing_of_other_scopes(&alone, &among).await;
    }
    {
        let _name = Promise("a space may be for texts alone");
        a_space_may_be_for_texts_alone(&fresh(0, config()).await).await;
    }
    // Those that ask for one thing come before those that ask for many.
    check!(config();
        identifiers_and_scripts_without_spaces_are_found,
        whatever_is_typed_is_a_query,
        statistics_count_texts,
        a_plan_shows_both_sides,
        a_handle_for_one_scope_searches_no_other_words,
        bad_texts_and_words_are_refused,
        examples_need_vectors_and_may_have_words,
        a_filter_holds_on_both_sides,
        a_threshold_is_of_one_side,
        equal_texts_are_ordered_by_scope_and_id,
        each_form_of_a_query_finds_what_it_says,
        an_expired_text_is_not_found,
        an_entry_needs_no_vector,
        words_follow_the_metadata,
        words_are_found_at_once_and_no_more_once_they_are_gone,
        scores_of_both_sides_are_exact,
        both_sides_become_one_ranking,
        pages_of_words_join,
        recency_ages_the_score_of_words,
        diverse_results_of_words_follow_their_definition,
        a_large_group_of_words_hides_no_other,
        results_carry_texts_and_snippets_if_asked,
        texts_are_scored_by_the_formula,
    );
    check!(config().with_texts(TextConfig::default().with_keep(false));
        a_text_that_is_not_kept_is_found_and_never_returned,
    );
    check!(config().with_texts(TextConfig::default().with_analyzer(
        AnalyzerConfig::default().with_stemmer(Language::English).with_stop_words(Language::English),
    ));
        the_chosen_analyzer_is_used,
    );
    check!(config().with_sparse(["splade", "bge"]);
        bad_sparse_vectors_are_refused,
        sparse_vectors_follow_every_write,
        sparse_vectors_are_found_by_exact_inner_products,
        all_sides_become_one_ranking,
    );
    check!(config();
        sparse_vectors_are_refused_where_none_are_indexed,
    );
    check!(config().without_texts();
        words_are_refused_where_none_are_indexed,
        sparse_vectors_are_refused_where_none_are_indexed,
    );
}

/// Texts of entries, and two fields of the metadata.
fn config() -> HNSWConfig {
    let texts = TextConfig::default().with_fields(["title", "meta.tags"]);
    HNSWConfig::fast().with_metric(METRIC).with_texts(texts)
}

async fn search(store: &dyn VectorStorage, query: &VectorQuery) -> Vec<VectorResult> {
    store.search(query).await.unwrap()
}

/// The ids that words find in a scope, in the order of ids.
async fn found_in(store: &dyn VectorStorage, scope: &StateScope, words: &str) -> Vec<String> {
    let query = VectorQuery::text(words, 1_000).with_scope(scope.clone());
    let mut ids: Vec<String> = search(store, &query)
        .await
        .into_iter()
        .map(|result| result.id)
        .collect();
    ids.sort();
    ids
}

async fn found(store: &dyn VectorStorage, words: &str) -> Vec<String> {
    found_in(store, &StateScope::Global, words).await
}

/// A letter for a small number: digits would make identifiers of words.
fn letter(number: u32) -> char {
    char::from_u32(u32::from('a') + number % 26).unwrap()
}

/// Texts of words `wa` to `wl` in no order, the same in every run, of 3 to 14 words each.
fn texts(count: u32) -> impl Iterator<Item = String> {
    let random = |number: u32| {
        number
            .wrapping_mul(2_654_435_761)
            .rotate_left(13)
            .wrapping_mul(0x9e37_79b1)
            >> 8
    };
    (0..count).map(move |text| {
        let length = 3 + random(text * 31 + 7) % 12;
        // Low numbers are frequent.
        let word = |place: u32| {
            let (a, b) = (random(text * 97 + place) % 12, random(text * 89 + place * 3 + 1) % 12);
            format!("w{}", letter(a.min(b)))
        };
        (0..length).map(word).collect::<Vec<_>>().join(" ")
    })
}

/// Entries with vectors and those texts.
fn entries(scope: &StateScope, skipped: usize, count: usize) -> Vec<VectorEntry> {
    let all = super::scattered(skipped + count).zip(texts((skipped + count) as u32));
    let entry = |(number, (vector, text)): (usize, ([f32; DIM], String))| {
        VectorEntry::new(format!("t{number:03}"), vector.to_vec())
            .with_scope(scope.clone())
            .with_metadata(serde_json::json!({"parity": number % 2}))
            .with_text(text)
    };
    all.enumerate().skip(skipped).map(entry).collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-4 * a.abs().max(b.abs())
}
