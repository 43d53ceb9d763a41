//! The promises of a [`VectorStorage`] as test functions.
//!
//! | file            | question                                                  |
//! |-----------------|-----------------------------------------------------------|
//! | `writes.rs`     | are written entries there, once, with their times?        |
//! | `search.rs`     | are the nearest found, in order, with the right scores?   |
//! | `filters.rs`    | are filter and threshold applied before the best are chosen? |
//! | `times.rs`      | do times decide which entries are found, and recency their order? |
//! | `deletes.rs`    | are deleted entries gone?                                 |
//! | `expiry.rs`     | are expired entries gone?                                 |
//! | `listing.rs`    | are lists, scopes and statistics right?                   |
//! | `orders.rs`     | do listings keep their order, and are samples random?     |
//! | `pages.rs`      | do pages of a search join, and are many entries read at once? |
//! | `examples.rs` | do recommendations and patches follow their definitions?    |
//! | `selection.rs` | do diverse results and groups follow their definitions?    |
//! | `scopes.rs`     | are scopes isolated?                                      |
//! | `several_scopes.rs` | does a search of several scopes answer like those of each? |
//! | `handles.rs`    | does a handle for one scope touch no other?               |
//! | `refusals.rs`   | is bad input refused, and nothing changed by it?          |
//! | `concurrent.rs` | are batches atomic for other threads, and dropped futures harmless? |
//! | `texts/`        | are words found, scored and fused with vectors? [`texts::check_texts`] |
//! | `reopen.rs`     | is everything there after closing and opening?            |

mod concurrent;
mod deletes;
mod examples;
mod expiry;
mod filters;
mod handles;
mod listing;
mod orders;
mod pages;
mod refusals;
mod reopen;
mod scopes;
mod search;
mod selection;
mod several_scopes;
pub mod texts;
mod times;
mod writes;

use std::sync::Arc;

use super::drive::{BlockOn, Promise, block_on};
use llmspell_core::{
    DistanceMetric, ErrorKind, Result, StateScope, VectorEntry, VectorQuery, VectorResult, VectorStorage,
};

pub use concurrent::*;
pub use deletes::*;
pub use examples::*;
pub use expiry::*;
pub use filters::*;
pub use handles::*;
pub use listing::*;
pub use orders::*;
pub use pages::*;
pub use refusals::*;
pub use reopen::*;
pub use scopes::*;
pub use search::*;
pub use selection::*;
pub use several_scopes::*;
pub use times::*;
pub use writes::*;

/// Dimension of the stores for promises that do not choose their own.
pub const DIM: usize = 3;
/// Metric of those stores.
pub const METRIC: DistanceMetric = DistanceMetric::Euclidean;

/// Runs every promise, each on a store of its own.
///
/// `fresh` makes an empty store of the given dimension and metric with each call.
///
/// # Panics
///
/// If a promise is broken.
pub async fn check_all(fresh: impl AsyncFn(usize, DistanceMetric) -> Arc<dyn VectorStorage>) {
    check_all_with(&fresh, &|future| block_on(future)).await;
}

/// [`check_all`] for a store that needs its own runtime on every thread.
///
/// # Panics
///
/// If a promise is broken.
pub async fn check_all_with(
    fresh: &impl AsyncFn(usize, DistanceMetric) -> Arc<dyn VectorStorage>,
    block_on: BlockOn<'_>,
) {
    macro_rules! check {
        ($($promise:ident),* $(,)?) => {
            $({
                let _name = Promise(stringify!($promise));
                $promise(&*fresh(DIM, METRIC).await).await;
            })*
        };
        (on_threads: $($promise:ident),* $(,)?) => {
            $({
                let _name = Promise(stringify!($promise));
                $promise(&*fresh(DIM, METRIC).await, block_on).await;
            })*
        };
        (each_metric: $($promise:ident),* $(,)?) => {
            $({
                let _name = Promise(stringify!($promise));
                for metric in DistanceMetric::ALL {
                    $promise(&*fresh(DIM, metric).await, metric).await;
                }
            })*
        };
    }
    check!(
        an_entry_comes_back_as_it_was_inserted,
        ids_come_back_in_input_order,
        an_empty_id_becomes_a_new_uuid_v7,
        any_text_is_an_id_of_its_own,
        an_empty_batch_stores_nothing,
        an_id_that_exists_is_refused_with_its_whole_batch,
        an_id_twice_in_a_batch_is_refused,
        an_upsert_takes_the_place_and_keeps_when_it_was_created,
        updated_metadata_is_all_that_changes,
        times_that_are_given_are_kept,
        fewer_than_k_come_back_only_if_there_are_fewer,
        equal_distances_are_ordered_by_id,
        results_carry_what_the_query_asks_for,
        a_search_of_a_batch_answers_like_single_searches,
        an_acknowledged_entry_is_found_at_once,
        a_filter_decides_before_the_best_are_taken,
        a_plan_tells_what_is_there,
        pages_of_a_search_join_to_one_answer,
        many_entries_are_read_in_the_order_of_their_ids,
        a_scope_is_read_a_page_at_a_time,
        pages_join_in_every_order,
        a_listing_goes_on_from_its_place_whatever_happens,
        a_bad_listing_or_sample_is_refused,
        a_sample_is_of_what_is_there_and_its_seed_decides,
        every_entry_is_as_likely_in_a_sample_as_any_other,
        groups_take_the_best_of_each,
        a_large_group_hides_no_other,
        a_recommendation_is_a_search_without_its_examples,
        a_recommendation_needs_examples_that_are_there,
        a_patch_changes_the_fields_that_it_names,
        scopes_are_counted_together_each_once,
        filters_match_like_their_definition,
        what_matches_is_counted_listed_and_deleted_alike,
        times_are_filtered_like_their_definition,
        ranges_of_times_include_their_beginning_and_not_their_end,
        the_time_of_the_last_change_changes_with_the_metadata,
        most_recent_of_several_scopes_share_one_top_k,
        equal_recency_scores_are_ordered_by_distance_and_id,
        a_threshold_is_an_inclusive_lower_bound,
        a_deleted_entry_is_gone_and_its_id_free,
        a_delete_counts_what_was_there,
        a_dropped_scope_is_empty_and_holds_only_what_comes_after,
        dropped_scopes_go_together_and_others_stay,
        scopes_of_a_kind_go_together_and_others_stay,
        an_expired_entry_does_not_exist,
        a_lifetime_ends_by_itself,
        a_touch_gives_entries_another_end_and_nothing_else,
        a_touch_ends_entries_and_revives_none,
        pages_of_a_list_join_to_the_scope,
        scopes_are_those_that_hold_entries,
        a_scope_ends_with_its_last_entry_and_begins_anew,
        statistics_count_what_is_there,
        an_unknown_scope_is_empty,
        no_scope_means_global,
        the_same_id_lives_in_every_scope,
        no_write_crosses_the_wall_of_a_scope,
        several_scopes_share_one_top_k,
        ties_between_scopes_go_to_the_one_named_first,
        a_search_of_several_scopes_reaches_no_other,
        a_bad_entry_is_refused_with_its_whole_batch,
        a_bad_query_is_refused,
        a_bad_scope_is_refused_everywhere,
        a_bad_id_is_refused_everywhere,
        a_page_out_of_range_is_refused,
        metadata_up_to_the_limits_is_kept_and_more_is_refused,
        what_is_not_there_cannot_be_updated,
        a_dropped_insert_is_done_or_not,
    );
    check!(on_threads:
        readers_see_a_batch_whole_or_not_at_all,
        writers_of_different_scopes_do_not_disturb_each_other,
    );
    check!(each_metric:
        an_exact_search_agrees_with_arithmetic,
        scores_follow_from_distances_and_stay_in_range,
        only_cosine_refuses_a_zero_vector,
        diverse_results_follow_their_definition,
        recency_ranks_all_that_match_by_score_and_age,
    );
    {
        let _name = Promise("a handle for one scope touches no other");
        a_handle_for_one_scope_touches_no_other(&fresh(DIM, METRIC).await).await;
    }
    {
        let _name = Promise("a handle passed on as a store is its scope");
        a_handle_passed_on_as_a_store_is_its_scope(&fresh(DIM, METRIC).await).await;
    }
    let _name = Promise("answers in a scope are the same whatever others hold");
    for metric in DistanceMetric::ALL {
        let (alone, among) = (fresh(DIM, metric).await, fresh(DIM, metric).await);
        answers_in_a_scope_are_the_same_whatever_others_hold(&*alone, &*among).await;
    }
}

fn user(id: &str) -> StateScope {
    StateScope::User(id.to_string())
}

fn entry(id: &str, vector: [f32; DIM]) -> VectorEntry {
    VectorEntry::new(id, vector.to_vec())
}

fn exact(vector: [f32; DIM], k: usize) -> VectorQuery {
    VectorQuery::new(vector.to_vec(), k).with_exact(true)
}

fn ids(results: &[VectorResult]) -> Vec<&str> {
    results.iter().map(|result| result.id.as_str()).collect()
}

async fn listed(store: &dyn VectorStorage, scope: &StateScope) -> Vec<String> {
    let entries = store.list(scope, None, 10_000).await.unwrap();
    entries.into_iter().map(|entry| entry.id).collect()
}

/// Vectors of small numbers in no order, the same in every run: neither zero nor equal.
fn scattered(count: usize) -> impl Iterator<Item = [f32; DIM]> {
    (0..count as u32).map(|number| {
        let component = |axis: u32| (number * 3 + axis + 1).wrapping_mul(2_654_435_761) >> 16;
        [0, 1, 2].map(|axis| component(axis) as f32 / 4096.0 - 7.9)
    })
}

#[track_caller]
fn assert_kind<T: std::fmt::Debug>(kind: ErrorKind, result: Result<T>, what: &str) {
    match result {
        Ok(value) => panic!("{what} must be refused, and was answered by {value:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{what} must be refused as {kind:?}: {error}"),
    }
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(result: Result<T>, what: &str) {
    assert_kind(ErrorKind::Invalid, result, what);
}
